"""What a calculation begins with: a structure that can be computed, a potential that knows it."""

from __future__ import annotations

import os
from pathlib import Path

import ase.io
import numpy as np
import torch
from ase import Atoms
from ase.constraints import FixAtoms
from ase.io.formats import UnknownFileTypeError

from clebsch.data import Configuration
from clebsch.data.graph import species_of
from clebsch.data.reading import read_frames
from clebsch.errors import DataError, OutputError
from clebsch.models import Potential
from clebsch.pretrained import load

Structure = Atoms | str | Path


def read_structure(structure: Structure) -> Atoms:
    """Return a copy of the structure without labels, the last one of a file: atoms, cell, masses, momenta, held atoms.

    Raises:
        DataError: the file cannot be read; a number is not finite, two atoms are closer than 0.1 Å, or there is a
            constraint other than atoms that are held.
    """
    origin = "structure"
    if not isinstance(structure, Atoms):
        ((number, structure),) = read_frames(structure_path := Path(structure), "-1:")
        origin = f"{structure_path}, frame {number}"
    Configuration.from_atoms(structure, origin=origin)
    other = [type(item).__name__ for item in structure.constraints if not isinstance(item, FixAtoms)]
    if other:
        raise DataError(f"{origin}: the constraint {other[0]} is not supported here, only FixAtoms is. Remove it.")
    momenta = structure.get_momenta()
    if not np.isfinite(momenta).all():
        raise DataError(f"{origin}: momenta must be finite numbers. Remove them.")
    return Atoms(
        structure.numbers,
        structure.positions,
        cell=structure.cell,
        pbc=structure.pbc,
        masses=structure.get_masses() if structure.has("masses") else None,
        momenta=momenta if momenta.any() else None,
        constraint=structure.constraints,
    )


def open_potential(
    potential: Potential | str | Path,
    *,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
) -> tuple[Potential, str]:
    """Return a potential and its name in records; errors as of `clebsch.load`."""
    if isinstance(potential, Potential):
        changed = dtype is not None or device is not None
        return potential.copy(dtype=dtype, device=device) if changed else potential, type(potential).__name__
    return load(potential, dtype=dtype, device=device or "cpu"), str(potential)


def write_structure(atoms: Atoms, path: Path) -> Path:
    """Write atoms in the format of the path's suffix, whole or not at all.

    Raises:
        OutputError: the file cannot be written, or ASE knows no such format.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        ase.io.write(temporary, atoms)
        os.replace(temporary, path)
    except (OSError, UnknownFileTypeError, ValueError) as error:
        raise OutputError(
            f"'{path}' cannot be written ({error}). Give a name such as relaxed.xyz in a folder of your own."
        ) from None
    finally:
        temporary.unlink(missing_ok=True)
    return path


def require_elements(potential: Potential, atoms: Atoms) -> None:
    """Raise DataError for an element that the potential does not know."""
    species_of(Configuration.from_atoms(atoms, origin="structure"), potential.elements)


def require_crystal(atoms: Atoms, purpose: str) -> None:
    """Raise DataError unless ``atoms`` are periodic in three directions, with a volume."""
    if not atoms.pbc.all() or not atoms.cell.rank == 3:
        raise DataError(
            f"{purpose} needs a cell with a volume that is periodic in all three directions, got pbc = "
            f"{atoms.pbc.tolist()} and cell {atoms.cell.array.tolist()}. Give the structure its cell and pbc."
        )
