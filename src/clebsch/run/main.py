"""The main path of the library, from top to bottom: data → neighbours → model → loss → fit → evaluate → save."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clebsch.data import Statistics, build_graphs, compute_statistics, find_elements
from clebsch.errors import DataError
from clebsch.evaluation import Accuracy, accuracy, compare, plot_learning_curve, plot_parity
from clebsch.files import write_json
from clebsch.models import CoreConfig, Domain, Potential, PotentialConfig, ZBLConfig, find_device
from clebsch.models.serialization import save_potential
from clebsch.ops import default_backend
from clebsch.progress import say
from clebsch.recipe import LeastSquaresFit, RunConfig, load_recipe
from clebsch.run.description import describe_start
from clebsch.run.doctor import look_over
from clebsch.run.folder import CURVE_NAME, PARITY_NAME, POTENTIAL_NAME, RESULTS_NAME, claim_directory
from clebsch.run.sets import (
    Sets,
    build_training_graphs,
    check_elements,
    choose_frames,
    read_sets,
    reference_energies,
    weigh_stress,
)
from clebsch.training import FitResult, fit
from clebsch.training.least_squares import LeastSquaresResult, fit_least_squares
from clebsch.version import __version__

if TYPE_CHECKING:
    from rich.console import Console

CORE = 0.95  # of the shortest distance in the training set; hotter atoms come a little closer


@dataclass(frozen=True)
class RunResult:
    """What a run leaves: the potential, how the fit went, errors by set, and the folder of the files."""

    potential: Potential
    fit: FitResult | LeastSquaresResult
    accuracies: dict[str, Accuracy]
    statistics: Statistics
    directory: Path


def run(
    recipe: RunConfig | Mapping[str, Any] | str | Path,
    overrides: Sequence[str] = (),
    *,
    console: Console | None = None,
) -> RunResult:
    """Train a potential as a recipe says, judge it on every test set, and save everything in the folder ``output``.

    The folder receives config.yaml (every choice), metrics.jsonl (one line per epoch), checkpoint.safetensors,
    potential.safetensors, results.json, learning_curve.png and parity.png. The same recipe in the same folder continues
    where it stopped, exactly. One run at a time works in a folder.

    Args:
        recipe: a configuration, a mapping as in a YAML file, or the path of that file.
        overrides: changes to it as ``dotted.key=value``, such as ``train.max_epochs=2``.
        console: where to say how it goes; None for silence.

    Raises:
        ConfigError: a key or a value is not valid, or the folder holds a run with other settings.
        DataError: the data cannot be used as they are.
        FolderInUseError: another run works in the folder.
        CheckpointError: its checkpoints are damaged or of another run.
        OutputError: a file cannot be written.
    """
    config = load_recipe(recipe, overrides)
    sets = read_sets(config.data, config.seed, console)
    say(console, [f"note: {line}" for line in look_over(sets, config.data)])
    model = config.model.build(find_elements(sets.train))
    check_elements(sets, model.elements)
    e0, compositions = reference_energies(config.energy.e0, sets, model.elements, console)
    train, valid = build_training_graphs(sets.train, model), build_graphs(sets.valid, model.elements, model.r_max)
    statistics = compute_statistics(train, model.elements, e0, compositions)
    config = weigh_stress(config, train, valid)
    potential = build_potential(config, statistics)
    potential.domain = Domain.of(train, model.elements, model.r_max)
    with claim_directory(config) as directory:
        say(console, describe_start(sets, statistics, potential, config.train))
        if isinstance(config.train, LeastSquaresFit):
            result = fit_least_squares(potential, train, valid, config.train, console=console)
        else:
            result = fit(
                potential, train, valid, config.train, directory, seed=config.seed, console=console, resume=True
            )
        return _judge(RunResult(potential, result, {}, statistics, directory), sets)


def _judge(fitted: RunResult, sets: Sets) -> RunResult:
    """Save the potential, then judge it on the validation and test sets and write what there is to tell."""
    potential, directory = fitted.potential, fitted.directory
    frames = choose_frames(sets, potential.elements)
    save_potential(potential, directory / POTENTIAL_NAME, frames, _summary(fitted))
    comparisons = {name: compare(potential, found) for name, found in {"valid": sets.valid, **sets.tests}.items()}
    outcome = replace(fitted, accuracies={name: accuracy(comparison) for name, comparison in comparisons.items()})
    save_potential(potential, directory / POTENTIAL_NAME, frames, _summary(outcome))
    write_json(directory / RESULTS_NAME, _summary(outcome))
    if isinstance(fitted.fit, FitResult):
        plot_learning_curve(fitted.fit.history, directory / CURVE_NAME)
    plot_parity(comparisons, directory / PARITY_NAME)
    return outcome


def build_potential(config: RunConfig, statistics: Statistics) -> Potential:
    """Return the untrained potential, referenced and scaled by the statistics of the training set."""
    model = config.model.build(tuple(statistics.e0), statistics.average_num_neighbors)
    scales = {"force_rms": statistics.force_rms, "energy_std": statistics.energy_std_per_atom, "none": 1.0}
    shifts = {"mean": statistics.energy_mean_per_atom, "none": 0.0}
    scale, shift = scales[config.energy.scale], shifts[config.energy.shift]
    if not scale:
        raise DataError(
            f"energy.scale is '{config.energy.scale}', which is {scale} for the labels of the training set. Choose "
            "'none' or another scale, or name the keys of the labels."
        )
    if shift is None:
        raise DataError("energy.shift is 'mean', but the training set has no energies. Choose 'none'.")
    terms: tuple[ZBLConfig | CoreConfig, ...] = (ZBLConfig(),) if config.energy.repulsion == "zbl" else ()
    if config.energy.repulsion == "core":
        radii = {pair: CORE * distance for pair, distance in statistics.shortest_distances.items()}
        terms = (CoreConfig(radii=radii),)
    potential = Potential(
        PotentialConfig(model=model, terms=terms),
        e0=statistics.e0,
        scale=scale,
        shift=shift,
        dtype=config.dtype,
        seed=config.seed,
        backend=config.backend or default_backend(config.device),
    )
    return potential.to(find_device(config.device))


def _summary(outcome: RunResult) -> dict[str, Any]:
    """What results.json and the header of the potential say about the run."""
    return {
        "clebsch": __version__,
        "num_parameters": sum(parameter.numel() for parameter in outcome.potential.parameters()),
        "fit": {name: value for name, value in vars(outcome.fit).items() if name != "history"},
        "statistics": asdict(outcome.statistics),
        "errors": {name: found.as_dict() for name, found in outcome.accuracies.items()},
    }
