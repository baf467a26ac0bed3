"""A training that is killed again and again, at random moments and in random ways, and ends as if nothing had been.

    python scripts/kills.py [--kills 200] [--seed 0]

A small training runs once without interruption. Then the same training runs in other folders and is killed by SIGKILL,
SIGTERM, SIGINT or SIGUSR1, or may write files of a few kB only, as on a full disk, until it has ended; a killed
training is started again with the same command. Printed are how often it was killed, how its processes ended, and
whether weights, history and errors are those of the first, bit for bit.
"""

from __future__ import annotations

import argparse
import json
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import ase.io
import numpy as np
import yaml
from ase.build import bulk
from ase.calculators.emt import EMT
from safetensors.numpy import load_file

SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
FULL_DISK = 0.15  # of the starts
# Exit statuses: 0, of a signal by number, 128 + number, or an error that was explained.
EXPECTED = {0, 1, 130, 138, 143, *(-number for number in SIGNALS)}
MOST_EPOCHS = 15


def write_recipe(folder: Path) -> Path:
    """Twelve cells of an alloy, and a training of some seconds with frequent checkpoints."""
    frames = []
    for seed in range(12):
        atoms = bulk("Cu", cubic=True)
        atoms.symbols[0] = "Au"
        atoms.rattle(0.1, seed=seed)
        atoms.calc = EMT()
        atoms.get_stress()
        frames.append(atoms)
    ase.io.write(folder / "alloy.xyz", frames)
    recipe = {
        "output": "run",
        "data": {"train": str(folder / "alloy.xyz"), "valid": 3},
        "model": {"preset": "mace", "r_max": 3.5, "num_channels": 4, "l_max": 1, "L_max": 1, "correlation": 2},
        "energy": {"e0": "least_squares"},
        "train": {"max_epochs": MOST_EPOCHS, "batch_size": 1, "checkpoint_seconds": 0.2, "patience": None},
    }
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe))
    return path


def start(recipe: Path, folder: Path, largest_file: int | None = None) -> subprocess.Popen[str]:
    """Start, or continue, the training in ``folder``."""

    def limit() -> None:
        if largest_file is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))

    command = [sys.executable, "-m", "clebsch", "train", str(recipe), f"output={folder}"]
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, preexec_fn=limit, **pipes)  # type: ignore[call-overload]


def result_of(folder: Path) -> tuple[dict[str, bytes], list[dict], dict]:
    """Weights, history without times, and errors of a finished run."""
    weights = {name: tensor.tobytes() for name, tensor in load_file(folder / "potential.safetensors").items()}
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    skipped = ("seconds", "resumed_with")
    history = [{key: value for key, value in json.loads(line).items() if key not in skipped} for line in lines]
    return weights, history, json.loads((folder / "results.json").read_text())["errors"]


def main() -> None:
    """Kill, continue, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rng, ended, killed, runs, problems = np.random.default_rng(arguments.seed), Counter[int](), 0, 0, list[str]()
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        recipe = write_recipe(work)
        began = time.monotonic()
        start(recipe, work / "whole").wait()
        duration, expected = time.monotonic() - began, result_of(work / "whole")
        print(f"without interruption: {duration:.1f} s, {len(expected[1])} epochs", flush=True)
        while killed < arguments.kills:
            folder, runs = work / f"run{runs}", runs + 1
            while True:
                full = rng.random() < FULL_DISK
                process = start(recipe, folder, int(rng.integers(1_000, 400_000)) if full else None)
                try:
                    # Late enough to have begun, mostly; a start that is killed early loses nothing either.
                    process.wait(None if full else rng.uniform(0.1, 1.0) * duration)
                except subprocess.TimeoutExpired:
                    process.send_signal(SIGNALS[rng.integers(len(SIGNALS))])
                    killed += 1
                said = process.communicate()[1]
                ended[process.returncode] += 1
                if process.returncode not in EXPECTED or "Traceback" in said:
                    problems.append(f"run {runs}: status {process.returncode}: {said[-300:]}")
                if process.returncode == 0 and not full:
                    break
            if result_of(folder) != expected:
                problems.append(f"run {runs} ended with other numbers")
            print(f"{killed} kills, {runs} runs, {len(problems)} problems", flush=True)
    print(f"ends by exit status: {dict(sorted(ended.items()))}")
    print("\n".join(problems) or "every run has the weights, history and errors of the one without interruption")
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
