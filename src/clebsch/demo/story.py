"""From a molecule to molecular dynamics in a few minutes: sample, fit, judge, run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

import torch
from rich import box
from rich.table import Table

from clebsch.benchmark.dynamics import run_nve
from clebsch.data import read_configurations
from clebsch.demo.figure import plot_demo
from clebsch.demo.recipes import LINEAR, PACE, TEST_FILES, TRAIN_FILE, make_recipes
from clebsch.demo.sampling import Trajectory, sample_all
from clebsch.evaluation import Accuracy, compare, evaluate
from clebsch.progress import say
from clebsch.recipe import RunConfig, parse_recipe
from clebsch.run import CONFIG_NAME, RunResult, read_sets, run

if TYPE_CHECKING:
    from rich.console import Console

FIGURE_NAME = "demo.png"


@contextmanager
def one_thread() -> Iterator[None]:
    """Let PyTorch compute in one thread: a small molecule gains nothing from more, and results then repeat."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@one_thread()
def run_demo(
    directory: str | Path = "demo",
    *,
    seconds: float = 150,
    configurations: tuple[int, int, int] = (250, 50, 100),
    steps: int = 2000,
    seed: int = 0,
    console: Console | None = None,
) -> dict[str, Any]:
    """Make reference data of acetylacetone, fit linear ACE and PACE to them, judge both, and run dynamics with PACE.

    The folder receives the data as extended XYZ, one folder per fit as `clebsch train` leaves it, and demo.png.

    Args:
        directory: folder of the results.
        seconds: time for which PACE trains; it is stopped where it takes half as long again.
        configurations: how many to train on, to validate on, and in each of the test sets.
        steps: steps of 0.5 fs at constant energy.
        seed: of the trajectories, the split, the initial weights and the shuffling.
        console: where to tell the story; None for silence.

    Returns:
        ``errors`` by model and set, ``drift_meV_per_atom_per_ps``, and ``seconds`` by stage.

    Raises:
        ClebschError: the package tblite is missing.
    """
    directory, stages = Path(directory), _Stages(console)
    train, valid, test = configurations
    temperatures = " and ".join(f"{temperature} K" for temperature in TEST_FILES)
    stages.begin("sampling", f"Acetylacetone at {temperatures}: energies and forces with GFN2-xTB")
    make_data(directory, train + valid, test, seed)

    configs, results = {}, {}
    for name, recipe in make_recipes(directory, valid=valid, seconds=seconds, seed=seed).items():
        configs[name] = parse_recipe(recipe)
        stages.begin(name, f"{name}, the same as: clebsch train {configs[name].output / CONFIG_NAME}")
        results[name] = run(configs[name], console=console)

    stages.begin("dynamics", f"Dynamics with {PACE} at constant energy: {steps} steps of 0.5 fs")
    test_set = read_configurations(directory / TEST_FILES[300])
    trace = run_nve(results[PACE].potential, test_set[0].to_atoms(), steps=steps, seed=seed)

    stages.begin("results", "Results")
    errors = {name: all_errors(configs[name], results[name]) for name in results}
    comparisons = {name: compare(result.potential, test_set) for name, result in results.items()}
    plot_demo(comparisons, results[PACE].fit.history, errors[LINEAR]["valid"], trace, directory / FIGURE_NAME)
    took = stages.end()
    if console is not None:
        console.print(error_table(errors))
    say(console, f"Total energy: drift {trace.drift:+.3f} meV/atom/ps, spread {trace.spread:.3f} meV/atom")
    say(console, f"{sum(took.values()):.0f} s in all. Figure: {directory / FIGURE_NAME}")
    plain = {name: {part: found.as_dict() for part, found in sets.items()} for name, sets in errors.items()}
    return {"errors": plain, "drift_meV_per_atom_per_ps": trace.drift, "seconds": took}


def make_data(directory: Path, train: int, test: int, seed: int) -> None:
    """Write the training file and the test files, each from a trajectory of its own."""
    coldest = min(TEST_FILES)
    trajectories = [Trajectory(directory / TRAIN_FILE, coldest, train, seed, isolated_atoms=True)]
    for temperature, file in TEST_FILES.items():
        trajectories.append(Trajectory(directory / file, temperature, test, seed + temperature))
    sample_all(trajectories)


def all_errors(config: RunConfig, result: RunResult) -> dict[str, Accuracy]:
    """Return the errors on the configurations that the model was fitted to, and on all others."""
    train = evaluate(result.potential, read_sets(config.data, config.seed).train)
    return {"train": train, **result.accuracies}


def error_table(errors: Mapping[str, Mapping[str, Accuracy]]) -> Table:
    """Return a table with a row for every set and two columns for every model."""
    table = Table(title="RMSE of energy E (per molecule) and forces F", title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("")
    table.add_column("n", justify="right")
    for name in errors:
        for column in ("E\nmeV", "F\nmeV/Å"):
            table.add_column(f"{name}\n{column}", justify="right", no_wrap=True)
    for part, first in next(iter(errors.values())).items():
        found = [errors[name][part] for name in errors]
        numbers = [value for item in found for value in (item["energy_rmse_meV"], item["forces_rmse_meV_A"])]
        table.add_row(part, str(first.n), *(f"{value:.1f}" for value in numbers))
    return table


class _Stages:
    """Prints a headline for every stage and keeps the time it takes (s)."""

    def __init__(self, console: Console | None) -> None:
        self._console = console
        self._began: dict[str, float] = {}

    def begin(self, stage: str, headline: str) -> None:
        self._began[stage] = monotonic()
        if self._console is not None:
            self._console.rule(headline, align="left", style="dim")

    def end(self) -> dict[str, float]:
        times = [*self._began.values(), monotonic()]
        return {stage: end - start for stage, start, end in zip(self._began, times, times[1:], strict=False)}
