"""Errors in files and tables: the names that earlier versions wrote, and how a set's errors stand in one cell."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from clebsch.data.quantities import QUANTITIES, Quantity

FORMER_NAMES = {
    "energy_rmse_meV_per_atom": "energy_per_atom_rmse_meV",
    "forces_rmse_meV_per_angstrom": "forces_rmse_meV_A",
    "stress_rmse_meV_per_angstrom3": "stress_rmse_meV_A3",
    "force_rmse_meV_A": "forces_rmse_meV_A",
    "force_mae_meV_A": "forces_mae_meV_A",
}
PUBLISHED = ("energy", "forces")  # whose errors are in every publication, and in every table


def present_names(content: Any) -> Any:
    """Return JSON content that any version has written, with the metrics among its keys as they are called now."""
    if isinstance(content, list):
        return [present_names(item) for item in content]
    if not isinstance(content, dict):
        return content
    renamed = {}
    for key, value in content.items():
        for former, name in FORMER_NAMES.items():
            key = key.replace(former, name)
        renamed[key] = present_names(value)
    return renamed


def compared(errors: Iterable[Mapping[str, Any]], statistic: str) -> list[Quantity]:
    """Return the quantities that a table of ``errors``, one mapping per set, has to show."""
    sets = list(errors)
    return [
        quantity
        for name, quantity in QUANTITIES.items()
        if name in PUBLISHED or any(found.get(quantity.metric(statistic)) is not None for found in sets)
    ]


def table_title(quantities: Sequence[Quantity], statistic: str) -> str:
    """What the cells of a table hold: ``RMSE, energy (meV per configuration) / forces (meV/Å)``."""
    of = [f"{q.name} ({q.milli_unit()}{' per configuration' if q.extensive else ''})" for q in quantities]
    return f"{statistic.upper()}, {' / '.join(of)}"


def table_cell(values: Iterable[float | None]) -> str:
    """The errors of one set, a number per quantity: ``0.73 / 4.20``."""
    return " / ".join("–" if value is None else f"{value:.2f}" for value in values)
