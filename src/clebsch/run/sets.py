"""What a run reads: its sets of configurations, the energies of isolated atoms, the graphs of the training set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from clebsch.data import (
    Configuration,
    Graph,
    Statistics,
    build_graphs,
    compute_statistics,
    find_elements,
    find_isolated_atoms,
    fit_e0,
    read_configurations,
    read_isolated_atoms,
    split,
)
from clebsch.data.datasets import load_dataset
from clebsch.errors import ConfigError, DataError, did_you_mean
from clebsch.models import MultiACEConfig
from clebsch.models.reference_frames import missing_elements
from clebsch.recipe import DatasetSource, FileSource, RunConfig

NUM_REFERENCE_FRAMES = 3


@dataclass(frozen=True)
class Sets:
    """The configurations of a run, and the energies (eV) of isolated atoms if the data have them."""

    train: list[Configuration]
    valid: list[Configuration]
    tests: dict[str, list[Configuration]]
    isolated_atoms: dict[str, float] | None


def read_sets(source: DatasetSource | FileSource, seed: int) -> Sets:
    """Read the configurations of ``source`` and set the validation part aside, drawn with ``seed``."""
    if isinstance(source, DatasetSource):
        dataset = load_dataset(
            source.dataset, source.root, train=source.train, tests=source.tests, download=source.download
        )
        train, valid = _set_aside(dataset.train, source.valid, seed)
        return Sets(train, valid, dataset.tests, dataset.isolated_atoms)
    paths = [source.train] if isinstance(source.train, str) else source.train
    frames = [frame for path in paths for frame in read_configurations(path, source.keys)]
    train = [frame for frame in frames if not frame.is_isolated_atom]
    if isinstance(source.valid, str):
        valid = read_configurations(source.valid, source.keys)
    else:
        train, valid = _set_aside(train, source.valid, seed)
    tests = {name: read_configurations(path, source.keys) for name, path in source.tests.items()}
    return Sets(train, valid, tests, find_isolated_atoms(frames) or None)


def reference_energies(choice: str | Mapping[str, float], sets: Sets, elements: Sequence[str]) -> dict[str, float]:
    """Return E0 (eV) of every element: given, of isolated atoms, fitted to the training energies, or from a file."""
    if isinstance(choice, Mapping):
        return dict(choice)
    if choice == "least_squares":
        return fit_e0(sets.train, elements).e0
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


def choose_frames(sets: Sets, elements: Sequence[str]) -> list[Configuration]:
    """Return configurations to check a saved potential with: some to validate, and more for elements not in them."""
    chosen = sets.valid[:NUM_REFERENCE_FRAMES]
    for element in elements:
        if missing_elements([element], chosen):
            chosen += [frame for frame in (*sets.valid, *sets.train) if element in frame.symbols][:1]
    return chosen


def build_training_graphs(frames: list[Configuration], model: MultiACEConfig) -> list[Graph]:
    """Return the graphs of the training set; raises DataError if no atom has a neighbour."""
    graphs = build_graphs(frames, model.elements, model.r_max)
    if graphs and not any(graph.num_edges for graph in graphs):
        raise DataError(
            f"No two atoms of the training set are closer than r_max = {model.r_max} Å, so there is nothing to learn. "
            "Choose a larger model.r_max, and check that the positions are in Å."
        )
    return graphs


def read_training_graphs(config: RunConfig) -> tuple[list[Graph], Statistics]:
    """Return graphs and statistics of the training set, for what needs no energies: the E0 of all elements are zero."""
    frames = read_sets(config.data, config.seed).train
    model = config.model.build(find_elements(frames))
    graphs = build_training_graphs(frames, model)
    return graphs, compute_statistics(graphs, model.elements, dict.fromkeys(model.elements, 0.0))


def _set_aside(
    frames: list[Configuration], valid: int | float, seed: int
) -> tuple[list[Configuration], list[Configuration]]:
    kept, drawn = split(len(frames), valid, seed)
    return [frames[i] for i in kept], [frames[i] for i in drawn]
