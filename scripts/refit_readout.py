"""Refit the linear readouts of a trained potential exactly, by least squares on its training data.

    python scripts/refit_readout.py runs/acac_small

The energy is linear in the last weights of every readout. Their optimum at all other weights fixed is found with a
ridge around the trained values, chosen on the validation set. The errors before and after are printed; the file is left
as it is.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import nn

from clebsch.evaluation import compare
from clebsch.evaluation.accuracy import Comparison, accuracy
from clebsch.models.readout import Readout
from clebsch.models.serialization import load_potential
from clebsch.recipe import load_recorded
from clebsch.run import POTENTIAL_NAME, read_sets
from clebsch.training import TrainConfig

RIDGES = [10.0**exponent for exponent in range(-12, 2)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of the run")
    folder = parser.parse_args().run
    config = load_recorded(folder / "config.yaml")
    if not isinstance(config.train, TrainConfig):
        raise SystemExit("The run is already a least-squares fit.")
    sets = read_sets(config.data, config.seed)
    potential = load_potential(folder / POTENTIAL_NAME, dtype=torch.float64)
    weights = last_weights(potential)
    targets = [sets.train, sets.valid]
    columns: list[list[np.ndarray]] = [[], []]
    start = [compare(potential, frames) for frames in targets]
    for weight in weights:
        for index in range(weight.numel()):
            with moved(weight, index):
                for column, frames, before in zip(columns, targets, start, strict=True):
                    column.append(rows(compare(potential, frames), config.train) - rows(before, config.train))
    design, residual = np.stack(columns[0], 1), -misfit(start[0], config.train)
    best = None
    for ridge in RIDGES:
        step = solve(design, residual, ridge)
        loss = np.mean((misfit(start[1], config.train) + np.stack(columns[1], 1) @ step) ** 2)
        best = min(best, (loss, ridge, step), key=lambda item: item[0]) if best else (loss, ridge, step)
    report("trained", start[1])
    assert best is not None
    apply(weights, best[2])
    report(f"refitted, {len(best[2])} weights, ridge {best[1]:.0e}", compare(potential, sets.valid))


def last_weights(potential: nn.Module) -> list[nn.Parameter]:
    """The weights of the last linear map of every readout."""
    readouts = [module for module in potential.modules() if isinstance(module, Readout) and module.mlp is not None]
    return [list(readout.mlp.parameters())[-1] for readout in readouts if readout.mlp is not None]


@contextmanager
def moved(weight: nn.Parameter, index: int) -> Iterator[None]:
    """One entry of a weight is larger by one inside the block."""
    entry = weight.data.view(-1)[index]
    entry += 1
    try:
        yield
    finally:
        entry -= 1


def rows(comparison: Comparison, train: TrainConfig) -> np.ndarray:
    """Predictions, weighted as in the loss."""
    return weighted(comparison, comparison.predictions["energy"], comparison.predictions["forces"], train)


def misfit(comparison: Comparison, train: TrainConfig) -> np.ndarray:
    """Predictions less labels, weighted as in the loss."""
    return weighted(comparison, comparison.error("energy"), comparison.error("forces"), train)


def weighted(comparison: Comparison, energy: np.ndarray, forces: np.ndarray, train: TrainConfig) -> np.ndarray:
    per_atom = energy / comparison.num_atoms
    return np.concatenate(
        [
            np.sqrt(train.loss.energy_weight / per_atom.size) * per_atom,
            np.sqrt(train.loss.forces_weight / forces.size) * forces.ravel(),
        ]
    )


def solve(design: np.ndarray, residual: np.ndarray, ridge: float) -> np.ndarray:
    square = design.T @ design
    return np.linalg.solve(square + ridge * np.trace(square) / len(square) * np.eye(len(square)), design.T @ residual)


def apply(weights: Sequence[nn.Parameter], step: np.ndarray) -> None:
    sizes = [weight.numel() for weight in weights]
    for weight, part in zip(weights, torch.from_numpy(step).split(sizes), strict=True):
        weight.data += part.view_as(weight)


def report(name: str, comparison: Comparison) -> None:
    found = accuracy(comparison)
    print(f"{name}: valid {found['energy_rmse_meV']:.3f} meV, {found['forces_rmse_meV_A']:.3f} meV/Å")


if __name__ == "__main__":
    main()
