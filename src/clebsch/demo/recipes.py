"""The two fits of the demo, written as `clebsch train` reads them from YAML."""

from __future__ import annotations

from pathlib import Path
from typing import Any

LINEAR, PACE = "linear ACE", "PACE"
TRAIN_FILE = "train.xyz"
TEST_FILES = {300: "test_300K.xyz", 600: "test_600K.xyz"}

# The number of epochs follows from the time it usually takes, not from the clock, so that results repeat.
SECONDS_PER_EPOCH = 2.0
PATIENCE = 1.5


def make_recipes(directory: Path, *, valid: int, seconds: float, seed: int) -> dict[str, dict[str, Any]]:
    """Return the recipe of every model, by name.

    Args:
        directory: folder with the data, which receives one folder per fit.
        valid: configurations set aside for validation.
        seconds: time for which PACE trains; it is stopped where it takes half as long again.
        seed: of the split, the initial weights and the shuffling.
    """
    tests = {f"test {temperature} K": str(directory / file) for temperature, file in TEST_FILES.items()}
    data = {"train": str(directory / TRAIN_FILE), "valid": valid, "tests": tests}
    linear = {
        "output": str(directory / "linear_ace"),
        "seed": seed,
        "dtype": "float64",
        "data": data,
        "model": {"preset": "linear_ace", "num_channels": 32},
        "train": {"method": "least_squares"},
    }
    pace = {
        "output": str(directory / "pace"),
        "seed": seed,
        "data": data,
        "model": {"preset": "pace", "r_max": 4.0, "num_channels": 24, "l_max": 2, "L_max": 1},
        "train": {
            "batch_size": 5,
            "optimizer": {"lr": 0.03, "betas": [0.9, 0.99], "amsgrad": False},
            "schedule": {"kind": "cosine"},
            "max_epochs": max(1, round(seconds / SECONDS_PER_EPOCH)),
            "max_seconds": PATIENCE * seconds,
        },
    }
    return {LINEAR: linear, PACE: pace}
