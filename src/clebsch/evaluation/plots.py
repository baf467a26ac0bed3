"""Figures of a run: learning curve and parity plot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from clebsch.evaluation.accuracy import MILLI, Comparison
from clebsch.plotting import PALETTE, colours, figure, legend, save_figure


def plot_learning_curve(history: Sequence[Mapping[str, Any]], path: str | Path) -> Path:
    """Write the validation errors against the epoch to ``path`` (its suffix picks the format)."""
    drawn, axes = figure(2)
    draw_learning_curve(axes[0], history, "valid_energy_rmse_meV_per_atom", "energy RMSE (meV/atom)")
    draw_learning_curve(axes[1], history, "valid_forces_rmse_meV_per_angstrom", "force RMSE (meV/Å)")
    return save_figure(drawn, path)


def plot_parity(comparisons: Mapping[str, Comparison], path: str | Path) -> Path:
    """Write energies and force components, predicted against labelled, of every named set to ``path``."""
    drawn, axes = figure(2)
    draw_energy_parity(axes[0], comparisons)
    draw_force_parity(axes[1], comparisons)
    return save_figure(drawn, path)


def draw_learning_curve(axes: Axes, history: Sequence[Mapping[str, Any]], key: str, label: str) -> None:
    """Draw ``key`` of every epoch that has it, on a logarithmic scale."""
    rows = [(row["epoch"], row[key]) for row in history if row.get(key) is not None]
    if rows:
        epochs, values = np.array(rows, dtype=float).T
        axes.plot(epochs, values, color=PALETTE[0])
        axes.set_yscale("log")
    axes.set_xlabel("epoch")
    axes.set_ylabel(label)


def draw_energy_parity(axes: Axes, comparisons: Mapping[str, Comparison]) -> None:
    """Draw energies per atom (meV), each set's mean label as its zero, one colour per set."""
    for colour, layer, (name, comparison) in _layers(comparisons):
        label, predicted = (MILLI * e / comparison.num_atoms for e in (comparison.energy_label, comparison.energy))
        if np.isnan(label).all():
            continue
        zero = np.nanmean(label)
        axes.scatter(label - zero, predicted - zero, s=6, color=colour, label=name, linewidths=0, zorder=layer)
    _finish_parity(axes, "energy (meV/atom)")


def draw_force_parity(axes: Axes, comparisons: Mapping[str, Comparison]) -> None:
    """Draw force components (eV/Å), one colour per set."""
    for colour, layer, (name, comparison) in _layers(comparisons):
        if np.isnan(comparison.forces_label).all():
            continue
        label, predicted = comparison.forces_label.ravel(), comparison.forces.ravel()
        axes.scatter(label, predicted, s=3, color=colour, label=name, linewidths=0, zorder=layer)
    _finish_parity(axes, "force component (eV/Å)")


def _layers(comparisons: Mapping[str, Comparison]) -> list[tuple[str, float, tuple[str, Comparison]]]:
    """Colour and drawing order of every set; the first lie on top, since the later ones are wider."""
    layers = (2 - 0.01 * place for place in range(len(comparisons)))
    return list(zip(colours(len(comparisons)), layers, comparisons.items(), strict=True))


def _finish_parity(axes: Axes, quantity: str) -> None:
    axes.axline((0, 0), slope=1, color="grey", linewidth=0.8, zorder=0)
    axes.set_xlabel(f"labelled {quantity}")
    axes.set_ylabel(f"predicted {quantity}")
    legend(axes)
