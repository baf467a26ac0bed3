"""Memory while a pack of many configurations is trained on, stopped within an epoch and continued.

    python scripts/streaming.py ACAC_FOLDER [--frames 100000] [--seconds 60]

Configurations of train_300K.xyz, each moved a little, are written as a pack in pieces; then a small MACE trains on it
for some seconds, twice. Printed are the size of the pack, the largest resident memory of every part, each a process of
its own, and how far the training came.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from clebsch.data import Configuration, LabelKeys, read_configurations, write_pack
from clebsch.run import run

MODEL = {"preset": "mace", "num_channels": 8, "l_max": 1, "L_max": 1, "correlation": 2, "r_max": 4.0}


def moved(folder: Path, count: int) -> Iterator[Configuration]:
    """Configurations, each moved by a few thousandths of an Å."""
    frames = read_configurations(folder / "train_300K.xyz", LabelKeys(stress=None))
    rng = np.random.default_rng(0)
    for number in range(count):
        frame = frames[number % len(frames)]
        positions = frame.positions + 0.003 * rng.normal(size=frame.positions.shape)
        yield replace(frame, positions=positions, origin=f"moved.xyz, frame {number}")


def train(folder: Path, seconds: float) -> str:
    """Train on the pack, and say how far it came."""
    recipe = {
        "output": str(folder / "run"),
        "data": {"train": str(folder / "pack"), "valid": 500},
        "model": MODEL,
        "energy": {"e0": "least_squares"},
        "train": {"max_epochs": 1, "batch_size": 20, "max_seconds": seconds},
    }
    result = run(recipe)
    header = json.loads((folder / "run" / "results.json").read_text())["fit"]
    return f"{result.statistics.num_graphs:,} configurations for statistics; stopped by {header['stopped_by']}"


def steps(folder: Path) -> int:
    """Steps in the checkpoint."""
    from safetensors import safe_open

    with safe_open(folder / "run" / "checkpoint.safetensors", "np") as file:
        return json.loads(file.metadata()["clebsch"])["counters"]["progress"]["step"]


def part(arguments: argparse.Namespace) -> None:
    """One part, in a process of its own."""
    work = Path(arguments.work)
    if arguments.part == "pack":
        pack = write_pack(moved(Path(arguments.folder), arguments.frames), work / "pack")
        said = f"{len(pack):,} configurations, {pack.num_atoms.sum():,} atoms"
    else:
        said = f"{train(work, arguments.seconds)} after step {steps(work):,}"
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"{arguments.part}: {said}; peak memory {peak:.2f} GB", flush=True)


def main() -> None:
    """Run every part as a process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", help="folder of the acetylacetone data set")
    parser.add_argument("--frames", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--part", choices=("pack", "train"))
    parser.add_argument("--work")
    arguments = parser.parse_args()
    if arguments.part:
        part(arguments)
        return
    with tempfile.TemporaryDirectory() as work:
        for name in ("pack", "train", "train"):
            subprocess.run([sys.executable, *sys.argv, "--part", name, "--work", work], check=True)
        size = sum(path.stat().st_size for path in (Path(work) / "pack").rglob("*.npy"))
        print(f"size of the pack: {size / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
