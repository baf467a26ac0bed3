"""NumPy archives of one molecule in many geometries, as MD17 and its revision are published."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from clebsch.errors import DataError

# Names of the arrays in MD17 and in its revision.
NAMES = {
    "numbers": ("z", "nuclear_charges"),
    "positions": ("R", "coords"),
    "energy": ("E", "energies"),
    "forces": ("F", "forces"),
}


def archive_loaders(path: Path) -> Iterator[Callable[[], Atoms]]:
    """Yield, for every geometry of an ``.npz``, a function that returns it with energy and forces as they stand there.

    Raises DataError if an array is missing or has another shape.
    """
    with np.load(path, allow_pickle=False) as archive:
        found = {name: _array(archive, names, path) for name, names in NAMES.items()}
    numbers, positions = found["numbers"], found["positions"]
    if numbers is None or positions is None:
        missing = NAMES["numbers" if numbers is None else "positions"]
        raise DataError(
            f"{path}: has no array {' or '.join(missing)}. An .npz is read as MD17 is written: z (atoms), R (frames, "
            "atoms, 3), E (frames), F (frames, atoms, 3), or nuclear_charges, coords, energies, forces. Rename the "
            "arrays, or write extended XYZ."
        )
    frames, atoms = len(positions), numbers.shape[-1] if numbers.ndim else 0
    _check(path, "numbers", numbers, (atoms,), (frames, atoms))
    _check(path, "positions", positions, (frames, atoms, 3))
    energy, forces = found["energy"], found["forces"]
    if energy is not None:
        _check(path, "energy", energy, (frames,), (frames, 1))
    if forces is not None:
        _check(path, "forces", forces, (frames, atoms, 3))
    for i in range(frames):
        results = {} if energy is None else {"energy": float(energy.reshape(frames)[i])}
        yield partial(
            _atoms,
            numbers if numbers.ndim == 1 else numbers[i],
            positions[i],
            results if forces is None else {**results, "forces": forces[i]},
        )


def _array(archive: Mapping[str, np.ndarray], names: tuple[str, ...], path: Path) -> np.ndarray | None:
    there = [name for name in names if name in archive]
    if len(there) > 1:
        raise DataError(f"{path}: has both {there[0]} and {there[1]}. Keep one of them.")
    if not there:
        return None
    array = archive[there[0]]
    if array.dtype.kind not in "fiu":
        raise DataError(f"{path}: the array {there[0]} must be numbers, got type {array.dtype}.")
    return array


def _check(path: Path, name: str, array: np.ndarray, *shapes: tuple[int, ...]) -> None:
    if array.shape not in shapes:
        expected = " or ".join(map(str, shapes))
        raise DataError(f"{path}: the array of {name} must have shape {expected}, got {array.shape}. Correct the file.")


def _atoms(numbers: np.ndarray, positions: np.ndarray, results: Mapping[str, object]) -> Atoms:
    if not np.array_equal(numbers, np.rint(numbers)):
        raise ValueError(f"atomic numbers must be integers, got {numbers.tolist()}")
    atoms = Atoms(np.rint(numbers).astype(int), positions)
    atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms
