"""Traces and layouts of the charts, as plotly.js reads them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from clebsch.data.quantities import QUANTITIES, Quantity
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
        f"valid_{item.validation_metric}": (f"{item.name}, {item.milli_unit(per_atom=item.per_atom)}", "y")
        for item in QUANTITIES.values()
    } | {"train_loss": ("training loss", "y2")}
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


def prediction_charts(comparisons: Mapping[str, Comparison]) -> Iterator[Chart]:
    """Yield the charts of every quantity: what atoms have by element, what configurations have by set."""
    for name, quantity in QUANTITIES.items():
        labelled = {part: found for part, found in comparisons.items() if found.labelled(name)}
        if labelled and quantity.of == "atom":
            yield parity(labelled, quantity)
            yield distribution(labelled, quantity)
        elif labelled:
            yield residuals(labelled, quantity)


def parity(comparisons: Mapping[str, Comparison], quantity: Quantity) -> Chart:
    """Predicted against labelled components of the last set, by element."""
    name, found = list(comparisons.items())[-1]
    traces = []
    elements = sorted(set(found.symbols.tolist()))
    for colour, symbol in zip(colours(len(elements)), elements, strict=True):
        pair = (found.labels[quantity.name], found.predictions[quantity.name])
        label, predicted = (array[found.symbols == symbol].ravel() for array in pair)
        traces.append(_points(label, predicted, symbol, colour))
    return traces, _square(f"{quantity.name.capitalize()}, {name}, {quantity.unit}", "labelled", "predicted")


def distribution(comparisons: Mapping[str, Comparison], quantity: Quantity) -> Chart:
    """Distribution of errors by element, all sets together."""
    symbols = np.concatenate([found.symbols for found in comparisons.values()])
    errors = np.concatenate([MILLI * found.error(quantity.name) for found in comparisons.values()])
    known = ~np.isnan(errors.reshape(len(errors), -1)).any(axis=1)
    symbols, errors, traces = symbols[known], errors[known], []
    width = max(float(4 * np.std(errors)), 1e-9)
    elements = sorted(set(symbols.tolist()))
    for colour, symbol in zip(colours(len(elements)), elements, strict=True):
        values = errors[symbols == symbol].ravel().clip(-width, width)
        counts, edges = np.histogram(values, bins=81, range=(-width, width), density=True)
        centers = 0.5 * (edges[1:] + edges[:-1])
        line = {"color": colour, "shape": "hvh"}
        traces.append({"x": _rounded(centers), "y": _rounded(counts), "name": symbol, "mode": "lines", "line": line})
    layout = {
        "title": {"text": f"Errors of {quantity.name} by element"},
        "xaxis": {"title": {"text": f"error, {quantity.milli_unit()}"}},
        "yaxis": {"title": {"text": "density"}},
    }
    return traces, layout


def residuals(comparisons: Mapping[str, Comparison], quantity: Quantity) -> Chart:
    """Errors against the labels, by set, per atom of what is extensive; energies above each set's lowest."""
    traces, unit = [], quantity.milli_unit(per_atom=quantity.per_atom)
    above = " above the lowest" if quantity.character == "scalar" else ""
    for colour, (name, found) in zip(colours(len(comparisons)), comparisons.items(), strict=True):
        label = MILLI * found.labels[quantity.name]
        if quantity.per_atom:
            label = label / found.num_atoms.reshape(-1, *[1] * (label.ndim - 1))
        label = label - np.nanmin(label) if above else label
        error = MILLI * found.error(quantity.name, per_atom=quantity.per_atom)
        traces.append(_points(label.ravel(), error.ravel(), name, colour))
    layout = {
        "title": {"text": f"Errors of {quantity.name}"},
        "xaxis": {"title": {"text": f"labelled {quantity.name}{above}, {unit}"}},
        "yaxis": {"title": {"text": f"error, {unit}"}},
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
