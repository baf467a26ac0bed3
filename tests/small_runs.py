"""Runs that take seconds, and a console that remembers what they say."""

from __future__ import annotations

from io import StringIO
from pathlib import Path
from typing import Any

from rich.console import Console

from clebsch.recipe import RunConfig, parse_recipe

MACE = {"preset": "mace", "r_max": 3.5, "num_channels": 4, "l_max": 1, "L_max": 1, "correlation": 2, "num_radial": 4}


def recipe(alloy_file: Path, output: Path, **changes: Any) -> RunConfig:
    """Two epochs of a tiny MACE on the alloy."""
    mapping = {
        "output": str(output),
        "data": {"train": str(alloy_file), "valid": 3, "tests": {"same": str(alloy_file)}},
        "model": MACE,
        "energy": {"e0": "least_squares"},
        "train": {"max_epochs": 2, "batch_size": 3, "loss": {"energy_weight": 1.0, "forces_weight": 10.0}},
    }
    return parse_recipe({**mapping, **changes})


class Lines(Console):
    """A console that keeps what it is told."""

    def __init__(self) -> None:
        super().__init__(file=StringIO(), width=200)

    def holds(self, text: str) -> bool:
        return text in self.file.getvalue()  # type: ignore[attr-defined]
