"""Figures of a run: learning curve and parity plot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from clebsch.evaluate.accuracy import MILLI, Comparison

# Okabe & Ito's palette, which colour-blind readers can tell apart.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")


def figure(columns: int, width: float = 4.2, height: float = 3.8) -> tuple[Figure, list[Axes]]:
    """Return a figure of ``columns`` axes side by side, each ``width`` × ``height`` inches, outside pyplot's state."""
    drawn = Figure(figsize=(width * columns, height), layout="constrained")
    FigureCanvasAgg(drawn)
    axes = drawn.subplots(1, columns, squeeze=False)[0]
    return drawn, list(axes)


def plot_learning_curve(history: Sequence[Mapping[str, Any]], path: str | Path) -> Path:
    """Write the validation errors against the epoch to ``path`` (its suffix picks the format)."""
    drawn, axes = figure(2)
    draw_learning_curve(axes[0], history, "valid_energy_rmse_meV_per_atom", "energy RMSE (meV/atom)")
    draw_learning_curve(axes[1], history, "valid_forces_rmse_meV_per_angstrom", "force RMSE (meV/Å)")
    return _save(drawn, path)


def plot_parity(comparisons: Mapping[str, Comparison], path: str | Path) -> Path:
    """Write energies and force components, predicted against labelled, of every named set to ``path``."""
    drawn, axes = figure(2)
    draw_energy_parity(axes[0], comparisons)
    draw_force_parity(axes[1], comparisons)
    return _save(drawn, path)


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
    return [(PALETTE[i % len(PALETTE)], 2 - 0.01 * i, item) for i, item in enumerate(comparisons.items())]


def _finish_parity(axes: Axes, quantity: str) -> None:
    axes.axline((0, 0), slope=1, color="grey", linewidth=0.8, zorder=0)
    axes.set_xlabel(f"labelled {quantity}")
    axes.set_ylabel(f"predicted {quantity}")
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, fontsize="small")


def _save(drawn: Figure, path: str | Path) -> Path:
    path = Path(path)
    drawn.savefig(path, dpi=200)
    return path
