"""``clebsch report``: a run, a study or a benchmark as one HTML file."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from clebsch.benchmark.run import RESULTS_NAME as BENCHMARK_NAME
from clebsch.benchmark.tables import as_markdown, published_rows
from clebsch.data import Quantity
from clebsch.errors import ClebschError, ConfigError, DamagedFileError
from clebsch.evaluation import compare
from clebsch.evaluation.metrics import compared, present_names, table_cell, table_title
from clebsch.models.serialization import load_potential
from clebsch.recipe import DatasetSource, FileSource, load_recorded
from clebsch.report import charts
from clebsch.report.page import Page
from clebsch.report.structures import structure_dataset, worst_frames
from clebsch.run import CONFIG_NAME, POTENTIAL_NAME, RESULTS_NAME, read_sets
from clebsch.sweep.table import force_errors
from clebsch.training import read_metrics
from clebsch.training.trainer import METRICS_NAME

STUDY_NAME = "study.json"


def write_report(folder: str | Path, path: str | Path | None = None) -> Path:
    """Write the report of the folder of a run, a study or a benchmark, and return its path.

    Args:
        folder: where ``clebsch train``, ``sweep`` or ``benchmark`` has written.
        path: of the HTML file; None for report.html in the folder.

    Raises:
        ConfigError: the folder holds none of them.
        BackendError: plotly or chemiscope is not installed.
        DataError: the data of a run are not where they were.
        DamagedFileError: a file of results does not hold what it should.
    """
    folder = Path(folder)
    kinds = {RESULTS_NAME: run_page, STUDY_NAME: study_page, BENCHMARK_NAME: benchmark_page}
    for name, make in kinds.items():
        if (folder / name).is_file():
            with _explained(folder, name):
                page = make(folder)
            return page.write(path or folder / "report.html")
    raise ConfigError(
        f"'{folder}' holds no {', '.join(kinds)}: it is the folder of no finished run, study or benchmark. "
        "Give the folder that train, sweep or benchmark has written to."
    )


@contextmanager
def _explained(folder: Path, name: str) -> Iterator[None]:
    """Turn whatever goes wrong where results are taken apart into a DamagedFileError that names them."""
    try:
        yield
    except ClebschError:
        raise
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise DamagedFileError(
            f"'{folder / name}', or a file beside it, does not hold what the library has written there "
            f"({type(error).__name__}: {str(error)[:200]}). Run the command that wrote it again in that folder."
        ) from None


def run_page(folder: Path) -> Page:
    """Learning curves, errors beside published ones, parity and residuals by element, the worst configurations."""
    config = load_recorded(folder / CONFIG_NAME)
    results = present_names(json.loads((folder / RESULTS_NAME).read_text()))
    potential, sets = load_potential(folder / POTENTIAL_NAME), read_sets(config.data, config.seed)
    frames = {"valid": sets.valid, **sets.tests}
    comparisons = {name: compare(potential, part) for name, part in frames.items()}
    page = Page(folder.resolve().name)
    quantities = compared(results["errors"].values(), "rmse")
    page.section("Errors", f"{table_title(quantities, 'rmse')}.")
    page.table(*_error_table(results["errors"], config.data, quantities))
    page.table(["", "value"], _facts(results))
    if (folder / METRICS_NAME).is_file():
        page.section("Training")
        page.chart(*charts.learning_curves(read_metrics(folder / METRICS_NAME)))
    page.section("Predictions")
    for chart in charts.prediction_charts(comparisons):
        page.chart(*chart)
    worst = worst_frames(frames, comparisons)
    if worst:
        page.section("The worst configurations", "Ordered by force error; atoms are coloured by theirs.")
        page.structure_viewer(structure_dataset(page.title, worst))
    page.section("Recipe")
    page.code(config.as_yaml())
    return page


def study_page(folder: Path) -> Page:
    """The table of a study, accuracy against cost, domains, and the effect of every axis."""
    groups = present_names(json.loads((folder / STUDY_NAME).read_text()))["groups"]
    if not groups:
        raise ConfigError(f"'{folder}': no cell of the study has been finished. Run clebsch sweep first.")
    page = Page(folder.resolve().name)
    page.section("Cells", "Mean and standard deviation over seeds.")
    page.markdown((folder / "study.md").read_text())
    metrics = force_errors([group["mean"] for group in groups])
    if metrics:
        page.section("The design space")
        page.chart(*charts.study_cost(groups, metrics[0]))
        if len(metrics) > 1:
            page.chart(*charts.study_domains(groups, metrics[0], metrics[-1]))
        for axis in groups[0]["labels"]:
            page.chart(*charts.study_effect(groups, axis, metrics[-1]))
    return page


def benchmark_page(folder: Path) -> Page:
    """The tables of a benchmark with the published rows, and its scans."""
    document = json.loads((folder / BENCHMARK_NAME).read_text())
    page = Page(f"Benchmark {document['benchmark']}")
    page.markdown(as_markdown(document["benchmark"], document["potentials"]).partition("\n")[2])
    curves: Mapping[str, Mapping[str, Any]] = document["curves"]
    names = dict.fromkeys(name for scans in curves.values() for name in scans)
    if names:
        page.section("Scans")
    for name in names:
        page.chart(*charts.scan_chart(name, {model: scans[name] for model, scans in curves.items() if name in scans}))
    return page


def _error_table(
    errors: Mapping[str, Mapping[str, Any]], source: DatasetSource | FileSource, quantities: Sequence[Quantity]
) -> tuple[list[str], Sequence[Sequence[str]]]:
    """Errors by set and, for the training set that they were trained on, those of the published models."""
    sets = list(errors)
    rows = [["this run", *(table_cell(errors[name].get(q.metric("rmse")) for q in quantities) for name in sets)]]
    if isinstance(source, DatasetSource) and source.train in (None, "train_300K"):
        rows += published_rows(source.dataset, sets, quantities)
    return ["", *sets], rows


def _facts(results: Mapping[str, Any]) -> list[list[str]]:
    fit = results["fit"]
    return [
        ["parameters", f"{results['num_parameters']:,}"],
        ["training time, s", f"{fit['seconds']:.0f}"],
        *([["best epoch", str(fit["best_epoch"])]] if "best_epoch" in fit else []),
        ["configurations", str(results["statistics"]["num_graphs"])],
    ]
