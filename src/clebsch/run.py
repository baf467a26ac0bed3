"""A run from data to saved potential: the main path of the library, from top to bottom."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from ase.data import atomic_numbers, covalent_radii

from clebsch.config import load_yaml
from clebsch.data import (
    Configuration,
    Graph,
    Statistics,
    build_graphs,
    compute_statistics,
    find_elements,
    fit_e0,
    read_configurations,
    read_isolated_atoms,
    split,
)
from clebsch.data.datasets import load_dataset
from clebsch.errors import ConfigError, DataError, did_you_mean
from clebsch.evaluate import (
    Accuracy,
    Description,
    accuracy,
    compare,
    describe,
    plot_learning_curve,
    plot_parity,
)
from clebsch.models import MultiACEConfig, Potential, PotentialConfig, find_device
from clebsch.models.serialization import read_potential_header, save_potential
from clebsch.ops import default_backend
from clebsch.recipe import DatasetSource, FileSource, LeastSquaresFit, RunConfig, load_recipe, parse_recipe
from clebsch.train import FitResult, fit
from clebsch.train.checkpoint import list_differences
from clebsch.train.least_squares import LeastSquaresResult, fit_least_squares
from clebsch.train.trainer import CHECKPOINT_NAME
from clebsch.version import __version__

if TYPE_CHECKING:
    from rich.console import Console

CONFIG_NAME, RESULTS_NAME, POTENTIAL_NAME = "config.yaml", "results.json", "potential.safetensors"
NUM_REFERENCE_FRAMES = 3
E0_AGREEMENT = 1e-6  # eV
CORE = 0.95  # of the shortest distance in the training set; hotter atoms come a little closer


@dataclass(frozen=True)
class Sets:
    """The configurations of a run, and the energies (eV) of isolated atoms where the data have them."""

    train: list[Configuration]
    valid: list[Configuration]
    tests: dict[str, list[Configuration]]
    isolated_atoms: dict[str, float] | None


@dataclass(frozen=True)
class RunResult:
    """What a run leaves: the potential, how the fit went, errors by set, and the folder of the files."""

    potential: Potential
    fit: FitResult | LeastSquaresResult
    accuracies: dict[str, Accuracy]
    statistics: Statistics
    directory: Path


def run(config: RunConfig, *, console: Console | None = None) -> RunResult:
    """Train a potential as ``config`` says, judge it on every test set, and save everything in ``config.output``.

    The folder receives config.yaml (every choice), metrics.jsonl (one line per epoch), checkpoint.safetensors,
    potential.safetensors, results.json, learning_curve.png and parity.png. The same configuration in the same folder
    continues where it stopped, exactly.

    Raises:
        ConfigError: the folder holds a run with other settings.
        DataError: the data cannot be used as they are.
    """
    sets = read_sets(config.data, config.seed)
    model = config.model.build(find_elements(sets.train))
    e0 = reference_energies(config.energy.e0, sets, model.elements)
    train, valid = build_training_graphs(sets.train, model), build_graphs(sets.valid, model.elements, model.r_max)
    statistics = compute_statistics(train, model.elements, e0)
    potential = build_potential(config, statistics)
    directory = claim_directory(config)
    _report(console, sets, statistics, potential)

    if isinstance(config.train, LeastSquaresFit):
        result = fit_least_squares(potential, train, valid, config.train, console=console)
    else:
        result = fit(potential, train, valid, config.train, directory, seed=config.seed, console=console, resume=True)

    comparisons = {name: compare(potential, frames) for name, frames in {"valid": sets.valid, **sets.tests}.items()}
    accuracies = {name: accuracy(comparison) for name, comparison in comparisons.items()}
    outcome = RunResult(potential, result, accuracies, statistics, directory)
    save_potential(potential, directory / POTENTIAL_NAME, sets.valid[:NUM_REFERENCE_FRAMES], _summary(outcome))
    (directory / RESULTS_NAME).write_text(json.dumps(_summary(outcome), indent=2) + "\n")
    if isinstance(result, FitResult):
        plot_learning_curve(result.history, directory / "learning_curve.png")
    plot_parity(comparisons, directory / "parity.png")
    return outcome


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
    return Sets(train, valid, tests, _isolated_atoms(frames))


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


def build_training_graphs(frames: list[Configuration], model: MultiACEConfig) -> list[Graph]:
    """Return the graphs of the training set; raises DataError where no atom has a neighbour."""
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
    core = None
    if config.energy.core:
        core = {pair: CORE * distance for pair, distance in statistics.shortest_distances.items()}
    potential = Potential(
        PotentialConfig(model=model, zbl=config.energy.zbl, core=core),
        e0=statistics.e0,
        scale=scale,
        shift=shift,
        dtype=getattr(torch, config.dtype),
        seed=config.seed,
        backend=config.backend or default_backend(config.device),
    )
    return potential.to(find_device(config.device))


def claim_directory(config: RunConfig) -> Path:
    """Make the folder of the run and record the recipe in it; raises ConfigError where it holds another run.

    A folder without checkpoint and potential holds a run that came to nothing, and may be used with other settings.
    """
    path = config.output / CONFIG_NAME
    if path.is_file() and any((config.output / name).exists() for name in (CHECKPOINT_NAME, POTENTIAL_NAME)):
        earlier = parse_recipe(load_yaml(path), str(path))
        differences = list_differences(earlier.course(), config.course())
        if differences:
            raise ConfigError(
                f"'{config.output}' holds a run with other settings:\n"
                + "\n".join(f"  - {line}" for line in differences)
                + "\nGive another output, or remove that folder to start again."
            )
        _check_preset(config)
    try:
        config.output.mkdir(parents=True, exist_ok=True)
        path.write_text(config.as_yaml())
    except OSError as error:
        raise ConfigError(
            f"output: '{config.output}' cannot be made or written to ({error.strerror}). Give a folder of your own, "
            "for example output=runs/a."
        ) from None
    return config.output


def _check_preset(config: RunConfig) -> None:
    """Raise ConfigError where the finished potential is not of the model that the recipe now stands for."""
    potential = config.output / POTENTIAL_NAME
    if not potential.is_file():
        return
    model = PotentialConfig.model_validate(read_potential_header(potential)["config"]).model
    if not config.stands_for(model):
        raise ConfigError(
            f"'{config.output}' holds a potential of another model than its recipe stands for now: "
            "a preset has changed. Give another output, or remove that folder to start again."
        )


def describe_file(path: str | Path) -> Description:
    """Describe the model of a saved potential, or of a recipe, whose data are read for what the model takes from them.

    The cost is for the number of neighbours in the training data, whatever the sums are normalised by.
    """
    if Path(path).suffix == ".safetensors":
        header = read_potential_header(path)
        statistics = header["metadata"].get("statistics", {})
        model = PotentialConfig.model_validate(header["config"]).model
        return describe(model, statistics.get("average_num_neighbors"))
    config = load_recipe(path)
    _, statistics = read_training_graphs(config)
    neighbors = statistics.average_num_neighbors
    return describe(config.model.build(tuple(statistics.e0), neighbors), neighbors)


def _isolated_atoms(frames: list[Configuration]) -> dict[str, float] | None:
    """Energies of the free atoms among ``frames``; raises DataError where two of one element differ."""
    found: dict[str, float] = {}
    for frame in frames:
        if not frame.is_isolated_atom or "energy" not in frame.labels:
            continue
        energy = float(frame.labels["energy"])
        first = found.setdefault(frame.symbols[0], energy)
        if abs(first - energy) > E0_AGREEMENT:
            raise DataError(
                f"{frame.origin}: the isolated atom {frame.symbols[0]} has energy {energy} eV here and "
                f"{first} eV in an earlier frame. Keep one of them."
            )
    return found or None


def _set_aside(
    frames: list[Configuration], valid: int | float, seed: int
) -> tuple[list[Configuration], list[Configuration]]:
    kept, drawn = split(len(frames), valid, seed)
    return [frames[i] for i in kept], [frames[i] for i in drawn]


def _summary(outcome: RunResult) -> dict[str, Any]:
    """What results.json and the header of the potential say about the run."""
    return {
        "clebsch": __version__,
        "num_parameters": sum(parameter.numel() for parameter in outcome.potential.parameters()),
        "fit": {name: value for name, value in vars(outcome.fit).items() if name != "history"},
        "statistics": asdict(outcome.statistics),
        "errors": {name: found.as_dict() for name, found in outcome.accuracies.items()},
    }


def _report(console: Console | None, sets: Sets, statistics: Statistics, potential: Potential) -> None:
    """Print what the run has found in the data and what it is about to train."""
    if console is None:
        return
    e0 = ", ".join(f"{symbol} {energy:.3f}" for symbol, energy in statistics.e0.items())
    tests = ", ".join(f"{name} {len(frames)}" for name, frames in sets.tests.items()) or "none"
    parameters = sum(parameter.numel() for parameter in potential.parameters())
    for line in (
        f"configurations: {len(sets.train)} to train, {len(sets.valid)} to validate; tests: {tests}",
        f"E0 (eV): {e0}; neighbours within {potential.r_max} Å: {statistics.average_num_neighbors:.1f}",
        f"core radii (Å): {_core_radii(potential.config.core or {})}",
        f"model: {len(potential.config.model.layers)} layers, {parameters:,} parameters, {potential.dtype}",
    ):
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def _core_radii(core: Mapping[str, float]) -> str:
    """Radii by pair, those beyond a bond marked: the potential keeps such pairs apart because its data do."""
    shown = []
    for pair, radius in core.items():
        bond = sum(float(covalent_radii[atomic_numbers[symbol]]) for symbol in pair.split("-"))
        shown.append(f"{pair} {radius:.2f}{'*' if radius > bond else ''}")
    note = "; *: farther apart than a bond, as in the data; closer atoms are pushed apart"
    return (", ".join(shown) or "none") + (note if any(text.endswith("*") for text in shown) else "")
