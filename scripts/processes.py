"""One training in 1, 2 and 4 processes: how far losses and weights are apart after 50 steps, and how fast it goes.

    python scripts/processes.py
    python scripts/processes.py recipes/3bpa.yaml --processes 1 2 4 8 --batch-size 40

The recipe is trained in float64, one thread for each process. Differences are from the training in one process: of the
losses relative, of the weights the largest over the largest weight of the tensor. The speed leaves out the first epoch,
in which kernels are loaded, and includes validation.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from clebsch.models.tensor_file import read_tensor_file, without_prefix
from clebsch.training import read_metrics
from clebsch.training.checkpoint import CHECKPOINT, CHECKPOINT_NAME
from clebsch.training.trainer import METRICS_NAME

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", nargs="?", default=ROOT / "recipes" / "acac_small.yaml", type=Path)
    parser.add_argument(
        "--processes", nargs="+", type=int, default=[1, 2, 4], help="the first is what others are compared with"
    )
    parser.add_argument("--batch-size", type=int, default=45, help="configurations of a step")
    parser.add_argument("--epochs", type=int, default=5, help="of which acetylacetone has 10 steps each")
    arguments = parser.parse_args()
    with TemporaryDirectory() as folder:
        changes = ["dtype=float64", f"train.batch_size={arguments.batch_size}", f"train.max_epochs={arguments.epochs}"]
        runs = [Path(folder, str(count)) for count in arguments.processes]
        for count, run in zip(arguments.processes, runs, strict=True):
            train(arguments.recipe, count, [*changes, f"output={run}"])
        steps = read_metrics(runs[0] / METRICS_NAME)[-1]["step"]
        print(f"{arguments.recipe.stem}, {steps} steps of {arguments.batch_size} configurations, float64")
        print(f"{os.cpu_count()} cores, one thread for each process")
        print("| processes | training loss | validation loss | its difference | of weights | steps/s | speed |")
        print("|---|---|---|---|---|---|---|")
        for count, run in zip(arguments.processes, runs, strict=True):
            print(f"| {count} | {' | '.join(cells(run, runs[0]))} |")


def train(recipe: Path, count: int, changes: list[str]) -> None:
    command = [sys.executable, "-m", "clebsch", "train", str(recipe), *changes, "--nproc", str(count)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"})


def cells(run: Path, reference: Path) -> list[str]:
    """Losses of the last epoch and how far they are, with all epochs and the weights, from those of ``reference``."""
    history, expected = (read_metrics(folder / METRICS_NAME) for folder in (run, reference))
    kinds = ("train_loss", "valid_loss")
    loss = max(abs(a[kind] / b[kind] - 1) for a, b in zip(history, expected, strict=True) for kind in kinds)
    weights, others = (
        without_prefix("model", read_tensor_file(folder / CHECKPOINT_NAME, CHECKPOINT)[0])
        for folder in (run, reference)
    )
    apart = max(float((weights[name] - others[name]).abs().max() / scale(others[name])) for name in weights)
    rates = [rate(records) for records in (history, expected)]
    last = history[-1]
    return [
        f"{last['train_loss']:.10g}",
        f"{last['valid_loss']:.10g}",
        f"{loss:.0e}",
        f"{apart:.0e}",
        f"{rates[0]:.2f}",
        f"{rates[0] / rates[1]:.2f}×",
    ]


def scale(tensor: torch.Tensor) -> float:
    return max(float(tensor.abs().max()), torch.finfo(torch.float64).tiny)


def rate(records: list[dict[str, float]]) -> float:
    """Steps per second after the first epoch."""
    return (records[-1]["step"] - records[0]["step"]) / (records[-1]["seconds"] - records[0]["seconds"])


if __name__ == "__main__":
    main()
