"""Tables, panels and JSON of the command line."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from clebsch.progress import say

if TYPE_CHECKING:
    from clebsch.data import Quantity
    from clebsch.doctor import Diagnosis
    from clebsch.dynamics import Phonons, Relaxation, Trajectory
    from clebsch.evaluation import Accuracy, Description
    from clebsch.interop import ImportReport
    from clebsch.run import RunResult
    from clebsch.timing import BenchResult


LOG_WIDTH = 120  # columns of tables in a file
PARITY = ("energy", "forces", "stress", "layers")
HEAD, TAIL = 8, 2  # lines of a long error message that are shown


def console() -> Console:
    """Console of standard output."""
    return Console()


def error_console() -> Console:
    """Console of standard error, for what is said on the way."""
    return Console(stderr=True)


def show_error(error: Exception) -> None:
    """Print ``error`` as one panel on standard error; of a long list the middle is left out."""
    lines = str(error).splitlines()
    if len(lines) > HEAD + TAIL + 1:
        lines = [*lines[:HEAD], f"  … {len(lines) - HEAD - TAIL} more lines", *lines[-TAIL:]]
    panel = Panel(Text("\n".join(lines)), title=type(error).__name__, title_align="left", border_style="red")
    Console(stderr=True).print(panel)


def show_run(result: RunResult) -> None:
    """Print the errors of a finished run and where its files are."""
    from clebsch.run.log import LOG_NAME

    accuracies = {**({} if result.training is None else {"train": result.training}), **result.accuracies}
    show_accuracies(accuracies)
    with open(result.directory / LOG_NAME, "a", encoding="utf-8") as file:
        show_accuracies(accuracies, out=Console(file=file, width=LOG_WIDTH))
    say(console(), f"Saved {result.directory / 'potential.safetensors'}")


def show_json(content: Any) -> None:
    """Print JSON."""
    say(console(), json.dumps(content, indent=2, allow_nan=False))


def show_accuracies(accuracies: Mapping[str, Accuracy], *, as_json: bool = False, out: Console | None = None) -> None:
    """Print errors as tables, to standard output or ``out``, or as JSON: one object per set."""
    if as_json:
        show_json({name: accuracy.as_dict() for name, accuracy in accuracies.items()})
        return
    from clebsch.data import QUANTITIES

    out = out or console()
    out.print(_accuracy_table(accuracies))
    for quantity in QUANTITIES.values():
        if any(accuracy.of_element.get(quantity.metric("rmse")) for accuracy in accuracies.values()):
            out.print(_element_table(accuracies, quantity))


def show_trajectory(result: Trajectory) -> None:
    """Print means over the second half of a trajectory, and where its files are."""
    half = len(result.log["step"]) // 2
    units = {"total_energy_eV": "eV", "temperature_K": "K", "pressure_GPa": "GPa", "volume_A3": "Å³"}
    for name, unit in units.items():
        if name in result.log:
            values = result.log[name][half:]
            label = name.rpartition("_")[0].replace("_", " ")
            say(console(), f"{label}: {values.mean():.6g} ± {values.std():.2g} {unit} (second half)")
    say(console(), f"Saved {result.directory}")


def show_relaxation(result: Relaxation, path: Path) -> None:
    """Print whether a relaxation converged, and where its structure is."""
    before, after = result.energies
    said = "converged" if result.converged else "NOT converged"
    steps = f"{result.steps:,} step{'' if result.steps == 1 else 's'}"
    say(
        console(),
        [
            f"{said} after {steps}: forces up to {result.fmax:.3g} eV/Å, energy {before:.6f} → {after:.6f} eV",
            f"Saved {path}",
        ],
    )


def show_phonons(result: Phonons, directory: Path) -> None:
    """Print what was computed, whether the crystal is stable, and where the files are."""
    modes = "all real" if result.stable else "IMAGINARY modes; thermal properties leave them out"
    say(
        console(),
        [
            f"supercell {' × '.join(map(str, result.supercell))}, {result.displacements} displaced",
            f"frequencies from {result.lowest:.3f} to {result.frequencies.max():.3f} THz: {modes}",
            f"Saved {directory}",
        ],
    )


STYLES = {"error": "bold red", "warning": "yellow", "note": "cyan", "ok": "green", "not checked": "dim"}


def show_diagnosis(found: Diagnosis, *, as_json: bool = False) -> None:
    """Print findings about data as a table, the checks that passed in one row for each set, or all as JSON."""
    if as_json:
        show_json(found.as_dict())
        return
    table = Table(box=box.SIMPLE_HEAD, title=found.summary(), title_justify="left", pad_edge=False)
    table.add_column("", no_wrap=True)
    table.add_column("data", overflow="fold", max_width=24)
    table.add_column("found", overflow="fold")
    for item in found.of_level("error", "warning", "note"):
        text = Text.assemble((f"{item.check}: ", "bold"), item.text, f"\n→ {item.cure}" if item.cure else "")
        table.add_row(Text(item.level, style=STYLES[item.level]), Text(item.subject), text)
    for level in ("ok", "not checked"):
        for subject in dict.fromkeys(item.subject for item in found.of_level(level)):
            names = [
                item.check if level == "ok" else f"{item.check} ({item.text})"
                for item in found.of_level(level)
                if item.subject == subject
            ]
            table.add_row(Text(level, style=STYLES[level]), Text(subject), Text(", ".join(names)))
    console().print(table)


def show_import(report: ImportReport, output: Path, *, as_json: bool = False) -> None:
    """Print how far an imported potential is from the code it comes from, and where it is."""
    if as_json:
        show_json(report.as_json())
        return
    table = _table(f"largest relative differences to {report.source}", "atoms", *PARITY)
    for entry in report.parity:
        values = [getattr(entry.difference, name) for name in PARITY]
        cells = ["–" if value is None else f"{value:.0e}" for value in values]
        head = f"{entry.head}: " if len(report.heads) > 1 else ""
        table.add_row(head + Path(entry.frame).name, str(entry.atoms), *cells)
    lines = [f"Read in a process with: {report.confinement}"] if report.confinement else []
    if not report.parity:
        lines.append("The file has no frames that the code has evaluated: nothing was compared.")
    if len(report.heads) > 1:
        lines.append(f"Heads: {', '.join(report.heads)}; the first is loaded by default")
    out = console()
    if report.parity:
        out.print(table)
    say(out, [*lines, f"Saved {output}"])


def show_bench(result: BenchResult, *, as_json: bool = False) -> None:
    """Print what a benchmark found, as a table or JSON."""
    if as_json:
        show_json(result.as_json())
        return
    config = result.config
    title = f"{result.model}, {config.task} on {config.system}: {result.atoms} atoms, {result.edges} edges"
    table = _table(title, f"{result.dtype}, {result.backend}, threads: {config.threads}", "value")
    rows = {
        "median time, ms": result.median_ms,
        "time per atom, µs": result.us_per_atom,
        "atoms · steps / s": result.atom_steps_per_s,
        "step through the ASE calculator, ms": result.md_step_ms,
        "first call, s": result.first_s,
        "peak memory of all calls, MB": result.peak_mb,
        "estimated operations, Gflop": result.gflop,
        "rate, Gflop/s": result.gflops,
        "matrix product here, Gflop/s": result.sgemm_gflops,
        "fraction of it": result.sgemm_fraction,
        "parameters": result.num_parameters,
    }
    for name, value in rows.items():
        if value is not None:
            table.add_row(
                name, f"{value:,}" if isinstance(value, int) else f"{value:,.3g}" if value < 1e3 else f"{value:,.0f}"
            )
    console().print(table)
    if result.profile is not None:
        say(console(), result.profile)


def _accuracy_table(accuracies: Mapping[str, Accuracy]) -> Table:
    """Rows by set, columns by error; a dash where the set has no such label."""
    from clebsch.data import QUANTITIES

    found = {metric for accuracy in accuracies.values() for metric in accuracy.errors}
    columns = {
        f"{item.symbol} {statistic.upper()}\n{item.milli_unit(per_atom=per_atom)}": metric
        for item in QUANTITIES.values()
        for per_atom in (False, True)
        for statistic in ("mae", "rmse")
        if (metric := item.metric(statistic, per_atom=per_atom)) in found and (statistic == "rmse" or not per_atom)
    }
    compared = [item for item in QUANTITIES.values() if item.metric("rmse") in found]
    shares = {item.name: " (per configuration or per atom)" if item.extensive else "" for item in compared}
    title = f"errors of {', '.join(f'{item.name} {item.symbol}{shares[item.name]}' for item in compared)}"
    table = _table(title, "n", *columns)
    for name, accuracy in accuracies.items():
        table.add_row(Text(name), str(accuracy.n), *map(_number, map(accuracy.get, columns.values())))
    return table


def _element_table(accuracies: Mapping[str, Accuracy], quantity: Quantity) -> Table:
    by_element = {name: accuracy.of_element.get(quantity.metric("rmse"), {}) for name, accuracy in accuracies.items()}
    elements = sorted({symbol for errors in by_element.values() for symbol in errors})
    table = _table(f"{quantity.name} RMSE by element ({quantity.milli_unit()})", *elements)
    for name, errors in by_element.items():
        table.add_row(Text(name), *(_number(errors.get(symbol)) for symbol in elements))
    return table


def _table(title: str, *columns: str) -> Table:
    """A table whose first column may be broken into lines and whose others may not."""
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("", overflow="fold")
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def show_description(description: Description, *, title: str) -> None:
    """Print what a model is made of and what it costs."""
    out = console()
    out.print(Text(title, style="bold"))
    rows = {
        "elements": " ".join(description.elements),
        "channels K": str(description.num_channels),
        "r_max": f"{description.r_max:g} Å",
        "receptive field": f"{len(description.layers)} layers × r_max = {description.receptive_field:g} Å",
        "neighbours": f"{description.avg_num_neighbors:.1f} per atom",
        "flop of the energy": f"{_flops(description.cost.per_edge)} per edge, {_flops(description.cost.per_atom)} per "
        f"atom; {_flops(description.flops_per_atom)} per atom with its edges",
    }
    facts = Table.grid(padding=(0, 2))
    for name, value in rows.items():
        facts.add_row(name, Text(value))
    out.print(facts)
    out.print(_layer_table(description))
    out.print(_parameter_table(description))


def _layer_table(description: Description) -> Table:
    """Rows by property, columns by layer: irreps may be long."""
    layers = description.layers
    rows = {
        "features in": [layer.features for layer in layers],
        "atomic basis": [layer.basis for layer in layers],
        "features out": [layer.hidden for layer in layers],
        "one-particle paths": [str(layer.convolution_paths) for layer in layers],
        "product couplings": [str(layer.product_paths) for layer in layers],
        "body order": [_order(layer.body_order) for layer in layers],
        "polynomial degree": [_order(layer.degree) for layer in layers],
        "flop per edge": [_flops(layer.cost.per_edge) for layer in layers],
        "flop per atom": [_flops(layer.cost.per_atom) for layer in layers],
    }
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("layer", no_wrap=True)
    for index in range(len(layers)):
        table.add_column(str(index + 1), overflow="fold")
    for name, values in rows.items():
        table.add_row(name, *values)
    return table


def _parameter_table(description: Description) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("block")
    table.add_column("parameters", justify="right")
    for block, number in description.parameters.items():
        table.add_row(block, f"{number:,}")
    table.add_section()
    table.add_row("all", f"{description.num_parameters:,}")
    return table


def _order(order: int | None) -> str:
    return "unbounded" if order is None else str(order)


def _flops(value: float) -> str:
    """Operations with a prefix, as in 4.7M."""
    for factor, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= factor:
            return f"{value / factor:.3g}{prefix}"
    return f"{value:.0f}"
