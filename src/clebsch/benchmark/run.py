"""``clebsch benchmark``: potentials on one benchmark, written as JSON, Markdown and pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clebsch.benchmark.judge import Judgement, judge
from clebsch.benchmark.plots import plot_dimers, plot_scan
from clebsch.benchmark.suites import Suite, find_suite
from clebsch.benchmark.tables import as_markdown
from clebsch.errors import ConfigError
from clebsch.files import write_file, write_json
from clebsch.models.serialization import load_potential
from clebsch.pretrained import find_potential
from clebsch.progress import say
from clebsch.version import __version__

if TYPE_CHECKING:
    from rich.console import Console

RESULTS_NAME, TABLES_NAME = "benchmark.json", "benchmark.md"


@dataclass(frozen=True)
class BenchmarkResult:
    """Numbers by potential, the tables made of them, and the folder of the files."""

    numbers: dict[str, Any]
    markdown: str
    directory: Path


def run_benchmark(
    name: str,
    paths: Sequence[str | Path],
    directory: str | Path,
    *,
    root: str | Path | None = None,
    picoseconds: float = 2.0,
    seed: int = 0,
    console: Console | None = None,
) -> BenchmarkResult:
    """Judge saved potentials on a benchmark and write benchmark.json, benchmark.md and the pictures.

    Args:
        name: of the benchmark, see ``SUITES``.
        paths: saved potentials, each called by its file's name, or its folder's where that is potential.safetensors.
        directory: folder of the results; made where missing.
        root: folder of the data sets; None takes $CLEBSCH_DATA.
        picoseconds: length of every dynamics; 0 leaves them out.
        seed: of the velocities and the random forces.
        console: where to say what is being done; None for silence.

    Raises:
        ConfigError: there is no such benchmark, or two potentials have one name.
        DataError: a file is missing, or a potential does not know an element of the data.
    """
    suite = find_suite(name)
    named = name_potentials([find_potential(path) for path in paths])
    judgements: dict[str, Judgement] = {}
    result = BenchmarkResult({}, "", Path(directory))
    for label, path in named.items():
        say(console, f"{name}: {label}")
        judgements[label] = judge(suite, load_potential(path), root=root, picoseconds=picoseconds, seed=seed)
        result = _write(suite, judgements, Path(directory))
    return result


def name_potentials(paths: Sequence[str | Path]) -> dict[str, Path]:
    """Return a name for every file; raises ConfigError where two would have the same."""
    named: dict[str, Path] = {}
    for path in map(Path, paths):
        label = path.stem if path.stem != "potential" else path.resolve().parent.name
        if label in named:
            raise ConfigError(f"'{path}' and '{named[label]}' would both be called '{label}'. Rename one of them.")
        named[label] = path
    return named


def _write(suite: Suite, judgements: dict[str, Judgement], directory: Path) -> BenchmarkResult:
    numbers = {label: judgement.numbers for label, judgement in judgements.items()}
    curves = {label: {scan.name: scan.as_dict() for scan in judgement.scans} for label, judgement in judgements.items()}
    document = {"benchmark": suite.name, "clebsch": __version__, "potentials": numbers, "curves": curves}
    write_json(directory / RESULTS_NAME, document)
    markdown = as_markdown(suite.name, numbers)
    write_file(directory / TABLES_NAME, markdown)
    scans = {scan.name for judgement in judgements.values() for scan in judgement.scans}
    for name in sorted(scans):
        of_name = {label: scan for label, found in judgements.items() for scan in found.scans if scan.name == name}
        plot_scan(name, of_name, directory / f"{name.replace(' ', '_')}.png")
    plot_dimers({label: judgement.dimers for label, judgement in judgements.items()}, directory / "dimers.png")
    return BenchmarkResult(numbers, markdown, directory)
