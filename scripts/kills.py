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
import os
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

import ase.io
import numpy as np
import yaml
from ase.build import bulk
from ase.calculators.emt import EMT
from safetensors.numpy import load_file

from clebsch.cli import main as main_of_clebsch

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


def start(recipe: Path, folder: Path, errors: Path, largest_file: int | None = None) -> int:
    """Start, or continue, the training in ``folder``, in a copy of this process, and return the number of that."""
    process = os.fork()
    if process:
        return process
    for number in {*SIGNALS} - {signal.SIGKILL}:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    if largest_file is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
    status = 70
    try:
        main_of_clebsch(["train", str(recipe), f"output={folder}"])
    except SystemExit as stopped:
        status = stopped.code if isinstance(stopped.code, int) else 0
    except KeyboardInterrupt:
        status = 130
    except BaseException:
        traceback.print_exc()
    os._exit(status)


def wait(process: int, seconds: float | None) -> int | None:
    """Exit status of a process, minus the number of the signal that ended it; None if it has not ended in time."""
    until = np.inf if seconds is None else time.monotonic() + seconds
    while time.monotonic() < until:
        ended, status = os.waitpid(process, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    return None


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
        wait(start(recipe, work / "warm", work / "errors"), None)  # compiles kernels
        began = time.monotonic()
        wait(start(recipe, work / "whole", work / "errors"), None)
        duration, expected = time.monotonic() - began, result_of(work / "whole")
        print(f"without interruption: {duration:.1f} s, {len(expected[1])} epochs", flush=True)
        while killed < arguments.kills:
            folder, runs = work / f"run{runs}", runs + 1
            status, full = 1, False
            while status or full:
                full = rng.random() < FULL_DISK
                process = start(recipe, folder, work / "errors", int(rng.integers(1_000, 400_000)) if full else None)
                status = wait(process, None if full else rng.uniform(0.0, 0.8) * duration)
                if status is None:
                    os.kill(process, SIGNALS[rng.integers(len(SIGNALS))])
                    killed += 1
                    status = wait(process, None)
                assert status is not None
                ended[status] += 1
                said = (work / "errors").read_text()
                if status not in EXPECTED or "Traceback" in said:
                    problems.append(f"run {runs}: status {status}: {said[-300:]}")
            if result_of(folder) != expected:
                problems.append(f"run {runs} ended with other numbers")
            print(f"{killed} kills, {runs} runs, {len(problems)} problems", flush=True)
    print(f"ends by exit status: {dict(sorted(ended.items()))}")
    print("\n".join(problems) or "every run has the weights, history and errors of the one without interruption")
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
