"""The main path of the library, from top to bottom: data → neighbours → model → loss → fit → evaluate → save."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clebsch.data import Configuration, Statistics, at_equal_steps, compute_statistics, elements_of, sizes_of, some_of
from clebsch.errors import DataError
from clebsch.evaluation import Accuracy, accuracy, plot_learning_curve, plot_parity
from clebsch.evaluation.accuracy import Comparison
from clebsch.files import write_json
from clebsch.models import CoreConfig, Domain, Potential, PotentialConfig, ZBLConfig, find_device
from clebsch.models.serialization import POTENTIAL_NAME, save_potential
from clebsch.ops import default_backend
from clebsch.progress import say
from clebsch.recipe import GradientFit, LeastSquaresFit, RunConfig, load_recipe
from clebsch.run.description import describe_start
from clebsch.run.doctor import look_over
from clebsch.run.folder import CURVE_NAME, PARITY_NAME, RESULTS_NAME, claim_together
from clebsch.run.log import LOG_NAME, LoggedConsole
from clebsch.run.sets import (
    Sets,
    check_elements,
    choose_frames,
    read_together,
    reference_energies,
    require_neighbors,
    weigh_stress,
)
from clebsch.run.start import describe_choice, find_start, keep_start, take_weights, with_fingerprint
from clebsch.training import FitResult, fit
from clebsch.training.distributed import World, current
from clebsch.training.division import build_divided, judge_divided
from clebsch.training.least_squares import LeastSquaresResult, fit_least_squares
from clebsch.version import __version__

if TYPE_CHECKING:
    from rich.console import Console

MOST_TRAINED = 1000  # configurations of the training set that a potential is judged on
CORE = 0.95  # of the shortest distance in the training set; hotter atoms come a little closer


@dataclass(frozen=True)
class RunResult:
    """What a run leaves: the potential, how the fit went, errors by set, and the folder of the files.

    ``training`` are the errors on the training set, of at most 1,000 of its configurations at equal steps.
    """

    potential: Potential
    fit: FitResult | LeastSquaresResult
    accuracies: dict[str, Accuracy]
    statistics: Statistics
    directory: Path
    training: Accuracy | None = None


def run(
    recipe: RunConfig | Mapping[str, Any] | str | Path,
    overrides: Sequence[str] = (),
    *,
    console: Console | None = None,
) -> RunResult:
    """Train a potential as a recipe says, judge it on every test set, and save everything in the folder ``output``.

    The folder receives config.yaml (every choice), metrics.jsonl (one line per epoch), checkpoint.safetensors,
    potential.safetensors, results.json, learning_curve.png and parity.png, and, if there is a console, train.log (what
    was said). The same recipe in the same folder continues where it stopped, exactly. One run at a time works in a
    folder.

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
    world = current()
    if console is not None:
        console = LoggedConsole(console) if world.first else world.console(console)
    with world.together():
        config = load_recipe(recipe, overrides)
        start = find_start(config)
    sets = read_together(world, config, console)
    with world.together():
        model = config.model.build(elements_of(sets.train))
        check_elements(sets, model.elements)
        if world.first:
            say(console, [f"note: {line}" for line in look_over(sets, config.data)])
        e0, compositions = reference_energies(config.energy.e0, sets, model.elements, console)
    world.require_same(lambda: _content(config, sets), "Give all processes the same recipe and the same files.")
    train = build_divided(world, sets.train, model.elements, model.r_max, console)
    valid = build_divided(world, sets.valid, model.elements, model.r_max, console)
    with world.together():
        require_neighbors(train, model.r_max)
        statistics = compute_statistics(some_of(train), model.elements, e0, compositions)
    statistics = Statistics(**world.share(vars(statistics)))
    with world.together():
        config = weigh_stress(config, train, valid)
        potential = build_potential(config, statistics, world.device(config.device), start)
        potential.domain = Domain.of(some_of(train), model.elements, model.r_max)
    with claim_together(world, config) as directory:
        with world.together():
            if isinstance(console, LoggedConsole):
                console.keep_in(directory / LOG_NAME)
        say(console, describe_start(sets, statistics, potential, config.train))
        if start is not None:
            say(console, describe_choice(config, start))
        if isinstance(config.train, LeastSquaresFit):
            result = fit_least_squares(potential, train, valid, config.train, console=console)
        else:
            with world.together():
                if world.first:
                    keep_start(config, start)
            settings = with_fingerprint(config, start)
            result = fit(potential, train, valid, settings, directory, seed=config.seed, console=console, resume=True)
        return _judge(RunResult(potential, result, {}, statistics, directory), sets, world, console)


def _content(config: RunConfig, sets: Sets) -> dict[str, Any]:
    """What all processes must have alike before they divide any work: the recipe, and the sizes of the sets."""
    named = {"train": sets.train, "valid": sets.valid, **sets.tests}
    sizes = {f"set '{name}'": sizes_of(frames) for name, frames in named.items()}
    return {"recipe": config.model_dump(mode="json"), **sizes}


def _judge(fitted: RunResult, sets: Sets, world: World, console: Console | None) -> RunResult:
    """Save the potential, then judge it on all sets and write what there is to tell."""
    potential = fitted.potential
    with world.together():
        frames = choose_frames(sets, potential.elements)
        if world.first:
            save_potential(potential, fitted.directory / POTENTIAL_NAME, frames, _summary(fitted))
    judged = {"valid": sets.valid, **sets.tests}
    comparisons = {name: judge_divided(world, potential, found, console, name) for name, found in judged.items()}
    trained = at_equal_steps(sets.train, MOST_TRAINED)
    if len(trained) < len(sets.train):
        say(console, f"errors of the training set: of {len(trained):,} of its configurations, at equal steps")
    outcome = replace(
        fitted,
        accuracies={name: accuracy(comparison) for name, comparison in comparisons.items()},
        training=accuracy(judge_divided(world, potential, trained, console, "train")),
    )
    with world.together():
        if world.first:
            _write(outcome, comparisons, frames)
    return outcome


def _write(outcome: RunResult, comparisons: Mapping[str, Comparison], frames: Sequence[Configuration]) -> None:
    """Write the judged potential, its errors and the figures."""
    directory = outcome.directory
    save_potential(outcome.potential, directory / POTENTIAL_NAME, frames, _summary(outcome))
    write_json(directory / RESULTS_NAME, _summary(outcome))
    if isinstance(outcome.fit, FitResult):
        plot_learning_curve(outcome.fit.history, directory / CURVE_NAME)
    plot_parity(comparisons, directory / PARITY_NAME)


def build_potential(
    config: RunConfig, statistics: Statistics, device: str | None = None, start: Potential | None = None
) -> Potential:
    """Return the untrained potential, referenced and scaled by the statistics of the training set.

    It is on ``device``, or that of the recipe, and has weights, scale and number of neighbours of ``start`` if there is
    one.
    """
    neighbors = statistics.average_num_neighbors if start is None else start.config.model.avg_num_neighbors
    model = config.model.build(tuple(statistics.e0), neighbors)
    scales = {"force_rms": statistics.force_rms, "energy_std": statistics.energy_std_per_atom, "none": 1.0}
    shifts = {"mean": statistics.energy_mean_per_atom, "none": 0.0}
    scale, shift = scales["none" if start is not None else config.energy.scale], shifts[config.energy.shift]
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
    if start is not None and isinstance(config.train, GradientFit):
        take_weights(potential, start, str(config.train.start_from))
    return potential.to(find_device(device or config.device))


def _summary(outcome: RunResult) -> dict[str, Any]:
    """What results.json and the header of the potential say about the run."""
    return {
        "clebsch": __version__,
        "num_parameters": sum(parameter.numel() for parameter in outcome.potential.parameters()),
        "fit": {name: value for name, value in vars(outcome.fit).items() if name != "history"},
        "statistics": asdict(outcome.statistics),
        "errors": {name: found.as_dict() for name, found in outcome.accuracies.items()},
        **({} if outcome.training is None else {"errors_train": outcome.training.as_dict()}),
    }
