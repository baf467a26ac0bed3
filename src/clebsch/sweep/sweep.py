"""``clebsch sweep``: run what is missing of a study, then write its table and plots."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from clebsch.errors import ConfigError, did_you_mean
from clebsch.files import write_file, write_json
from clebsch.progress import say
from clebsch.sweep.engines import ENGINES, LOG_NAME, EngineConfig, is_finished
from clebsch.sweep.plots import plot_study
from clebsch.sweep.study import Cell, StudyConfig, load_study, name_of
from clebsch.sweep.table import Group, Row, as_csv, as_markdown, group_rows, read_row

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True)
class SweepResult:
    """Rows of the finished cells, their means over seeds, the cells that failed, and the folder."""

    rows: list[Row]
    groups: list[Group]
    failed: list[Cell]
    directory: Path


def run_sweep(
    path: str | Path,
    engine: str = "local",
    config: EngineConfig | None = None,
    *,
    overrides: Sequence[str] = (),
    console: Console | None = None,
) -> SweepResult:
    """Run the cells of a study that are not finished and write study.csv, study.json, study.md and the plots.

    A cell is known by the content of its recipe: what is finished is not run again, what was stopped goes on from its
    checkpoint. A cell that fails is reported and does not stop the others; calling again tries it again.

    Args:
        path: YAML file of the study.
        engine: ``local`` or ``ray``.
        config: cells at once, threads, address of the cluster.
        overrides: ``dotted.key=value`` of the study, such as ``seeds=[0,1]`` or ``base.train.max_epochs=10``.
        console: where to say how it goes; None for silence.

    Raises:
        ConfigError: the study or a cell is not valid, or there is no such engine.
    """
    if engine not in ENGINES:
        raise ConfigError(f"--engine: expected {' or '.join(ENGINES)}, got '{engine}'.{did_you_mean(engine, ENGINES)}")
    study, cells = load_study(path, overrides)
    runs = {cell.digest: cell for cell in cells}  # equal recipes are one run
    open_cells = [cell for cell in runs.values() if not is_finished(cell, study.output)]
    say(console, f"{len(runs)} cells, {len(runs) - len(open_cells)} of them finished")
    failed = []
    for cell, status in ENGINES[engine](open_cells, study.output, config or EngineConfig()):
        if status:
            failed.append(cell)
        log = f": failed, see {cell.directory(study.output) / LOG_NAME}" if status else ""
        say(console, f"{_name(cell)}{log}")
        write_results(study, cells)
    rows, groups = write_results(study, cells)
    return SweepResult(rows, groups, failed, study.output)


def write_results(study: StudyConfig, cells: list[Cell]) -> tuple[list[Row], list[Group]]:
    """Write the table of the finished cells and, where there are any, the plots."""
    rows = [read_row(cell, study.output, study.metric) for cell in cells if is_finished(cell, study.output)]
    groups = group_rows(rows)
    write_file(study.output / "study.csv", as_csv(rows))
    write_json(study.output / "study.json", {"cells": list(map(vars, rows)), "groups": list(map(vars, groups))})
    write_file(study.output / "study.md", as_markdown(groups))
    if groups:
        plot_study(groups, study.output)
    return rows, groups


def _name(cell: Cell) -> str:
    return f"{name_of(cell.labels)}, seed {cell.seed}"
