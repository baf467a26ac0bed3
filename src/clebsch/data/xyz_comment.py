"""The comment line of an extended XYZ frame: read strictly, as readers differ in what they make of a faulty one."""

from __future__ import annotations

import re
from dataclasses import dataclass

from clebsch.errors import DataError

QUOTED = re.compile(r"""'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|\{(?:\\.|[^}\\])*\}|\[(?:\\.|[^]\\])*\]""")
WORD = rf"""(?:\\.|{QUOTED.pattern}|[^\s='"{{\[\\])+"""
# Blanks may stand around the "=" of a pair. A value may have a further "=", as SMILES do, but with no blank in between:
# then a key or a value is missing, and readers join what does not belong together.
PAIR = re.compile(
    rf"(?P<key>{WORD})(?:=(?P<value>{WORD}(?:=+{WORD})*=*)|(?:\s+=\s*|=\s+)(?P<spaced>{WORD})(?=\s|$)(?!\s*=))"
    rf"|(?P<lone>{WORD})|(?P<stray>\S)"
)
SPECIAL = ("Lattice", "Properties", "pbc")
NINE_NUMBERS = ("Lattice", "stress", "virial")  # ASE reads these as 3x3 and nothing else
LOGICAL = ("T", "F", "True", "False", "TRUE", "FALSE", "true", "false")
DEFAULT_PROPERTIES = "species:S:1:pos:R:3"
# Names that stand for one column in extended XYZ and in ASE.
ALIASES = {"positions": "pos", "numbers": "Z", "symbols": "species"}
FORTRAN = re.compile(r"(?<![^\s\"'={\[(,])([+-]?(?:\d+\.\d*|\.\d+))[dD]([+-]?\d+)(?=[\s\"',}\])]|$)")
DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+(?:[eE][+-]?\d+)?")


@dataclass(frozen=True)
class Columns:
    """The columns of the rows of a frame.

    Attributes:
        kinds: R, I, S or L of every column.
        species: which column holds the species; None if atomic numbers stand in its place.
        exact: whether a row has these columns and no more.
    """

    kinds: str
    species: int | None
    exact: bool


def with_point_exponents(text: str) -> str:
    """Return a text with ``1.5D+02``, as Fortran writes it, as ``1.5e+02``."""
    return FORTRAN.sub(r"\1e\2", text) if "D" in text or "d" in text else text


def check_comment(text: str, where: str) -> Columns:
    """Return the columns that a comment line announces.

    Raises DataError, its message begun by ``where``, if the line can be read in two ways or has a wrong value.
    """
    pairs: dict[str, str] = {}
    for key, value in _pairs(text, where) if "=" in text else []:  # else it is plain text
        if value is None:  # a word of plain text
            if key in SPECIAL:
                raise DataError(f"{where}: '{key}' has no value. Write {key}=\"…\".")
            continue
        if key in pairs:
            raise DataError(f"{where}: the key '{key}' stands twice. Keep one of them.")
        near = next((name for name in SPECIAL if name != key and name.lower() == key.lower()), None)
        if near is not None:
            raise DataError(f"{where}: the key '{key}' is written '{near}' in extended XYZ. Rename it.")
        pairs[key] = value
    _check_values(pairs, where)
    return _columns(pairs, where)


def _check_values(pairs: dict[str, str], where: str) -> None:
    if "pbc" in pairs:
        flags = re.findall(r"[^\s,]+", pairs["pbc"])
        if len(flags) not in (1, 3) or not (set(flags) <= set(LOGICAL) or set(flags) <= {"0", "1"}):
            raise DataError(
                f"{where}: pbc must be three of T and F, one per cell vector, got '{pairs['pbc']}'. "
                'Write pbc="T T T" for a periodic cell, pbc="F F F" for none.'
            )
    for key in NINE_NUMBERS:
        if key in pairs and not _is_numbers(pairs[key], 9):
            other = "" if key == "Lattice" else f", or give it a name of its own, such as REF_{key}"
            raise DataError(f"{where}: {key} must be nine numbers, got '{pairs[key]:.80}'. Write all nine{other}.")
    for key, value in pairs.items():
        if "energy" in key.lower() and DECIMAL_COMMA.fullmatch(value.strip()):
            raise DataError(
                f"{where}: {key}={value} has a decimal comma, or is two numbers; expected one number. Write a "
                "decimal point."
            )


def _is_numbers(text: str, count: int) -> bool:
    words = re.findall(r"[^\s,]+", text)
    try:
        [float(word) for word in words]
    except ValueError:
        return False
    return len(words) == count and "_" not in text


def _columns(pairs: dict[str, str], where: str) -> Columns:
    text = pairs.get("Properties", DEFAULT_PROPERTIES)
    fields = text.split(":")
    names, kinds, counts = fields[::3], fields[1::3], fields[2::3]
    wellformed = len(fields) % 3 == 0 and all(names) and set(kinds) <= set("RISL")
    if not wellformed or not all(re.fullmatch(r"[1-9]\d{0,3}", count) for count in counts):
        raise DataError(
            f"{where}: Properties must be triples name:type:columns with type R, I, S or L, such as "
            f"species:S:1:pos:R:3:forces:R:3, got '{text:.80}'."
        )
    known = [ALIASES.get(name, name) for name in names]
    twice = next((name for i, name in enumerate(known) if name in known[:i]), None)
    if twice is not None:
        raise DataError(f"{where}: Properties names '{twice}' twice. Give every column one name.")
    table = dict(zip(known, zip(kinds, map(int, counts), strict=True), strict=True))
    if table.get("pos") != ("R", 3) or not {"species", "Z"} & set(table):
        raise DataError(
            f"{where}: Properties must have species:S:1 (or Z:I:1) and pos:R:3, got '{text:.80}'. Name the columns of "
            "elements and positions."
        )
    spread = [name for name, (_, count) in table.items() for _ in range(count)]
    species = spread.index("species") if "species" in table else None
    if table.get("species", ("S", 1)) != ("S", 1):
        raise DataError(f"{where}: species must be species:S:1, got '{text:.80}'. For atomic numbers write Z:I:1.")
    return Columns("".join(table[name][0] for name in spread), species, "Properties" in pairs)


def _pairs(text: str, where: str) -> list[tuple[str, str | None]]:
    """Keys and values of a comment line; None is the value of a lone word."""
    found: list[tuple[str, str | None]] = []
    for match in PAIR.finditer(text):
        if match["stray"] is not None:
            what = "a stray '='" if match["stray"] == "=" else f"{match['stray']} without its end"
            raise DataError(
                f"{where}: {what} at character {match.start() + 1}. Write key=value pairs, and text with blanks, "
                "quotes or '=' in quotes."
            )
        value = match["value"] if match["value"] is not None else match["spaced"]
        found.append((_bare(match["key"] or match["lone"]), None if value is None else _bare(value)))
    return found


def _bare(word: str) -> str:
    """A word without its quotes and brackets."""
    return QUOTED.sub(lambda match: match[0][1:-1], word)
