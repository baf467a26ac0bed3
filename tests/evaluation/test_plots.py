"""Figures are written, with one legend entry per set."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from clebsch.evaluation import Comparison, plot_learning_curve, plot_parity
from clebsch.evaluation.plots import draw_energy_parity, draw_force_parity
from clebsch.plotting import figure


def comparison(rng: np.random.Generator) -> Comparison:
    return Comparison(
        num_atoms=np.full(4, 2),
        symbols=np.array(["H"] * 8),
        energy_label=rng.normal(size=4),
        energy=rng.normal(size=4),
        forces_label=rng.normal(size=(8, 3)),
        forces=rng.normal(size=(8, 3)),
        stress_label=np.full((4, 3, 3), np.nan),
        stress=np.full((4, 3, 3), np.nan),
    )


def test_parity(tmp_path: Path, rng: np.random.Generator):
    sets = {"300 K": comparison(rng), "600 K": comparison(rng)}
    assert plot_parity(sets, tmp_path / "parity.png").stat().st_size > 1000
    _, axes = figure(2)
    draw_energy_parity(axes[0], sets)
    draw_force_parity(axes[1], sets)
    for drawn in axes:
        assert drawn.get_legend_handles_labels()[1] == list(sets)


def test_learning_curve(tmp_path: Path):
    history = [
        {"epoch": n, "valid_energy_rmse_meV_per_atom": 10 / n, "valid_forces_rmse_meV_per_angstrom": 90 / n}
        for n in range(1, 5)
    ]
    assert plot_learning_curve(history, tmp_path / "curve.pdf").stat().st_size > 1000


def test_sets_without_labels_are_left_out(rng: np.random.Generator):
    unlabelled = comparison(rng)
    unlabelled.energy_label[:] = np.nan
    _, axes = figure(1)
    draw_energy_parity(axes[0], {"scan": unlabelled})
    assert axes[0].get_legend_handles_labels()[1] == []
