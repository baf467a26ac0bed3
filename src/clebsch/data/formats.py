"""Which format a file has, by its name and its first lines, and the frames in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import ase.db
import ase.io
from ase import Atoms
from ase.io.formats import filetype

from clebsch.data.arrays import archive_loaders
from clebsch.data.extxyz import is_extended_xyz, xyz_loaders
from clebsch.data.lammps import dump_loaders
from clebsch.data.lines import LONGEST_LINE, bare_suffix, opener_of
from clebsch.data.vasp import vasp_loaders
from clebsch.errors import DataError

XYZ_SUFFIXES = (".xyz", ".extxyz")
LMDB_SUFFIX = ".aselmdb"
DATABASE_SUFFIXES = (".db", LMDB_SUFFIX)
VASP = ("vasp-xml", "vasp-out")
EXTENDED_XYZ, DATABASE, ARCHIVE, DUMP = "extended XYZ", "ASE database", "NumPy archive", "LAMMPS dump"
# Formats whose files are in whatever units their author used; those of programs have units that ASE converts.
FREE_UNITS = (EXTENDED_XYZ, DATABASE, ARCHIVE, DUMP, "traj", "json", "db")


def find_format(path: Path) -> str:
    """Return the format of a file: one of the names above, or ASE's name."""
    suffix = bare_suffix(path)
    if suffix in DATABASE_SUFFIXES:
        if suffix == LMDB_SUFFIX and find_spec("ase_db_backends") is None:
            raise DataError(f"{path}: ASE reads LMDB with the package ase-db-backends: pip install 'clebsch[lmdb]'.")
        return DATABASE
    if suffix == ".npz":
        return ARCHIVE
    if suffix in XYZ_SUFFIXES:
        return EXTENDED_XYZ
    with opener_of(path)(path, "rb") as file:
        first, second = (file.readline(LONGEST_LINE).decode(errors="replace") for _ in range(2))
    if first.startswith("ITEM: "):
        return DUMP
    return EXTENDED_XYZ if is_extended_xyz(first, second) else filetype(str(path))


def frame_loaders(path: Path, types: Mapping[int, str] | None) -> Iterator[Callable[[], Atoms]]:
    """Yield, for every frame of the file, a function that parses it; ``types`` are the elements of LAMMPS's types."""
    form = find_format(path)
    if types and form != DUMP:
        raise DataError(f"{path}: types are given, but this is no LAMMPS dump ({form}). Remove them.")
    if form == EXTENDED_XYZ:
        yield from xyz_loaders(path)
    elif form == DUMP:
        yield from dump_loaders(path, types)
    elif form == ARCHIVE:
        yield from archive_loaders(path)
    elif form in VASP:
        yield from vasp_loaders(path, form)
    elif form == DATABASE:
        yield from _rows(path)
    else:
        for atoms in ase.io.iread(path, index=":", do_not_split_by_at_sign=True):
            yield partial(lambda frame: frame, atoms)


def _rows(path: Path) -> Iterator[Callable[[], Atoms]]:
    """The rows of a database of ASE; one of LMDB can be open only once in a process, so it is closed again."""
    is_lmdb = bare_suffix(path) == LMDB_SUFFIX
    database: Any = ase.db.connect(path, readonly=True) if is_lmdb else ase.db.connect(path)
    try:
        for row in database.select():
            yield partial(row.toatoms, add_additional_information=True)
    finally:
        if is_lmdb:
            database.close()
