"""Extended XYZ: the text of every frame is checked line by line before ASE reads it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial
from io import StringIO
from pathlib import Path

from ase import Atoms
from ase.data import atomic_numbers
from ase.io.extxyz import read_xyz

from clebsch.data.lines import Lines, open_lines
from clebsch.data.xyz_comment import LOGICAL, Columns, check_comment, with_point_exponents
from clebsch.errors import DataError

COUNT = re.compile(r"\s*\d{1,9}\s*")
# A symbol and what some codes write behind it to tell sites apart: Cu1, Fe_up, O-2.
LABELLED = re.compile(r"([A-Za-z]{1,2})(?:\d\w*|[_-].*)")
# Atoms of PDB files are called after their place: CA is the first carbon of an amino acid, not calcium.
PDB_ELEMENTS, PDB_LABELS = "CHNOS", "ABDEGHZ"
ISOTOPES = {"D": "H", "T": "H"}
LEAST_COLUMNS = 4  # of a frame without Properties, whose further columns have no name


def is_extended_xyz(first: str, second: str) -> bool:
    """Return whether a file that begins with these two lines is extended XYZ, whatever its name."""
    return COUNT.fullmatch(first.lstrip("\ufeff")) is not None and "Properties=" in second


def xyz_loaders(path: Path) -> Iterator[Callable[[], Atoms]]:
    """Yield, for every frame of a file, a function that parses it; one frame is held at a time.

    ASE's own reader seeks, which takes quadratic time in a compressed file, stops without a word at a blank line, and
    gives no line number.
    """
    with open_lines(path) as lines:
        number, header = 0, lines.read()
        while header:
            if not header.strip():
                _check_blank_to_end(lines)
                return
            start, num_atoms = lines.number, _count(header, f"{path}, frame {number}", lines.number)
            rows = lines.block(num_atoms + 1)
            if len(rows) <= num_atoms or (num_atoms and not rows[-1].strip()):
                found = sum(1 for line in rows[1:] if line.strip())
                raise DataError(
                    f"{path}, frame {number}: the file is truncated: line {start} promises {num_atoms} atoms, "
                    f"found {found}. Get the whole file again, or remove this frame."
                )
            comment, *rows = rows
            header = lines.read()
            vectors: list[str] = []
            while header.lstrip().startswith("VEC") and len(vectors) < 3:  # cell vectors as pseudo-atoms
                vectors.append(header)
                header = lines.read()
            yield partial(_parse, comment, rows, vectors, (f"{path}, frame {number}, line ", start + 1))
            number += 1


def _count(header: str, where: str, line: int) -> int:
    if not COUNT.fullmatch(header):
        raise DataError(
            f"{where}: line {line} must be the number of atoms, got {header.strip()!r:.60}. The frame before may have "
            "more atoms than it says, or the file is not extended XYZ."
        )
    return int(header)


def _check_blank_to_end(lines: Lines) -> None:
    blank = lines.number
    while line := lines.read():
        if line.strip():
            raise DataError(
                f"{lines.path}: line {blank} is blank but more follows. Remove blank lines between frames; a reader "
                "that stopped there would lose the frames after it."
            )


def _parse(comment: str, rows: list[str], vectors: list[str], origin: tuple[str, int]) -> Atoms:
    """Check the text of a frame, whose comment is the line of ``origin``, and let ASE read it."""
    prefix, line = origin
    comment = with_point_exponents(comment)
    columns = check_comment(comment, f"{prefix}{line}")
    if vectors and "=" in comment:
        raise DataError(
            f"{prefix}{line + len(rows) + 1}: cell vectors as rows VEC1 to VEC3 below a comment line with key=value "
            'pairs, which are lost then. Write the cell as Lattice="…" and remove these rows.'
        )
    checked = [_checked_row(row, columns, f"{prefix}{line + 1 + i}") for i, row in enumerate(rows)]
    text = "".join((f"{len(rows)}\n", comment, *checked, *vectors))
    try:
        return next(iter(read_xyz(StringIO(text), index=0)))
    except Exception:
        for i, row in enumerate(checked):
            _check_words(row.split(), columns, f"{prefix}{line + 1 + i}")
        raise


def _checked_row(row: str, columns: Columns, where: str) -> str:
    """A row that has the right columns and an element; numbers as Fortran writes them in the usual form."""
    words = row.split()
    expected = len(columns.kinds)
    if len(words) != expected and (columns.exact or len(words) < LEAST_COLUMNS):
        raise DataError(
            f"{where}: the row has {len(words)} columns, expected {expected}"
            f"{' by Properties' if columns.exact else ' (species, x, y, z)'}, got '{row.strip():.80}'. "
            "Correct the row or Properties."
        )
    if columns.species is not None and (species := words[columns.species]) not in atomic_numbers:
        words[columns.species] = _element(species, where)
        row = " ".join(words) + "\n"
    if "_" in row or "L" in columns.kinds:
        _check_words(words, columns, where)
    return with_point_exponents(row)


def _element(species: str, where: str) -> str:
    """The element of a species that is an isotope of hydrogen, in other letters, or a symbol with a label."""
    labelled = LABELLED.fullmatch(species)
    letters = labelled[1] if labelled else species
    if len(letters) == 2 and letters[0] in PDB_ELEMENTS and letters[1] in PDB_LABELS:
        raise DataError(
            f"{where}: '{species}' may be {letters[0]} with a label, as in PDB files, or {letters.capitalize()}. "
            f"Write {letters[0]} or {letters.capitalize()}."
        )
    symbol = ISOTOPES.get(species) or (labelled[1] if labelled else species).capitalize()
    if symbol not in atomic_numbers:
        raise DataError(
            f"{where}: '{species}' is no element. Write chemical symbols, such as Cu, or atomic numbers as Z:I:1."
        )
    return symbol


def _check_words(words: list[str], columns: Columns, where: str) -> None:
    """Raise DataError for a word that is not of the type of its column."""
    patterns: dict[str, Callable[[str], object]] = {"R": _real, "I": _integer, "L": LOGICAL.index, "S": str}
    names = {"R": "a number", "I": "an integer", "L": "T or F"}
    for i, (word, kind) in enumerate(zip(words, columns.kinds, strict=False)):
        try:
            patterns[kind](word)
        except ValueError:
            comma = " Write a decimal point." if "," in word else ""
            raise DataError(
                f"{where}: column {i + 1} must be {names[kind]}, got '{word:.40}'.{comma or ' Correct the row.'}"
            ) from None


def _real(word: str) -> float:
    return float(word if "_" not in word else "")  # Python reads 1_0 as 10


def _integer(word: str) -> int:
    return int(word if "_" not in word else "")
