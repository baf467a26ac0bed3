"""The table of a study: one row per cell and one per cell's mean over seeds."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, Literal

from clebsch.data import QUANTITIES
from clebsch.evaluation.metrics import compared, present_names, table_title
from clebsch.run import POTENTIAL_NAME, RESULTS_NAME, describe_file
from clebsch.sweep.study import BASE, Cell, name_of


@dataclass(frozen=True)
class Row:
    """One finished cell: labels by axis, seed, and its numbers: costs, then errors as ``set/kind``."""

    labels: dict[str, str]
    seed: int
    digest: str
    numbers: dict[str, float]


@dataclass(frozen=True)
class Group:
    """Cells that differ in nothing but the seed: mean and standard deviation (None for one seed) of every number."""

    labels: dict[str, str]
    seeds: tuple[int, ...]
    mean: dict[str, float]
    spread: dict[str, float | None]


def read_row(cell: Cell, study: Path, metric: Literal["rmse", "mae"]) -> Row:
    """Read what a finished cell left."""
    folder = cell.directory(study)
    results = present_names(json.loads((folder / RESULTS_NAME).read_text()))
    numbers = {
        "seconds": results["fit"]["seconds"],
        "parameters": results["num_parameters"],
        "flop_per_atom": describe_file(folder / POTENTIAL_NAME).flops_per_atom,
    }
    for name, errors in results["errors"].items():
        kinds = [quantity.metric(metric) for quantity in QUANTITIES.values()]
        numbers |= {f"{name}/{kind}": errors[kind] for kind in kinds if errors.get(kind) is not None}
    return Row(cell.labels, cell.seed, cell.digest, numbers)


def group_rows(rows: Sequence[Row]) -> list[Group]:
    """Return mean and spread over the seeds, in the order of the rows."""
    members: dict[tuple[tuple[str, str], ...], list[Row]] = {}
    for row in rows:
        members.setdefault(tuple(row.labels.items()), []).append(row)
    return [_group(dict(labels), alike) for labels, alike in members.items()]


def _group(labels: dict[str, str], rows: list[Row]) -> Group:
    names = [name for name in rows[0].numbers if all(name in row.numbers for row in rows)]
    columns = {name: [row.numbers[name] for row in rows] for name in names}
    spread = {name: stdev(column) if len(rows) > 1 else None for name, column in columns.items()}
    return Group(
        labels, tuple(row.seed for row in rows), {name: fmean(column) for name, column in columns.items()}, spread
    )


def force_errors(means: Sequence[Mapping[str, float]]) -> list[str]:
    """Names of the force errors that all of ``means`` have, in the order of the sets."""
    return [name for name in means[0] if "/forces_" in name and all(name in mean for mean in means)]


def axis_effects(groups: Sequence[Mapping[str, Any]], axis: str, metric: str) -> dict[str, tuple[float, float]]:
    """Return, by value of an axis, mean and standard deviation of ``metric`` over the groups with that value.

    Where axes are varied one at a time, only groups that leave the other axes as they are in the base count.
    """
    alone = [g for g in groups if all(label == BASE for name, label in g["labels"].items() if name != axis)]
    found: dict[str, list[float]] = {}
    for group in alone or groups:
        found.setdefault(group["labels"][axis], []).append(group["mean"][metric])
    return {value: (fmean(means), stdev(means) if len(means) > 1 else 0.0) for value, means in found.items()}


def as_csv(rows: Sequence[Row]) -> str:
    """One line per cell."""
    names = list(dict.fromkeys(name for row in rows for name in row.numbers))
    axes = list(dict.fromkeys(axis for row in rows for axis in row.labels))
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*axes, "seed", "digest", *names])
    for row in rows:
        labels = [row.labels.get(axis, "") for axis in axes]
        writer.writerow([*labels, row.seed, row.digest, *(row.numbers.get(name, "") for name in names)])
    return text.getvalue()


def as_markdown(groups: Sequence[Group]) -> str:
    """One line per group: errors of the quantities on every set, ± over seeds where there are several.

    A grid has one column per axis; where axes are varied one at a time, one column names what differs from the base.
    """
    if not groups:
        return "No cell has been finished.\n"
    one_at_a_time = any(BASE in group.labels.values() for group in groups)
    axes = ["choice"] if one_at_a_time else list(dict.fromkeys(axis for group in groups for axis in group.labels))
    sets = list(dict.fromkeys(name.rpartition("/")[0] for group in groups for name in group.mean if "/" in name))
    head = [*axes, "seeds", "parameters", "Mflop/atom", "s", *sets]
    lines = [head, ["---"] * len(head)]
    kind = "mae" if any("_mae_" in name for name in groups[0].mean) else "rmse"
    quantities = compared(({name.rpartition("/")[2]: mean for name, mean in g.mean.items()} for g in groups), kind)
    for group in groups:
        costs = [f"{group.mean['parameters']:,.0f}", f"{group.mean['flop_per_atom'] / 1e6:.2f}"]
        cells = [_cell(group, [f"{name}/{quantity.metric(kind)}" for quantity in quantities]) for name in sets]
        labels = [name_of(group.labels)] if one_at_a_time else [group.labels.get(axis, "") for axis in axes]
        lines.append([*labels, str(len(group.seeds)), *costs, f"{group.mean['seconds']:.0f}", *cells])
    table = "\n".join(f"| {' | '.join(cell.replace('|', '¦') for cell in line)} |" for line in lines)
    return f"{table_title(quantities, kind)}:\n\n{table}\n"


def _cell(group: Group, keys: Sequence[str]) -> str:
    parts = []
    for key in keys:
        spread = group.spread.get(key)
        value = f"{group.mean[key]:.2f}" if key in group.mean else "–"
        parts.append(value if spread is None else f"{value} ± {spread:.2f}")
    return " / ".join(parts)
