"""Labels that may not be what they seem: placeholders, and second sets of labels beside those that are read."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from ase import Atoms

from clebsch.data.configuration import Configuration
from clebsch.data.labels import LabelKeys
from clebsch.data.quantities import QUANTITIES, Quantity
from clebsch.data.units import as_numbers
from clebsch.errors import DataError

FEWEST = 3  # frames of one energy that are no coincidence
SAME_SHAPE = 1e-6  # relative; positions in files have some eight digits
AGREEMENT = 1e-5  # two copies of one label may have been written with different numbers of digits
# Names that hold another thing than the quantity in them.
OTHER_THINGS = re.compile(r"per_?atom|error|std|var|uncert|sigma|weight|kin|formation|atomi[sz]ation|cohesive|binding|"
                          r"interaction|dispersion|zero_smearing|time|max|rms|norm|local")  # fmt: skip


def check_energies_vary(configurations: Sequence[Configuration], keys: LabelKeys, path: str) -> None:
    """Raise DataError if three or more frames have one and the same energy though their shapes differ."""
    labelled = [frame for frame in configurations if "energy" in frame.labels and not frame.is_isolated_atom]
    energies = {float(frame.labels["energy"]) for frame in labelled}
    if len(labelled) < FEWEST or len(energies) > 1 or not _shapes_differ(labelled):
        return
    raise DataError(
        f"{path}: all {len(labelled)} frames have the energy {energies.pop():.10g} ('{keys.energy}'), though their "
        "positions differ: this is a placeholder, or has lost its digits. Name the key of the energies, write them "
        "again, or set the energy key to null."
    )


def _shapes_differ(frames: Sequence[Configuration]) -> bool:
    """Whether frames are more than turned and moved copies of the first."""
    first = frames[0]
    if any(not np.array_equal(frame.numbers, first.numbers) for frame in frames):
        return True
    shape = _shape(first)
    return any(not np.allclose(_shape(frame), shape, rtol=SAME_SHAPE, atol=SAME_SHAPE) for frame in frames)


def _shape(frame: Configuration) -> np.ndarray:
    """Numbers that do not change if a configuration is turned or moved, and do otherwise."""
    centred = frame.positions - frame.positions.mean(axis=0)
    return np.concatenate([np.linalg.svd(centred, compute_uv=False), np.linalg.svd(frame.cell, compute_uv=False)])


def other_labels(frames: Sequence[Atoms], configurations: Sequence[Configuration], keys: LabelKeys) -> Iterator[str]:
    """Yield a line if other keys hold the quantities that are read under their usual names, with other values."""
    taken: list[str] = []
    others: list[str] = []
    cure: dict[str, str] = {}
    for name, key in keys.named().items():
        if key != name:  # the user has chosen
            continue
        for other, largest in _others(frames, configurations, QUANTITIES[name]).items():
            taken += [key] if key not in taken else []
            others.append(f"'{other}' (differs by up to {largest:.3g} {QUANTITIES[name].unit})")
            cure.setdefault(name, other)
    if others:
        choice = ", ".join(f"{name}: {other}" for name, other in cure.items())
        stand = "stands" if len(others) == 1 else "stand"
        yield (
            f"reads {' and '.join(map(repr, taken))}, but {', '.join(others)} {stand} beside. To read the other: "
            f"keys: {{{choice}}}."
        )


def _others(frames: Sequence[Atoms], configurations: Sequence[Configuration], quantity: Quantity) -> dict[str, float]:
    """Keys that hold another value of a quantity, and the largest difference."""
    found: dict[str, float] = {}
    for atoms, configuration in zip(frames, configurations, strict=True):
        if quantity.name not in configuration.labels:
            continue
        label = configuration.labels[quantity.name]
        for key, value in _candidates(atoms, quantity):
            array = as_numbers(value)
            if array is None or array.size != label.size:
                continue
            difference = float(np.abs(array.reshape(label.shape) - label).max())
            if difference > AGREEMENT:
                found[key] = max(found.get(key, 0.0), difference)
    return found


def _candidates(atoms: Atoms, quantity: Quantity) -> Iterator[tuple[str, Any]]:
    results = getattr(atoms.calc, "results", {})
    stem = quantity.name.removesuffix("s") if quantity.name == "forces" else quantity.name
    for mapping in (results, atoms.arrays if quantity.of == "atom" else atoms.info):
        for key, value in mapping.items():
            name = str(key).lower()
            if key != quantity.name and stem in name and not OTHER_THINGS.search(name):
                yield str(key), value
