"""Traces and layouts of the charts, as plotly.js reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from clebsch.evaluation import Comparison
from clebsch.evaluation.accuracy import MILLI
from clebsch.plotting import PALETTE, colours
from clebsch.sweep.study import name_of
from clebsch.sweep.table import axis_effects

MOST_POINTS = 4000  # of a scatter plot; more are thinned out evenly

Chart = tuple[list[dict[str, Any]], dict[str, Any]]


def learning_curves(history: Sequence[Mapping[str, Any]]) -> Chart:
    """Errors of the validation set and the training loss against the epoch."""
    names = {
        "valid_energy_rmse_meV_per_atom": ("energy, meV/atom", "y"),
        "valid_forces_rmse_meV_per_angstrom": ("forces, meV/Å", "y"),
        "train_loss": ("training loss", "y2"),
    }
    traces = [
        {
            "x": [row["epoch"] for row in history if key in row],
            "y": [row[key] for row in history if key in row],
            "name": name,
            "yaxis": axis,
            "mode": "lines",
        }
        for key, (name, axis) in names.items()
        if any(key in row for row in history)
    ]
    layout = {
        "title": {"text": "Validation RMSE and training loss"},
        "xaxis": {"title": {"text": "epoch"}},
        "yaxis": {"type": "log", "title": {"text": "RMSE"}},
        "yaxis2": {"type": "log", "overlaying": "y", "side": "right", "title": {"text": "loss"}},
    }
    return traces, layout


def force_parity(comparisons: Mapping[str, Comparison]) -> Chart:
    """Predicted against labelled force components of the last set that has them, by element; else no traces."""
    traces = []
    labelled = [item for item in comparisons.items() if not np.isnan(item[1].forces_label).all()]
    if not labelled:
        return [], {}
    name, found = labelled[-1]
    elements = sorted(set(found.symbols.tolist()))
    for colour, symbol in zip(colours(len(elements)), elements, strict=True):
        label, predicted = (array[found.symbols == symbol].ravel() for array in (found.forces_label, found.forces))
        traces.append(_points(label, predicted, symbol, colour))
    return traces, _square(f"Forces, {name}, eV/Å", "labelled", "predicted")


def force_residuals(comparisons: Mapping[str, Comparison]) -> Chart:
    """Distribution of force errors by element, all sets together."""
    symbols = np.concatenate([found.symbols for found in comparisons.values()])
    errors = np.concatenate([MILLI * (found.forces - found.forces_label) for found in comparisons.values()])
    known = ~np.isnan(errors).any(axis=1)
    symbols, errors, traces = symbols[known], errors[known], []
    width = max(float(4 * np.std(errors)), 1e-9) if len(errors) else 1.0
    elements = sorted(set(symbols.tolist()))
    for colour, symbol in zip(colours(len(elements)), elements, strict=True):
        values = errors[symbols == symbol].ravel().clip(-width, width)
        counts, edges = np.histogram(values, bins=81, range=(-width, width), density=True)
        centers = 0.5 * (edges[1:] + edges[:-1])
        line = {"color": colour, "shape": "hvh"}
        traces.append({"x": _rounded(centers), "y": _rounded(counts), "name": symbol, "mode": "lines", "line": line})
    layout = {
        "title": {"text": "Force errors by element"},
        "xaxis": {"title": {"text": "error, meV/Å"}},
        "yaxis": {"title": {"text": "density"}},
    }
    return traces, layout


def energy_residuals(comparisons: Mapping[str, Comparison]) -> Chart:
    """Energy errors per atom against the labelled energy above each set's lowest, by set."""
    traces = []
    for colour, (name, found) in zip(colours(len(comparisons)), comparisons.items(), strict=True):
        label = MILLI * found.energy_label / found.num_atoms
        error = MILLI * (found.energy - found.energy_label) / found.num_atoms
        if not np.isnan(label).all():
            traces.append(_points(label - np.nanmin(label), error, name, colour))
    layout = {
        "title": {"text": "Energy errors"},
        "xaxis": {"title": {"text": "labelled energy above the lowest, meV/atom"}},
        "yaxis": {"title": {"text": "error, meV/atom"}},
    }
    return traces, layout


def scan_chart(name: str, by_model: Mapping[str, Mapping[str, Any]]) -> Chart:
    """Labelled and predicted energies along a scan."""
    first = next(iter(by_model.values()))
    zero = min(first["label_eV"])
    traces = [_line(first["values"], first["label_eV"], zero, "label", "#000000", "markers")]
    for colour, (model, scan) in zip(colours(len(by_model)), by_model.items(), strict=True):
        traces.append(_line(scan["values"], scan["energy_eV"], zero, model, colour, "lines"))
    layout = {
        "title": {"text": name},
        "xaxis": {"title": {"text": first["coordinate"]}},
        "yaxis": {"title": {"text": "energy, meV"}},
    }
    return traces, layout


def study_cost(groups: Sequence[Mapping[str, Any]], metric: str) -> Chart:
    """``metric`` of every group of a study against operations per atom."""
    return _group_chart(groups, "flop_per_atom", metric, "Accuracy against cost", "operations per atom", "log")


def study_domains(groups: Sequence[Mapping[str, Any]], inside: str, outside: str) -> Chart:
    """Error outside the training domain against the one inside."""
    return _group_chart(groups, inside, outside, "Outside against inside the training domain", inside, "linear")


def study_effect(groups: Sequence[Mapping[str, Any]], axis: str, metric: str) -> Chart:
    """Mean of ``metric`` by value of one axis."""
    effects = axis_effects(groups, axis, metric)
    errors = [error for _, error in effects.values()]
    bars = {"type": "bar", "x": list(effects), "y": [mean for mean, _ in effects.values()]}
    layout = {"title": {"text": axis}, "xaxis": {"type": "category"}, "yaxis": {"title": {"text": metric}}}
    return [{**bars, "error_y": {"array": errors}, "marker": {"color": PALETTE[0]}}], layout


def _group_chart(groups: Sequence[Mapping[str, Any]], x: str, y: str, title: str, x_label: str, scale: str) -> Chart:
    traces = []
    for colour, group in zip(colours(len(groups)), groups, strict=True):
        name = name_of(group["labels"])
        error = {"array": [group["spread"][y] or 0.0]}
        point = {"x": [group["mean"][x]], "y": [group["mean"][y]], "error_y": error, "name": name, "mode": "markers"}
        traces.append({**point, "marker": {"color": colour, "size": 9}})
    layout = {
        "title": {"text": title},
        "xaxis": {"type": scale, "title": {"text": x_label}},
        "yaxis": {"type": scale, "title": {"text": y}},
    }
    return traces, layout


def _line(x: Sequence[float], energies: Sequence[float], zero: float, name: str, colour: str, mode: str) -> dict:
    values = [MILLI * (energy - zero) for energy in energies]
    return {
        "x": list(x),
        "y": values,
        "name": name,
        "mode": mode,
        "line": {"color": colour},
        "marker": {"color": colour},
    }


def _points(x: np.ndarray, y: np.ndarray, name: str, colour: str) -> dict[str, Any]:
    kept = np.flatnonzero(~(np.isnan(x) | np.isnan(y)))
    kept = kept[:: max(1, len(kept) // MOST_POINTS)]
    marker = {"color": colour, "size": 3}
    return {
        "x": _rounded(x[kept]),
        "y": _rounded(y[kept]),
        "name": name,
        "mode": "markers",
        "type": "scattergl",
        "marker": marker,
    }


def _rounded(values: np.ndarray) -> list[float]:
    """Six digits are plenty for a picture, and a fifth of the size."""
    return [float(f"{value:.6g}") for value in values]


def _square(title: str, x: str, y: str) -> dict[str, Any]:
    line = {"type": "line", "xref": "paper", "yref": "paper", "x0": 0, "y0": 0, "x1": 1, "y1": 1}
    return {
        "title": {"text": title},
        "xaxis": {"title": {"text": x}, "matches": "y"},
        "yaxis": {"title": {"text": y}},
        "shapes": [{**line, "line": {"color": "#bbbbbb", "width": 1}, "layer": "below"}],
    }
