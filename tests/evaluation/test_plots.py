"""Figures are written, with one legend entry per set."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from clebsch.data import QUANTITIES
from clebsch.evaluation import Comparison, plot_learning_curve, plot_parity
from clebsch.evaluation.plots import draw_parity
from clebsch.plotting import figure


def comparison(rng: np.random.Generator) -> Comparison:
    return Comparison(
        num_atoms=np.full(4, 2),
        symbols=np.array(["H"] * 8),
        labels={"energy": rng.normal(size=4), "forces": rng.normal(size=(8, 3))},
        predictions={"energy": rng.normal(size=4), "forces": rng.normal(size=(8, 3))},
    )


def test_parity(tmp_path: Path, rng: np.random.Generator):
    sets = {"300 K": comparison(rng), "600 K": comparison(rng)}
    assert plot_parity(sets, tmp_path / "parity.png").stat().st_size > 1000
    _, axes = figure(2)
    for drawn, name in zip(axes, ("energy", "forces"), strict=True):
        draw_parity(drawn, sets, QUANTITIES[name])
        assert drawn.get_legend_handles_labels()[1] == list(sets)


def test_points_of_energies_are_meV_per_atom_above_the_mean_label():
    labels, predictions = {"energy": np.array([-2.0, -6.0])}, {"energy": np.array([-2.2, -5.6])}
    found = Comparison(np.array([1, 2]), np.array(["H"] * 3), labels, predictions)
    _, (axes,) = figure(1)
    draw_parity(axes, {"test": found}, QUANTITIES["energy"])
    np.testing.assert_allclose(axes.collections[0].get_offsets(), [[500, 300], [-500, -300]], atol=1e-9)
    assert axes.get_xlabel() == "labelled energy (meV/atom)"


def test_learning_curve(tmp_path: Path):
    history = [
        {"epoch": n, "valid_energy_per_atom_rmse_meV": 10 / n, "valid_forces_rmse_meV_A": 90 / n} for n in range(1, 5)
    ]
    assert plot_learning_curve(history, tmp_path / "curve.pdf").stat().st_size > 1000


def test_sets_without_labels_are_left_out(rng: np.random.Generator):
    unlabelled = comparison(rng)
    unlabelled.labels["energy"][:] = np.nan
    _, axes = figure(1)
    draw_parity(axes[0], {"scan": unlabelled}, QUANTITIES["energy"])
    assert axes[0].get_legend_handles_labels()[1] == []
