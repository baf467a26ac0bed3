"""Figures of a run: learning curve and parity plot."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from clebsch.data.quantities import QUANTITIES, Quantity
from clebsch.evaluation.accuracy import MILLI, Comparison
from clebsch.plotting import PALETTE, colours, figure, legend, save_figure


def plot_learning_curve(history: Sequence[Mapping[str, Any]], path: str | Path) -> Path:
    """Write the validation errors of every quantity against the epoch to ``path`` (its suffix picks the format)."""
    found = {key for row in history for key in row}
    quantities = _drawn(item for item in QUANTITIES.values() if f"valid_{item.validation_metric}" in found)
    drawn, axes = figure(len(quantities))
    for axis, item in zip(axes, quantities, strict=True):
        label = f"{item.name} RMSE ({item.milli_unit(per_atom=item.per_atom)})"
        draw_learning_curve(axis, history, f"valid_{item.validation_metric}", label)
    return save_figure(drawn, path)


def plot_parity(comparisons: Mapping[str, Comparison], path: str | Path) -> Path:
    """Write all quantities, predicted against labelled, of every named set to ``path``."""
    found = comparisons.values()
    quantities = _drawn(item for name, item in QUANTITIES.items() if any(part.labelled(name) for part in found))
    drawn, axes = figure(len(quantities))
    for axis, quantity in zip(axes, quantities, strict=True):
        draw_parity(axis, comparisons, quantity)
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


def draw_parity(axes: Axes, comparisons: Mapping[str, Comparison], quantity: Quantity) -> None:
    """Draw all components, one colour per set; energies per atom (meV), each set's mean label as its zero."""
    energies = quantity.per_atom and quantity.character == "scalar"
    for colour, layer, (name, comparison) in _layers(comparisons):
        if not comparison.labelled(quantity.name):
            continue
        label, predicted = comparison.labels[quantity.name], comparison.predictions[quantity.name]
        if energies:
            label, predicted = (MILLI * values / comparison.num_atoms for values in (label, predicted))
            label, predicted = label - np.nanmean(label), predicted - np.nanmean(label)
        size = 3 if quantity.of == "atom" else 6
        axes.scatter(label.ravel(), predicted.ravel(), s=size, color=colour, label=name, linewidths=0, zorder=layer)
    unit = quantity.milli_unit(per_atom=True) if energies else quantity.unit
    _finish_parity(axes, f"{quantity.name} ({unit})")


def _drawn(quantities: Iterable[Quantity]) -> list[Quantity]:
    """The quantities of a figure, which has at least one."""
    return list(quantities) or [QUANTITIES["energy"]]


def _layers(comparisons: Mapping[str, Comparison]) -> list[tuple[str, float, tuple[str, Comparison]]]:
    """Colour and drawing order of every set; the first lie on top, since the later ones are wider."""
    layers = (2 - 0.01 * place for place in range(len(comparisons)))
    return list(zip(colours(len(comparisons)), layers, comparisons.items(), strict=True))


def _finish_parity(axes: Axes, quantity: str) -> None:
    axes.axline((0, 0), slope=1, color="grey", linewidth=0.8, zorder=0)
    axes.set_xlabel(f"labelled {quantity}")
    axes.set_ylabel(f"predicted {quantity}")
    legend(axes)
