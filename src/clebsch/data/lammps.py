"""Text dumps of LAMMPS: positions and forces; they hold no energies, and types of atoms in place of elements."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from io import StringIO
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers
from ase.io.lammpsrun import read_lammps_dump_text

from clebsch.data.lines import Lines, open_lines
from clebsch.errors import DataError

NAMED = ("element", "mass")  # columns by which elements are known


def dump_loaders(path: Path, types: Mapping[int, str] | None) -> Iterator[Callable[[], Atoms]]:
    """Yield, for every frame of a dump, a function that parses it; ``types`` are the elements of the types 1, 2, …"""
    with open_lines(path) as lines:
        number = 0
        while text := _frame(lines, f"{path}, frame {number}", types):
            yield partial(_parse, text, types, f"{path}, frame {number}")
            number += 1


def _frame(lines: Lines, where: str, types: Mapping[int, str] | None) -> str:
    """The text of the next frame, every row of it there; empty at the end of the file."""
    found: list[str] = []
    num_atoms = None
    while line := lines.read():
        found.append(line)
        section = line.removeprefix("ITEM:").strip() if line.startswith("ITEM:") else ""
        if section == "NUMBER OF ATOMS":
            found.append(lines.read())
            if not found[-1].strip().isdecimal():
                raise DataError(
                    f"{where}, line {lines.number}: must be the number of atoms, got {found[-1].strip()!r:.40}. "
                    "Get the whole file again."
                )
            num_atoms = int(found[-1][:20])
        elif section == "UNITS":
            found.append(lines.read())
            if found[-1].strip() != "metal":
                raise DataError(
                    f"{where}, line {lines.number}: the dump is in LAMMPS's units '{found[-1].strip():.20}', expected "
                    "metal (eV, Å). Remove this section and name the units (data.units)."
                )
        elif section.startswith("ATOMS"):
            columns = section.split()[1:]
            _check_columns(columns, where, types)
            found += _rows(lines, num_atoms, len(columns), where)
            return "".join(found)
    if any(line.strip() for line in found):
        raise DataError(f"{where}: the file is truncated: no rows of atoms follow. Get the whole file again.")
    return ""


def _check_columns(columns: list[str], where: str, types: Mapping[int, str] | None) -> None:
    if len(set(columns)) < len(columns):
        raise DataError(f"{where}: a column stands twice in 'ITEM: ATOMS {' '.join(columns)}'. Keep one of them.")
    if not types and not set(NAMED) & set(columns):
        raise DataError(
            f"{where}: a LAMMPS dump has types of atoms, no elements. Say which they are: data.types: {{1: Cu, 2: Au}} "
            "in the recipe, types={1: 'Cu', 2: 'Au'} in clebsch.read, or dump the column 'element' (dump_modify "
            "element)."
        )


def _rows(lines: Lines, num_atoms: int | None, num_columns: int, where: str) -> list[str]:
    start = lines.number + 1
    rows = lines.block(num_atoms or 0)
    if num_atoms is None or len(rows) < num_atoms:
        raise DataError(
            f"{where}: the file is truncated: {num_atoms} atoms are promised, found {len(rows)}. Get the whole file "
            "again, or remove this frame."
        )
    for i, row in enumerate(rows):
        if len(row.split()) != num_columns:
            raise DataError(
                f"{where}, line {start + i}: the row has {len(row.split())} columns, expected {num_columns}, got "
                f"'{row.strip():.80}'. Correct the row or the line ITEM: ATOMS."
            )
    return rows


def _parse(text: str, types: Mapping[int, str] | None, where: str) -> Atoms:
    atoms = read_lammps_dump_text(StringIO(text), index=0)
    assert isinstance(atoms, Atoms)
    if atoms.calc is not None:
        atoms.calc.results.pop("energy", None)  # a dump has none, and ASE sets zero
    if types:
        atoms.numbers[:] = _numbers(atoms, types, where)
        if atoms.calc is not None:
            atoms.calc.atoms.numbers[:] = atoms.numbers
    return atoms


def _numbers(atoms: Atoms, types: Mapping[int, str], where: str) -> np.ndarray:
    unknown = next((symbol for symbol in types.values() if symbol not in atomic_numbers), None)
    if unknown is not None:
        raise DataError(f"types: '{unknown}' is no element. Give chemical symbols, such as {{1: Cu, 2: Au}}.")
    if "type" not in atoms.arrays:
        raise DataError(f"{where}: types are given, but the dump has no column 'type'. Remove them, or dump the types.")
    found = [int(number) for number in atoms.arrays["type"]]
    missing = sorted(set(found) - set(types))
    if missing:
        raise DataError(
            f"{where}: the dump has type {missing[0]}, but types names {', '.join(map(str, types))} only. Name its "
            "element."
        )
    return np.array([atomic_numbers[types[number]] for number in found])
