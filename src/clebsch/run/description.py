"""Runs in words and numbers: what one is about to train, and what the model of a file is made of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from ase.data import atomic_numbers, covalent_radii

from clebsch.data import QUANTITIES, Statistics, labelled
from clebsch.evaluation import Description, describe
from clebsch.models import Potential
from clebsch.models.serialization import read_potential_config, read_potential_header
from clebsch.pretrained import find_potential, pretrained_index
from clebsch.recipe import GradientFit, LeastSquaresFit, load_recipe
from clebsch.run.sets import Sets, read_training_graphs


def describe_start(
    sets: Sets, statistics: Statistics, potential: Potential, settings: GradientFit | LeastSquaresFit
) -> Iterator[str]:
    """Yield, line by line, what a run has found in the data and what it is about to train."""
    tests = ", ".join(f"{name} {len(frames)}" for name, frames in sets.tests.items()) or "none"
    yield f"configurations: {len(sets.train)} to train, {len(sets.valid)} to validate; tests: {tests}"
    yield from _labels(sets, settings)
    e0 = ", ".join(f"{symbol} {energy:.3f}" for symbol, energy in statistics.e0.items())
    yield f"E0 (eV): {e0}; neighbours within {potential.r_max} Å: {statistics.average_num_neighbors:.1f}"
    yield f"core radii (Å): {_core_radii(potential.config.core_radii)}"
    parameters = sum(parameter.numel() for parameter in potential.parameters())
    yield f"model: {len(potential.config.model.layers)} layers, {parameters:,} parameters, {potential.dtype}"


def _labels(sets: Sets, settings: GradientFit | LeastSquaresFit) -> Iterator[str]:
    """What of the training set is labelled, what of it is not trained on, and which isolated atoms are left aside."""
    labels = {name: int(labelled(sets.train, name).sum()) for name in QUANTITIES}
    unused = [name for name, count in labels.items() if count and name not in settings.fitted]
    yield "training labels: " + (", ".join(f"{name} {count}" for name, count in labels.items() if count) or "none")
    if unused:
        zero = f"train.loss.{unused[0]}_weight is 0"
        why = zero if isinstance(settings, GradientFit) else "a fit by least squares takes energies and forces"
        yield f"not trained on: {', '.join(unused)}; {why}"
    for name, count in sets.atoms_set_aside.items():
        yield f"isolated atoms: {count} of the {name} set left aside; E0 come from the training data"


def describe_file(path: str | Path) -> Description:
    """Describe the model of a saved potential (`find_potential`), or of a recipe, for which its data are read.

    The cost is for the number of neighbours in the training data, whatever the sums are normalised by.
    """
    if Path(path).is_dir() or (not Path(path).exists() and str(path) in pretrained_index()):
        path = find_potential(path)
    if Path(path).suffix == ".safetensors":
        header = read_potential_header(path)
        statistics = header["metadata"].get("statistics", {})
        model = read_potential_config(path).model
        return describe(model, statistics.get("average_num_neighbors"))
    config = load_recipe(path)
    _, statistics = read_training_graphs(config)
    neighbors = statistics.average_num_neighbors
    return describe(config.model.build(tuple(statistics.e0), neighbors), neighbors)


def _core_radii(core: Mapping[str, float]) -> str:
    """Radii by pair, those beyond a bond marked: the potential keeps such pairs apart because its data do."""
    shown = []
    for pair, radius in core.items():
        bond = sum(float(covalent_radii[atomic_numbers[symbol]]) for symbol in pair.split("-"))
        shown.append(f"{pair} {radius:.2f}{'*' if radius > bond else ''}")
    note = "; *: farther apart than a bond, as in the data; closer atoms are pushed apart"
    return (", ".join(shown) or "none") + (note if any(text.endswith("*") for text in shown) else "")
