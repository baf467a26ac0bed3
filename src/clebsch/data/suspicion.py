"""Labels that may not be what they seem: placeholders, and second sets of labels beside those that are read."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from ase import Atoms

from clebsch.data.configuration import Configuration
from clebsch.data.labels import LabelKeys
from clebsch.data.quantities import QUANTITIES, Quantity
from clebsch.data.units import as_numbers
from clebsch.errors import DataError, did_you_mean

FEWEST = 3  # frames of one energy that are no coincidence
SAME_SHAPE = 1e-6  # relative; positions in files have some eight digits
# Keys of charge and spin, with the values of a neutral closed shell.
NEUTRAL = {
    **dict.fromkeys(("charge", "total_charge", "net_charge", "spin", "total_spin"), 0.0),
    **dict.fromkeys(("multiplicity", "spin_multiplicity"), 1.0),
}
WEIGHTS = ("config_weight", *(f"{prefix}{name}_weight" for prefix in ("", "config_") for name in QUANTITIES))
MOST_VALUES = 3
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


def other_labels(
    frames: Sequence[Atoms], configurations: Sequence[Configuration], keys: LabelKeys, factors: Mapping[str, float]
) -> Iterator[str]:
    """Yield a line if other keys hold the quantities that are read under their usual names, with other values.

    ``factors`` convert the numbers in ``frames`` under other keys to the units of the labels.
    """
    taken: list[str] = []
    others: list[str] = []
    cure: dict[str, str] = {}
    for name, key in keys.named().items():
        if key != name:  # the user has chosen
            continue
        for other, largest in _others(frames, configurations, QUANTITIES[name], factors.get(name, 1.0)).items():
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


def unread(frames: Sequence[Atoms]) -> Iterator[str]:
    """Yield a line about charges, spins and weights of frames that a potential does not see."""
    values: dict[str, set[float]] = {}
    for atoms in frames:
        for key, value in atoms.info.items():
            number = as_numbers(value)
            if number is not None and number.size == 1:
                values.setdefault(str(key), set()).add(float(number.reshape(())))
    for key, found in sorted(values.items()):
        if key.lower() in NEUTRAL and found != {NEUTRAL[key.lower()]}:
            shown = [f"{number:g}" for number in sorted(found)[:MOST_VALUES]] + ["…"] * (len(found) > MOST_VALUES)
            yield (
                f"'{key}' ({', '.join(shown)}) is not read: a potential knows positions and elements alone. Keep "
                "frames of one charge and spin."
            )
        if "weight" in key.lower() and key not in WEIGHTS:
            yield f"'{key}' is no weight that is read.{did_you_mean(key, WEIGHTS)} There are: {', '.join(WEIGHTS)}."


def _others(
    frames: Sequence[Atoms], configurations: Sequence[Configuration], quantity: Quantity, factor: float
) -> dict[str, float]:
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
            difference = float(np.abs(factor * array.reshape(label.shape) - label).max())
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
