"""Labels of a frame: which keys hold the quantities of the table, and what they must look like."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
from ase import Atoms

from clebsch.config import keys_of_table
from clebsch.data.quantities import QUANTITIES, Quantity
from clebsch.errors import DataError, did_you_mean

ISOLATED_ATOM_TYPES = ("isolatedatom", "isolatedatoms")
# Where ASE's database rows keep what is not a calculator result.
ROW_MAPPINGS = ("key_value_pairs", "data")
# Å between the images of an atom in a periodic box from which on it counts as free.
ISOLATED_DISTANCE = 8.0
# Two copies of one label may have been written with different numbers of digits.
AGREEMENT = 1e-5
# 10 eV/Å^3 is 1600 GPa: a larger stress is in kbar or GPa, or is a virial.
LARGEST_STRESS = 10.0


class LabelKeys(keys_of_table({name: (str | None, item.key) for name, item in QUANTITIES.items()})):
    """Names under which a file holds its labels; ``None`` says that the label is not wanted.

    A key is looked up in the results of the attached ASE calculator (where ASE puts ``energy``, ``forces`` and
    ``stress`` of an extended-XYZ file) and in ``Atoms.info`` or ``Atoms.arrays`` (where it leaves ``REF_energy``).
    There is one for every quantity of the table, ``energy``, ``forces``, ``stress`` and ``dipole``, in its unit; the
    stress has the sign +(1/V) dE/dstrain.
    """

    @classmethod
    def only(cls, **keys: str | None) -> LabelKeys:
        """Return ``keys`` and nothing else, whatever is read by default."""
        return cls(**{**dict.fromkeys(QUANTITIES), **keys})

    def named(self) -> dict[str, str]:
        """Return key by quantity, of those that are wanted."""
        return {name: key for name, key in dict(self).items() if key is not None}


def config_type(atoms: Atoms) -> str:
    """Return the ``config_type`` of a frame, or an empty string."""
    return str(_info(atoms, "config_type", ""))


def _info(atoms: Atoms, key: str, otherwise: Any) -> Any:
    """What ``Atoms.info`` says, or a row of ASE's database, which nests it."""
    nested = (atoms.info.get(name) for name in ROW_MAPPINGS)
    mappings = [atoms.info, *(mapping for mapping in nested if isinstance(mapping, Mapping))]
    return next((mapping[key] for mapping in mappings if key in mapping), otherwise)


def is_isolated_atom(num_atoms: int, pbc: np.ndarray, cell: np.ndarray, config_type: str) -> bool:
    """Return whether this is a free atom, whose energy is an E0.

    It is one atom that is marked as isolated, or whose periodic images, if it has any, are `ISOLATED_DISTANCE` away.
    """
    if num_atoms != 1:
        return False
    marked = config_type.lower().replace("_", "").replace("-", "") in ISOLATED_ATOM_TYPES
    shifts = [np.array(shift) for shift in product((-1, 0, 1), repeat=3) if any(shift)]
    images = [shift @ cell for shift in shifts if not shift[~np.asarray(pbc, dtype=bool)].any()]
    return marked or all(np.linalg.norm(image) >= ISOLATED_DISTANCE for image in images)


def read_labels(atoms: Atoms, keys: LabelKeys, origin: str) -> dict[str, np.ndarray]:
    """Return the wanted labels of a frame by quantity, as float64; the vectors of a single atom that has none are zero.

    A stress of zero is left out if no direction is periodic: it is what codes write for a molecule.

    Raises DataError where the value has the wrong shape or type, where two places hold different values, where the
    attached calculator's results belong to other positions, and where a system that is not periodic has a stress.
    """
    labels: dict[str, np.ndarray] = {}
    for name, key in keys.named().items():
        value = _read_label(atoms, QUANTITIES[name], key, origin)
        if value is not None and QUANTITIES[name].per_volume and not atoms.pbc.any():
            value = _no_target(value, QUANTITIES[name], key, origin)
        if value is None and len(atoms) == 1 and QUANTITIES[name].character == "vector":
            value = np.zeros(QUANTITIES[name].shape(1))
        if value is not None:
            labels[name] = value
    return labels


def _no_target(value: np.ndarray, quantity: Quantity, key: str, origin: str) -> None:
    """Nothing for zeros; raises DataError for a value that means something, of a system that is not periodic."""
    if np.any(value):
        raise DataError(
            f"{origin}: the {quantity.name} label '{key}' belongs to a frame that is not periodic, which has no "
            f"{quantity.name}. Set pbc of its periodic directions, or set the {quantity.name} key to null."
        )


def read_weights(atoms: Atoms, origin: str) -> dict[str, float]:
    """Return the weights of a frame in the loss by quantity, of those that are not 1.

    ``config_weight`` in ``Atoms.info`` is a factor on all of them, ``energy_weight``, ``forces_weight`` and so on (also
    ``config_energy_weight``) on one.

    Raises DataError for a weight that is no number, not finite or negative.
    """
    whole = _weight(atoms, "config_weight", origin)
    weights = {
        name: whole * _weight(atoms, f"{name}_weight", origin) * _weight(atoms, f"config_{name}_weight", origin)
        for name in QUANTITIES
    }
    return {name: weight for name, weight in weights.items() if weight != 1.0}


def _weight(atoms: Atoms, key: str, origin: str) -> float:
    value = _info(atoms, key, 1.0)
    number = np.asarray(value)
    if number.dtype.kind not in "fiu" or number.size != 1 or not 0.0 <= float(number.reshape(())) < np.inf:
        raise DataError(f"{origin}: {key} must be one number, 0 or more, got {value!r:.60}.")
    return float(number.reshape(()))


def _read_label(atoms: Atoms, quantity: Quantity, key: str, origin: str) -> np.ndarray | None:
    found = [(place, _shaped(value, atoms, quantity, key, origin)) for place, value in _places(atoms, key, origin)]
    if not found:
        return None
    first_place, first = found[0]
    for place, value in found[1:]:
        if not np.allclose(first, value, rtol=0.0, atol=AGREEMENT, equal_nan=True):
            raise DataError(
                f"{origin}: the {quantity.name} label '{key}' stands in {first_place} and in {place} with different "
                f"values (largest difference {np.abs(first - value).max():.3g}). Keep one of them, or name another key."
            )
    return first


def check_labels_present(frames: Sequence[tuple[int, Atoms]], keys: LabelKeys, path: str) -> None:
    """Raise DataError if no frame has any wanted label, or if one is in no frame but seems to have another name.

    Frames may lack labels that others have; training and evaluation use what is there.
    """
    wanted = keys.named()
    present = [name for name, key in wanted.items() if any(has_key(atoms, key) for _, atoms in frames)]
    for name, key in wanted.items():
        if name not in present and (not present or _seems_renamed(name, [atoms for _, atoms in frames])):
            raise DataError(_absent(path, QUANTITIES[name], key, [atoms for _, atoms in frames]))


def _seems_renamed(quantity: str, frames: Sequence[Atoms]) -> bool:
    """Whether a name in the first frames contains that of the quantity, such as ``REF_force``."""
    names = {name.lower() for atoms in frames[:100] for _, mapping in _mappings(atoms) for name in mapping}
    return any(quantity.removesuffix("s") in name and not name.endswith("_weight") for name in names)


def has_key(atoms: Atoms, key: str) -> bool:
    """Return whether any place of a frame holds ``key``."""
    return any(key in mapping and mapping[key] is not None for _, mapping in _mappings(atoms))


def _mappings(atoms: Atoms) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if atoms.calc is not None:
        yield "the attached calculator", getattr(atoms.calc, "results", {})
    yield "Atoms.info", atoms.info
    yield "Atoms.arrays", {key: value for key, value in atoms.arrays.items() if key not in ("numbers", "positions")}
    for name in ROW_MAPPINGS:
        mapping = atoms.info.get(name)
        if isinstance(mapping, Mapping):
            yield f"Atoms.info['{name}']", mapping


def _places(atoms: Atoms, key: str, origin: str) -> Iterator[tuple[str, Any]]:
    for place, mapping in _mappings(atoms):
        if key not in mapping or mapping[key] is None:
            continue
        if place == "the attached calculator":
            computed_for = getattr(atoms.calc, "atoms", None)
            if isinstance(computed_for, Atoms) and not _same_geometry(computed_for, atoms):
                raise DataError(
                    f"{origin}: the attached calculator's '{key}' was computed before positions, cell, pbc or elements "
                    "changed. Compute the labels again for this geometry, or detach the calculator."
                )
        yield place, mapping[key]


def _same_geometry(first: Atoms, second: Atoms) -> bool:
    pairs = (
        (first.numbers, second.numbers),
        (first.pbc, second.pbc),
        (first.positions, second.positions),
        (first.cell.array, second.cell.array),
    )
    return all(np.array_equal(*pair, equal_nan=True) for pair in pairs)


def _shaped(value: Any, atoms: Atoms, quantity: Quantity, key: str, origin: str) -> np.ndarray:
    array = np.asarray(value)
    label = f"{origin}: the {quantity.name} label '{key}'"
    if array.dtype.kind not in "fiu":
        raise DataError(f"{label} must be numbers, got {value!r:.60}.")
    if quantity.name == "stress" and "virial" in key.lower():
        raise DataError(
            f"{origin}: '{key}' names a virial (eV), not a stress. Store stress = -virial / volume (eV/Å^3) under a "
            "key of its own and name that."
        )
    shape = quantity.shape(len(atoms))
    if not _fits(array, quantity, shape):
        raise DataError(
            f"{label} must be {_expected(quantity, shape)}, got shape {array.shape}. "
            f"Name the key that holds the {quantity.name}."
        )
    array = array.astype(np.float64)
    if quantity.character != "symmetric tensor":
        return array.reshape(shape)
    return _symmetric(array, quantity, shape, label)


def _fits(array: np.ndarray, quantity: Quantity, shape: tuple[int, ...]) -> bool:
    """Whether an array can hold the quantity: tensors also as nine numbers, or as six in Voigt order."""
    if quantity.character == "symmetric tensor":
        return array.shape in (shape, (*shape[:-2], 9), (*shape[:-2], 6))
    return array.shape == shape or (not shape and array.size == 1)


def _expected(quantity: Quantity, shape: tuple[int, ...]) -> str:
    unit = f"({quantity.unit})"
    if quantity.character == "symmetric tensor":
        each = " of every atom" if quantity.of == "atom" else ""
        return f"six numbers (Voigt xx, yy, zz, yz, xz, xy), nine numbers or 3x3 {unit}{each}"
    return f"shape {shape} {unit}" if shape else f"one number {unit}"


def _symmetric(array: np.ndarray, quantity: Quantity, shape: tuple[int, ...], label: str) -> np.ndarray:
    """Return [..., 3, 3] from 3x3, nine numbers, or six in ASE's Voigt order xx, yy, zz, yz, xz, xy."""
    if array.shape[-1] == 6:
        array = array[..., [0, 5, 4, 5, 1, 3, 4, 3, 2]]
    tensor = array.reshape(shape)
    transposed = np.swapaxes(tensor, -1, -2)
    largest = np.nanmax(np.abs(tensor), initial=0.0)
    if np.nanmax(np.abs(tensor - transposed), initial=0.0) > 1e-6 + 1e-3 * largest:
        raise DataError(f"{label} must be symmetric, got {tensor.tolist()}.")
    if quantity.name == "stress" and np.isfinite(largest) and largest > LARGEST_STRESS:
        raise DataError(
            f"{label} reaches {largest:.4g}, which is no stress in eV/Å^3 "
            "(10 eV/Å^3 = 1602 GPa). Convert it: 1 GPa = 0.0062415 eV/Å^3, 1 kbar = 0.00062415 eV/Å^3."
        )
    return 0.5 * (tensor + transposed)


def _absent(path: str, quantity: Quantity, key: str, frames: Sequence[Atoms]) -> str:
    """Message for a label that no frame has, with the keys that could be meant."""
    names: set[str] = set()
    for atoms in frames[:100]:
        for place, mapping in _mappings(atoms):
            if quantity.of == "atom" or place != "Atoms.arrays":
                names.update(name for name, value in mapping.items() if _could_be(name, value, atoms, quantity))
    label, found = quantity.name, ", ".join(sorted(names)) or "none"
    return (
        f"{path}: none of the {len(frames)} frames read has the {label} label '{key}'. Keys that could hold {label}: "
        f"{found}.{did_you_mean(key, names)} Set the {label} key to the right name, or to null to do without."
    )


def _could_be(name: str, value: Any, atoms: Atoms, quantity: Quantity) -> bool:
    if name in QUANTITIES and name != quantity.name:
        return False
    array = np.asarray(value) if isinstance(value, (int, float, list, tuple, np.ndarray, np.generic)) else None
    if array is None or array.dtype.kind not in "fiu":
        return False
    whole = quantity.character == "scalar" and array.dtype.kind != "f"  # a counter, an index
    return _fits(array, quantity, quantity.shape(len(atoms))) and not whole
