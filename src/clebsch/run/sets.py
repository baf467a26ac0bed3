"""What a run reads: its sets of configurations, the energies of isolated atoms, the graphs of the training set."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, groupby, islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from clebsch.data import (
    Blocks,
    Configuration,
    Graph,
    Last,
    Pack,
    Statistics,
    build_graphs,
    compute_statistics,
    find_elements,
    find_isolated_atoms,
    fit_e0,
    labelled,
    read_isolated_atoms,
    split,
    split_trajectories,
    undetermined,
)
from clebsch.data.datasets import load_dataset
from clebsch.data.graph import species_of
from clebsch.data.quantities import QUANTITIES, STRESS_WEIGHT
from clebsch.errors import ConfigError, DataError, did_you_mean
from clebsch.models.reference_frames import missing_elements
from clebsch.progress import say
from clebsch.recipe import DatasetSource, FileSource, GradientFit, Part, RunConfig
from clebsch.run.sources import describe_frames, read_files, say_overlap
from clebsch.training.distributed import World

if TYPE_CHECKING:
    from rich.console import Console

NUM_REFERENCE_FRAMES = 3


@dataclass(frozen=True)
class Sets:
    """The configurations of a run, and the energies (eV) of isolated atoms if the training data have them.

    ``atoms_set_aside`` counts the isolated atoms of validation and test files by set, which are no configurations.
    """

    train: Sequence[Configuration]
    valid: Sequence[Configuration]
    tests: Mapping[str, Sequence[Configuration]]
    isolated_atoms: dict[str, float] | None
    atoms_set_aside: dict[str, int] = field(default_factory=dict)


def read_sets(source: DatasetSource | FileSource, seed: int, console: Console | None = None) -> Sets:
    """Read the configurations of ``source`` and set the validation part aside, drawn with ``seed``.

    What was found in each source is said to ``console``.
    """
    if isinstance(source, DatasetSource):
        dataset = load_dataset(
            source.dataset, source.root, train=source.train, tests=source.tests, download=source.download
        )
        say(console, f"{dataset.name}: {describe_frames(dataset.train, dataset.keys)}")
        train, valid = set_aside(dataset.train, source.valid, seed)
        return Sets(train, valid, dataset.tests, dataset.isolated_atoms)
    frames = _weighted(read_files(source.train, source, console), source.weights)
    train = _molecules(frames)
    files = {**({"valid": source.valid} if isinstance(source.valid, str) else {}), **source.tests}
    read = {name: read_files(path, source, console) for name, path in files.items()}
    say_overlap(console, source)
    others = {name: _molecules(found) for name, found in read.items()}
    left = {name: len(found) - len(others[name]) for name, found in read.items() if len(found) > len(others[name])}
    if isinstance(source.valid, str):
        valid = others.pop("valid")
    else:
        train, valid = set_aside(train, source.valid, seed)
    atoms = frames.select(np.flatnonzero(frames.isolated())) if isinstance(frames, Pack) else frames
    return Sets(train, valid, others, find_isolated_atoms(atoms) or None, left)


def _weighted(
    frames: Sequence[Configuration], weights: Mapping[str, float | Mapping[str, float]]
) -> Sequence[Configuration]:
    """The configurations with weights by config_type; raises ConfigError for a config_type that none has."""
    _require_kinds(frames, weights, "data.weights")
    by_quantity = {kind: _by_quantity(given) for kind, given in weights.items()}
    if isinstance(frames, Pack):
        return frames.weighted(by_quantity)
    return [
        _with_weights(frame, by_quantity[frame.config_type]) if frame.config_type in weights else frame
        for frame in frames
    ]


def _require_kinds(frames: Sequence[Configuration], wanted: Iterable[str], key: str) -> None:
    kinds = set(frames.config_types if isinstance(frames, Pack) else (frame.config_type for frame in frames))
    absent = sorted(set(wanted) - kinds)
    if absent:
        found = sorted(kinds - {""})
        raise ConfigError(
            f"{key}: no training configuration has the config_type '{absent[0]}'.{did_you_mean(absent[0], found)} "
            f"There are: {', '.join(found) or 'none'}."
        )


def _by_quantity(given: float | Mapping[str, float]) -> Mapping[str, float]:
    return given if isinstance(given, Mapping) else dict.fromkeys(QUANTITIES, given)


def _with_weights(frame: Configuration, factors: Mapping[str, float]) -> Configuration:
    weights = {name: frame.weights.get(name, 1.0) * factors.get(name, 1.0) for name in QUANTITIES}
    return replace(frame, weights={name: weight for name, weight in weights.items() if weight != 1.0})


def _molecules(frames: Sequence[Configuration]) -> Sequence[Configuration]:
    """All but isolated atoms."""
    if isinstance(frames, Pack):
        return frames.select(np.flatnonzero(~frames.isolated()))
    return [frame for frame in frames if not frame.is_isolated_atom]


def reference_energies(
    choice: str | Mapping[str, float], sets: Sets, elements: Sequence[str], console: Console | None = None
) -> tuple[dict[str, float], list[list[float]] | None]:
    """Return E0 (eV) of every element: given, of isolated atoms, fitted to the training energies, or from a file.

    With them come the compositions of a fit that leaves some E0 undetermined (`Statistics`), else None. The console is
    told of it, and of the test sets that it concerns.
    """
    if choice != "least_squares":
        return _given_energies(choice, sets), None
    fitted = fit_e0(sets.train, elements)
    if fitted.compositions is not None:
        say(console, f"E0 by least squares: {fitted.note}")
    for name, frames in {"valid": sets.valid, **sets.tests}.items():
        if text := undetermined(fitted.compositions, elements, frames):
            say(console, f"{name}: {text}")
    return fitted.e0, fitted.compositions


def _given_energies(choice: str | Mapping[str, float], sets: Sets) -> dict[str, float]:
    if isinstance(choice, Mapping):
        return dict(choice)
    if choice == "isolated_atoms":
        if sets.isolated_atoms is None:
            raise DataError(
                "energy.e0 is 'isolated_atoms', but the training data hold no isolated atom. Add single-atom frames "
                "with config_type=IsolatedAtom, name a file of them, give the energies by element, or 'least_squares'."
            )
        return sets.isolated_atoms
    if not Path(choice).is_file():
        words = ("isolated_atoms", "least_squares")
        raise ConfigError(
            f"energy.e0: '{choice}' is neither {words[0]}, {words[1]} nor a file.{did_you_mean(choice, words)}"
        )
    return read_isolated_atoms(choice)


def check_elements(sets: Sets, elements: Sequence[str]) -> None:
    """Raise DataError if a validation or test set holds an element that is not among ``elements``."""
    for frames in (sets.valid, *sets.tests.values()):
        if not (isinstance(frames, Pack) and set(frames.elements) <= set(elements)):
            for frame in frames:
                species_of(frame, elements)


def choose_frames(sets: Sets, elements: Sequence[str]) -> list[Configuration]:
    """Return configurations to check a saved potential with: some to validate, and more for elements not in them."""
    chosen = list(sets.valid[:NUM_REFERENCE_FRAMES])
    for element in elements:
        if missing_elements([element], chosen):
            frames = (frame for frame in chain(sets.valid, sets.train) if element in frame.symbols)
            chosen += islice(frames, 1)
    return chosen


def read_together(world: World, config: RunConfig, console: Console | None = None) -> Sets:
    """Return the sets of a run, which every process reads; what is to be downloaded the first one fetches alone."""
    alone = isinstance(config.data, DatasetSource) and config.data.download
    sets = None
    with world.together():
        if world.first or not alone:
            sets = read_sets(config.data, config.seed, console)
    with world.together():
        return sets or read_sets(config.data, config.seed, console)


def require_neighbors(graphs: Sequence[Graph], r_max: float) -> None:
    """Raise DataError if no atom of the training set has a neighbour."""
    if graphs and not any(graph.num_edges for graph in graphs):
        raise DataError(
            f"No two atoms of the training set are closer than r_max = {r_max} Å, so there is nothing to learn. "
            "Choose a larger model.r_max, and check that the positions are in Å."
        )


def weigh_stress(config: RunConfig, *sets: Sequence[Graph]) -> RunConfig:
    """Return ``config`` with a weight for the stress if all ``sets`` have stresses and the recipe says nothing."""
    settings = config.train
    named = isinstance(settings, GradientFit) and "stress_weight" in settings.loss.model_fields_set
    everywhere = all(labelled(graphs, "stress").any() for graphs in sets)
    if not isinstance(settings, GradientFit) or named or not everywhere:
        return config
    loss = settings.loss.model_copy(update={"stress_weight": STRESS_WEIGHT})
    return config.model_copy(update={"train": settings.model_copy(update={"loss": loss})})


def read_training_graphs(config: RunConfig) -> tuple[list[Graph], Statistics]:
    """Return graphs and statistics of the training set, for what needs no energies: the E0 of all elements are zero."""
    frames = read_sets(config.data, config.seed).train
    model = config.model.build(find_elements(frames))
    graphs = build_graphs(frames, model.elements, model.r_max)
    require_neighbors(graphs, model.r_max)
    return graphs, compute_statistics(graphs, model.elements, dict.fromkeys(model.elements, 0.0))


def set_aside(
    frames: Sequence[Configuration], valid: Part, seed: int
) -> tuple[Sequence[Configuration], Sequence[Configuration]]:
    """Return training and validation configurations: drawn at random, or by their place in their file."""
    if isinstance(valid, (Last, Blocks)):
        files = frames.files if isinstance(frames, Pack) else [frame.file for frame in frames]
        kept, chosen = split_trajectories([len(list(group)) for _, group in groupby(files)], valid)
    else:
        kept, chosen = split(len(frames), valid, seed)
    if isinstance(frames, Pack):
        return frames.select(kept), frames.select(chosen)
    return [frames[i] for i in kept], [frames[i] for i in chosen]
