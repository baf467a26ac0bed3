"""``clebsch data pack``: files written as one pack, piece by piece."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from clebsch.data import Configuration, LabelKeys, Pack, write_pack
from clebsch.data.formats import DUMP, FREE_UNITS, find_format
from clebsch.data.paths import find_files
from clebsch.data.pieces import read_in_pieces
from clebsch.data.reading import Reading
from clebsch.data.units import Units
from clebsch.errors import DataError
from clebsch.progress import say

if TYPE_CHECKING:
    from rich.console import Console

SECONDS_BETWEEN_LINES = 10.0


def pack_files(
    names: Sequence[str | Path],
    output: str | Path,
    keys: LabelKeys | None = None,
    *,
    units: Units | None = None,
    types: Mapping[int, str] | None = None,
    nan_is_none: bool = False,
    processes: int = 1,
    console: Console | None = None,
) -> Pack:
    """Read files, folders and patterns and write their configurations to the folder ``output`` as a pack.

    Args:
        names: of files, folders or patterns.
        output: a new or empty folder.
        keys: names of the labels in the files.
        units: of the files.
        types: elements of the types of LAMMPS dumps.
        nan_is_none: a label that holds a NaN is missing in its frame.
        processes: that parse extended XYZ.
        console: where to say how it goes; None for silence, in which what is doubtful is a UserWarning.

    Raises:
        DataError: a file cannot be used as it is, or the folder is not empty.
        OutputError: a file cannot be written.
    """
    paths = [path for name in names for path in find_files(name)]
    twice = next((path for path in paths if paths.count(path) > 1), None)
    if twice is not None:
        raise DataError(f"{twice} is named twice. Name every file once.")
    keys = keys or LabelKeys()
    read = partial(read_in_pieces, keys=keys, nan_is_none=nan_is_none, processes=processes)
    frames = _configurations(paths, read, units or Units(), types, console)
    pack = write_pack(frames, output)
    size = f"{len(pack):,} configurations, {pack.num_atoms.sum():,} atoms"
    say(console, f"{output}: {size} of {', '.join(pack.elements)}")
    return pack


def _configurations(
    paths: Sequence[Path],
    read: Callable[..., Iterator[Reading]],
    units: Units,
    types: Mapping[int, str] | None,
    console: Console | None,
) -> Iterator[Configuration]:
    said, count, last = set[str](), 0, time.monotonic()
    for path in paths:
        form = find_format(path) if path.is_file() else ""
        chosen = units if form in FREE_UNITS else None
        for reading in read(path, types=types if form == DUMP else None, units=chosen):
            for line in [*(f"{path}: {fact}" for fact in reading.facts), *_notes(reading.doubts, path, said)]:
                _tell(console, line, said)
            yield from reading.configurations
            count += len(reading.configurations)
            if time.monotonic() - last > SECONDS_BETWEEN_LINES:
                last = time.monotonic()
                say(console, f"{count:,} configurations read, now {path}")


def _notes(doubts: Sequence[str], path: Path, said: set[str]) -> list[str]:
    """Doubts about a file, unless one of the same beginning was said: numbers in them differ from piece to piece."""
    lines = [f"note: {path}: {doubt}" for doubt in doubts]
    return [line for line in lines if not any(line.split("(")[0] == other.split("(")[0] for other in said)]


def _tell(console: Console | None, line: str, said: set[str]) -> None:
    if line not in said:
        said.add(line)
        say(console, line)
        if console is None and line.startswith("note: "):
            warnings.warn(line.removeprefix("note: "), stacklevel=6)
