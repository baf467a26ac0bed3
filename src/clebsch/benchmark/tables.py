"""The tables of a benchmark, in Markdown: potentials first, the published rows below them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from clebsch.benchmark.published import published_mae, published_rmse
from clebsch.data import Quantity
from clebsch.evaluation.metrics import PUBLISHED, compared, present_names, table_cell, table_title

Numbers = Mapping[str, Mapping[str, Any]]


def as_markdown(benchmark: str, found: Numbers) -> str:
    """Return all tables of ``found``, the numbers of every potential by its name."""
    parts = [f"# {benchmark}", accuracy_table(benchmark, found)]
    if any(numbers["scans"] for numbers in found.values()):
        parts.append(scan_table(found))
    parts.append(dimer_table(found))
    if any("body_order_eV" in numbers for numbers in found.values()):
        parts.append(body_order_table(found))
    if any("dynamics" in numbers for numbers in found.values()):
        parts.append(dynamics_table(found))
    missing = sorted({name for numbers in found.values() for name in numbers["left_out"]})
    if missing:
        parts.append(f"Not measured, since the files are not there: {', '.join(missing)}.")
    return "\n\n".join(parts) + "\n"


def accuracy_table(benchmark: str, found: Numbers) -> str:
    """Errors by test set; published rows in italics."""
    molecule = benchmark.partition("/")[2]
    kind = "mae" if molecule else "rmse"
    sets = list(dict.fromkeys(name for numbers in found.values() for name in numbers["accuracy"]))
    errors = {model: present_names(numbers["accuracy"]) for model, numbers in found.items()}
    quantities = compared((cell for row in errors.values() for cell in row.values()), kind)
    kinds = [quantity.metric(kind) for quantity in quantities]
    rows = [
        [model, *(table_cell(map(row[name].get, kinds)) if name in row else "–" for name in sets)]
        for model, row in errors.items()
    ]
    if molecule:
        rows += [
            [f"*{model}, published*", _published(pair, quantities)] for model, pair in published_mae(molecule).items()
        ]
    else:
        rows += published_rows(benchmark, sets, quantities)
    return f"{table_title(quantities, kind)}:\n\n{_table(['', *sets], rows)}"


def published_rows(benchmark: str, sets: Sequence[str], quantities: Sequence[Quantity]) -> list[list[str]]:
    """The published RMSE on ``sets``, a row per model."""
    return [
        [f"*{model}, published*", *(_published(row[name], quantities) if name in row else "–" for name in sets)]
        for model, row in published_rmse(benchmark).items()
    ]


def scan_table(found: Numbers) -> str:
    """Errors along the scans."""
    head = ["", "scan", "RMSE, meV", "of the shape, meV", "barrier, meV", "its error, meV", "spurious minima"]
    rows = [
        [
            model,
            name,
            *(f"{scan[key]:.1f}" for key in ("rmse", "relative_rmse", "barrier", "barrier_error")),
            str(scan["spurious_minima"]),
        ]
        for model, numbers in found.items()
        for name, scan in numbers["scans"].items()
    ]
    return f"Scans, energies only:\n\n{_table(head, rows)}"


def dimer_table(found: Numbers) -> str:
    """Curves of two atoms from 0.5 Å to the cutoff."""
    head = ["", "pair", "well, eV", "at 0.5 Å, eV", "repulsive all the way", "spurious minima"]
    rows = [
        [
            model,
            pair,
            f"{curve['well_meV'] / 1000:.2f}",
            f"{curve['wall_meV'] / 1000:.1f}",
            "yes" if curve["repulsive"] else "no",
            str(curve["spurious_minima"]),
        ]
        for model, numbers in found.items()
        for pair, curve in numbers["dimers"].items()
    ]
    return f"Two atoms alone, 0.5 Å to the cutoff:\n\n{_table(head, rows)}"


def body_order_table(found: Numbers) -> str:
    """Energy of the first test molecule by body order."""
    terms = {model: numbers["body_order_eV"] for model, numbers in found.items() if "body_order_eV" in numbers}
    highest = max(len(row) for row in terms.values()) - 1
    head = ["", *(f"{n}-body" for n in range(1, highest + 1)), "higher"]
    rows = [[model, *(f"{value:.2f}" for value in row)] for model, row in terms.items()]
    return f"Energy of the first test configuration by body order, eV:\n\n{_table(head, rows)}"


def dynamics_table(found: Numbers) -> str:
    """Conservation of energy and stability."""
    head = ["", "drift, meV/atom/ps", "spread, meV/atom", "Langevin: temperature (K): whole for (ps)"]
    rows = []
    for model, numbers in found.items():
        if (dynamics := numbers.get("dynamics")) is None:
            continue
        runs = [f"{run['temperature']:.0f}: {run['picoseconds']:g}{_because(run)}" for run in dynamics["langevin"]]
        drift, spread = dynamics["nve"]["drift_meV_per_atom_per_ps"], dynamics["nve"]["spread_meV_per_atom"]
        broke = [dynamics["nve"]["reason"], "–"]
        rows.append([model, *(broke if drift is None else (f"{drift:+.4f}", f"{spread:.4f}")), ", ".join(runs)])
    return f"Dynamics, 0.5 fs a step, from the first test configuration:\n\n{_table(head, rows)}"


def _because(run: Mapping[str, Any]) -> str:
    return f" ({run['reason']})" if run["reason"] else ""


def _published(pair: tuple[float | None, float | None], quantities: Sequence[Quantity]) -> str:
    found: dict[str, float | None] = dict(zip(PUBLISHED, pair, strict=True))
    return table_cell(found.get(quantity.name) for quantity in quantities)


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *(row + [""] * (len(head) - len(row)) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
