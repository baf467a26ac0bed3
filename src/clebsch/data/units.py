"""Units of files: names, factors to eV and Å, and frames converted by them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import ase.units
import numpy as np
from ase import Atoms
from pydantic import field_validator

from clebsch.config import StrictConfig
from clebsch.data.labels import LabelKeys
from clebsch.data.quantities import QUANTITIES
from clebsch.errors import DataError, did_you_mean

ENERGIES = {
    "eV": 1.0,
    "meV": 1e-3,
    "kcal/mol": ase.units.kcal / ase.units.mol,
    "kJ/mol": ase.units.kJ / ase.units.mol,
    "Hartree": ase.units.Hartree,
    "Ry": ase.units.Rydberg,
}
LENGTHS = {"Å": 1.0, "bohr": ase.units.Bohr, "nm": ase.units.nm}
FORCES = {f"{energy}/{length}": ENERGIES[energy] / LENGTHS[length] for energy in ENERGIES for length in LENGTHS}
STRESSES = {
    **{f"{energy}/{length}^3": ENERGIES[energy] / LENGTHS[length] ** 3 for energy in ENERGIES for length in LENGTHS},
    "GPa": ase.units.GPa,
    "kbar": 0.1 * ase.units.GPa,
    "bar": 1e-4 * ase.units.GPa,
}
DIPOLES = {"e Å": 1.0, "e bohr": ase.units.Bohr, "e nm": ase.units.nm, "Debye": ase.units.Debye}
TABLES = {"energy": ENERGIES, "length": LENGTHS, "forces": FORCES, "stress": STRESSES, "dipole": DIPOLES}
COMBINED = {
    "forces": "an energy by a length, such as eV/Å or Hartree/bohr",
    "stress": "GPa, kbar, bar, and an energy by a length^3, such as eV/Å^3",
}
SPELLINGS = {
    **dict.fromkeys(("Angstrom", "angstrom", "Ang", "A"), "Å"),
    **dict.fromkeys(("Bohr", "a0"), "bohr"),
    **dict.fromkeys(("hartree", "Ha", "Eh"), "Hartree"),
    **dict.fromkeys(("Rydberg", "rydberg"), "Ry"),
    **dict.fromkeys(("debye", "D"), "Debye"),
}


class Units(StrictConfig):
    """Units of the numbers in a file; what is not given is in eV and Å (kcal/mol in an ``.npz``), or follows.

    Attributes:
        energy: eV, meV, kcal/mol, kJ/mol, Hartree or Ry.
        length: of positions and cells: Å, bohr or nm.
        forces: such as Hartree/bohr; those of energy and length if not given.
        stress: GPa, kbar, bar, or such as eV/Å^3; those of energy and length if not given.
        dipole: Debye, or e Å, e bohr, e nm; that of length if not given.
    """

    energy: str | None = None
    length: str | None = None
    forces: str | None = None
    stress: str | None = None
    dipole: str | None = None

    @field_validator("energy", "length", "forces", "stress", "dipole")
    @classmethod
    def _is_known(cls, value: str | None, info: Any) -> str | None:
        if value is None:
            return None
        table = TABLES[info.field_name]
        name = _usual_spelling(value)
        if name not in table:
            known = COMBINED.get(info.field_name, ", ".join(table))
            raise ValueError(f"no such unit of {info.field_name}; known: {known}.{did_you_mean(value, table)}")
        return name

    def factors(self) -> dict[str, float]:
        """Return the factor to the units of the library of positions and cells (``length``) and every quantity."""
        energy, length = self.energy or "eV", self.length or "Å"
        follows = {
            "energy": energy,
            "forces": f"{energy}/{length}",
            "stress": f"{energy}/{length}^3",
            "dipole": f"e {length}",
            "length": length,
        }
        return {name: TABLES[name][getattr(self, name) or unit] for name, unit in follows.items()}

    def given(self) -> dict[str, str]:
        """Return the units that are given."""
        return {name: unit for name, unit in dict(self).items() if unit is not None}


def _usual_spelling(name: str) -> str:
    words = name.replace("³", "^3").replace("\u212b", "Å").replace("\u0041\u030a", "Å").strip()
    for part in ("", "^3"):
        words = "/".join(_spelled(piece, part) for piece in words.split("/"))
    return "e " + _spelled(words[2:], "") if words.startswith("e ") else words


def _spelled(piece: str, power: str) -> str:
    if not piece.endswith(power):
        return piece
    bare = piece.removesuffix(power) if power else piece
    return SPELLINGS.get(bare, bare) + power


def convert(atoms: Atoms, keys: LabelKeys, units: Units) -> Atoms:
    """Convert, in place, positions, cell and the labels that ``keys`` names to eV and Å; return the frame."""
    factors = units.factors()
    if all(factor == 1.0 for factor in factors.values()):
        return atoms
    computed_for = getattr(atoms.calc, "atoms", None)
    for frame in [atoms] if computed_for is None or computed_for is atoms else [atoms, computed_for]:
        frame.positions *= factors["length"]
        frame.set_cell(frame.cell.array * factors["length"])
    for name, key in keys.named().items():
        if name not in factors:
            raise DataError(
                f"units: there is no unit for {name} yet, which is in {QUANTITIES[name].unit}. Remove units."
            )
        for mapping in _mappings(atoms):
            numbers = as_numbers(mapping.get(key))
            if numbers is not None:
                mapping[key] = numbers * factors[name]
    return atoms


def drop_nan(atoms: Atoms, keys: LabelKeys) -> Atoms:
    """Remove, in place, the labels that ``keys`` names and that hold a NaN; return the frame."""
    for key in keys.named().values():
        for mapping in _mappings(atoms):
            numbers = as_numbers(mapping.get(key))
            if numbers is not None and np.isnan(numbers).any():
                del mapping[key]
    return atoms


def as_numbers(value: Any) -> np.ndarray | None:
    """Return numbers as a float64 array; None for anything else."""
    try:
        array = np.asarray(value)
    except ValueError:  # rows of different lengths
        return None
    return array.astype(np.float64) if array.dtype.kind in "fiu" else None


def _mappings(atoms: Atoms) -> list[Any]:
    """Every place that holds labels."""
    found = [getattr(atoms.calc, "results", {}), atoms.info, atoms.arrays]
    nested = [atoms.info.get(name) for name in ("key_value_pairs", "data")]
    return found + [mapping for mapping in nested if isinstance(mapping, Mapping)]
