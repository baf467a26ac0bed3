"""Reading labelled configurations: extended XYZ (plain or compressed), ASE databases, and what else ASE reads."""

from __future__ import annotations

import bz2
import gzip
import lzma
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from io import StringIO
from itertools import islice
from pathlib import Path

import ase.db
import ase.io
from ase import Atoms
from ase.io.extxyz import read_xyz

from clebsch.data.configuration import Configuration
from clebsch.data.labels import LabelKeys, check_labels_present, config_type, is_isolated_atom
from clebsch.errors import DataError, did_you_mean

DEFAULT_KEYS = LabelKeys()
E0_AGREEMENT = 1e-6  # eV
XYZ_SUFFIXES = (".xyz", ".extxyz")
DATABASE_SUFFIXES = (".db", ".aselmdb")
OPENERS: dict[str, Callable] = {".xz": lzma.open, ".gz": gzip.open, ".bz2": bz2.open}


def read_configurations(
    path: str | Path, keys: LabelKeys = DEFAULT_KEYS, index: str | int | slice = ":"
) -> list[Configuration]:
    """Read the configurations of a file, every one with the labels that it has among those that ``keys`` names.

    Args:
        path: extended XYZ (also ``.xz``, ``.gz``, ``.bz2``), an ASE database (``.db``), or any format ASE reads.
        keys: names of the labels; ``None`` for a label that is not wanted. A single atom without forces gets zeros.
        index: which frames, in Python's slice notation, counted from 0.

    Raises:
        DataError: the file is missing, empty, truncated or corrupt; no frame has a label, or one that no frame has
            seems to stand under another name; a label is not finite or of the wrong shape; two atoms are closer than
            0.1 Å.
    """
    frames = read_frames(path, index)
    check_labels_present(frames, keys, str(path))
    return [Configuration.from_atoms(atoms, keys, f"{path}, frame {number}") for number, atoms in frames]


def read_isolated_atoms(path: str | Path, key: str = "energy") -> dict[str, float]:
    """Return E0 (eV) of every element from the isolated atoms of a file; other frames are passed over.

    Raises DataError where the file has no isolated atom, or two different energies for one element.
    """
    frames = [
        (number, atoms)
        for number, atoms in read_frames(path)
        if is_isolated_atom(len(atoms), atoms.pbc, atoms.cell.array, config_type(atoms))
    ]
    if not frames:
        raise DataError(
            f"{path}: no frame is an isolated atom (one atom, not periodic or with config_type=IsolatedAtom). "
            "Name the file that holds them, or give E0 another way."
        )
    keys = LabelKeys.only(energy=key)
    check_labels_present(frames, keys, str(path))
    return find_isolated_atoms(
        Configuration.from_atoms(atoms, keys, f"{path}, frame {number}") for number, atoms in frames
    )


def find_isolated_atoms(configurations: Iterable[Configuration]) -> dict[str, float]:
    """Return E0 (eV) of every element that has an isolated atom with an energy among ``configurations``.

    Raises DataError if two atoms of one element have energies that differ by more than 1e-6 eV.
    """
    e0: dict[str, float] = {}
    for configuration in configurations:
        if "energy" not in configuration.labels or not configuration.is_isolated_atom:
            continue
        (symbol,), energy = configuration.symbols, float(configuration.labels["energy"])
        if abs(e0.setdefault(symbol, energy) - energy) > E0_AGREEMENT:
            raise DataError(
                f"{configuration.origin}: the isolated atom {symbol} has energy {energy} eV here and {e0[symbol]} eV "
                "in an earlier frame. Keep one of them."
            )
    return e0


def read_frames(path: str | Path, index: str | int | slice = ":") -> list[tuple[int, Atoms]]:
    """Return (frame number counted from 0, ASE Atoms) of the chosen frames of a file.

    Raises DataError where the file is missing, empty, truncated or corrupt, or has no such frame.
    """
    path = Path(path)
    if not path.is_file():
        siblings = [item.name for item in path.parent.iterdir()] if path.parent.is_dir() else []
        raise DataError(f"{path}: no such file.{did_you_mean(path.name, siblings)}")
    frames: list[tuple[int, Atoms]] = []
    where = f"{path}"
    try:
        for number, load in _select(enumerate(_loaders(path)), _as_slice(index)):
            where = f"{path}, frame {number}"
            frames.append((number, load()))
            where = f"{path}, after frame {number}"
    except DataError:
        raise
    except Exception as error:  # ASE and the decompressors raise whatever their parsers stumble on
        raise DataError(
            f"{where}: cannot be read ({type(error).__name__}: {error}). "
            "Check that the file is complete and of the format its name says."
        ) from error
    if not frames:
        chosen = "" if index == ":" else f" in index {index!r}"
        raise DataError(f"{path}: holds no frame{chosen}. Check the file's content and the index.")
    return frames


def _as_slice(index: str | int | slice) -> slice:
    if isinstance(index, slice):
        return index
    try:
        bounds = [int(bound) if bound.strip() else None for bound in str(index).split(":")]
        return slice(*bounds) if len(bounds) > 1 else slice(int(index), int(index) + 1 or None)
    except (ValueError, TypeError):
        raise DataError(f"index must be a frame number or a slice such as '0:100', got {index!r}.") from None


def _select(items: Iterator, chosen: slice) -> Iterator:
    """Slice an iterator; only negative bounds need all of it."""
    if any(bound is not None and bound < 0 for bound in (chosen.start, chosen.stop, chosen.step)):
        return iter(list(items)[chosen])
    return islice(items, chosen.start, chosen.stop, chosen.step)


def _loaders(path: Path) -> Iterator[Callable[[], Atoms]]:
    """Yield, for every frame of the file, a function that parses it."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    compression = suffixes.pop() if suffixes and suffixes[-1] in OPENERS else ""
    suffix = suffixes[-1] if suffixes else ""
    if suffix in XYZ_SUFFIXES:
        for chunk in _xyz_chunks(path, OPENERS.get(compression, open)):
            yield partial(_parse_xyz, chunk)
    elif suffix in DATABASE_SUFFIXES:
        for row in ase.db.connect(path).select():
            yield partial(row.toatoms, add_additional_information=True)
    else:
        for atoms in ase.io.iread(path, index=":", do_not_split_by_at_sign=True):
            yield partial(lambda frame: frame, atoms)


def _parse_xyz(chunk: str) -> Atoms:
    return next(iter(read_xyz(StringIO(chunk), index=0)))


def _xyz_chunks(path: Path, opener: Callable) -> Iterator[str]:
    """Yield the text of every frame, holding one frame at a time.

    ASE's own reader seeks, which takes quadratic time in a compressed file, and stops without a word at a blank line.
    """
    with opener(path, "rt", encoding="utf-8") as file:
        number, position, header = 0, 1, file.readline()
        while header:
            if not header.strip():
                _check_blank_to_end(path, position, file)
                return
            try:
                num_atoms = int(header)
            except ValueError:
                raise DataError(
                    f"{path}, frame {number}: line {position} must be the number of atoms, got {header.strip()!r:.60}. "
                    "The frame before may have more atoms than it says, or the file is not extended XYZ."
                ) from None
            lines = [header, *(file.readline() for _ in range(num_atoms + 1))]
            if not lines[-1].strip() and num_atoms:
                found = sum(1 for line in lines[2:] if line.strip())
                raise DataError(
                    f"{path}, frame {number}: the file is truncated: line {position} promises {num_atoms} atoms, "
                    f"found {found}. Get the whole file again, or remove this frame."
                )
            position, number, header = position + len(lines), number + 1, file.readline()
            while header.lstrip().startswith("VEC"):  # cell vectors as pseudo-atoms
                lines.append(header)
                position, header = position + 1, file.readline()
            yield "".join(lines)


def _check_blank_to_end(path: Path, position: int, file: Iterator[str]) -> None:
    if any(line.strip() for line in file):
        raise DataError(
            f"{path}: line {position} is blank but more follows. Remove blank lines between frames; a reader that "
            "stopped there would lose the frames after it."
        )
