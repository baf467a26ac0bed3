"""What a recipe names as files, read, with a line for each about what was found in it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from clebsch.data import Configuration, LabelKeys, Pack, elements_of, is_pack, labelled, sizes_of
from clebsch.data.formats import DUMP, FREE_UNITS, find_format
from clebsch.data.paths import find_files
from clebsch.data.quantities import QUANTITIES
from clebsch.data.reading import Reading, read_source
from clebsch.errors import DataError
from clebsch.progress import progress, say
from clebsch.recipe import FileSource

if TYPE_CHECKING:
    from rich.console import Console

MOST_LINES = 3  # of one kind about the files of one pattern
LARGE = 2 * 10**7  # bytes of a file that takes seconds to read


def read_files(
    names: str | Sequence[str], source: FileSource, console: Console | None = None
) -> Sequence[Configuration]:
    """Read the files that ``names`` stand for, each a file, a folder or a pattern, and say what was found in each.

    One name may be that of a pack, which is opened. What a user should look at is said too; without a console it is a
    UserWarning.

    Raises DataError if a file cannot be used as it is, or is named twice.
    """
    names = [names] if isinstance(names, str) else names
    if any(is_pack(name) for name in names):
        return _open_pack(names, source, console)
    found: list[Configuration] = []
    seen: dict[Path, str] = {}
    for name in names:
        paths = find_files(name)
        for path in paths:
            if path.resolve() in seen:
                raise DataError(
                    f"{path} is read twice, as '{seen[path.resolve()]}' and as '{name}'. Name every file once."
                )
            seen[path.resolve()] = name
        readings = read_source_files(name, source, console)
        read = [configuration for reading in readings for configuration in reading.configurations]
        say(console, describe_source(name, readings, source.keys))
        _warn(console, [f"{item.path}: {doubt}" for item in readings for doubt in item.doubts])
        found += read
    return found


def _open_pack(names: Sequence[str], source: FileSource, console: Console | None) -> Pack:
    """Open the pack that is the only one of ``names``; keys and units were chosen when it was written."""
    if len(names) > 1:
        raise DataError(
            f"A pack stands alone, got {', '.join(names)}. Pack all the files it was made of and the others together "
            "(clebsch data pack)."
        )
    if source.units.given() or source.types or source.nan_is_none or source.keys != LabelKeys():
        raise DataError(
            f"{names[0]} is a pack, whose labels and units (eV and Å) were chosen when it was written. Remove "
            "data.keys, data.units, data.types and data.nan_is_none, or pack the files again."
        )
    pack = Pack.open(names[0])
    say(console, f"{names[0]}: pack; {describe_frames(pack, LabelKeys(**{name: name for name in QUANTITIES}))}")
    return pack


def read_source_files(name: str, source: FileSource, console: Console | None = None) -> list[Reading]:
    """Read every file that ``name`` stands for, with the keys, units and types of ``source``.

    What takes long is said to ``console``.
    """
    paths = find_files(name)
    sizes = {path: path.stat().st_size for path in paths if path.is_file()}
    large = [f"reading {path}, {size / 1e6:,.0f} MB" for path, size in sizes.items() if size > LARGE]
    say(console, large[:MOST_LINES])
    return [_read(path, source) for path in progress(console, paths, f"files of {name}", len(paths))]


def say_overlap(console: Console | None, source: FileSource) -> None:
    """Say which files of validation and test sets are trained on."""
    names = [source.train] if isinstance(source.train, str) else source.train
    trained = {path.resolve() for name in names if not is_pack(name) for path in find_files(name)}
    sets = {**({"valid": source.valid} if isinstance(source.valid, str) else {}), **source.tests}
    lines = [
        f"{path} of the set '{name}' is a training file too: errors on it do not show how well the potential predicts"
        for name, pattern in sets.items()
        for path in ([] if is_pack(pattern) else find_files(pattern))
        if path.resolve() in trained
    ]
    say(console, [f"note: {line}" for line in _few(lines)])


def describe_source(name: str, readings: Sequence[Reading], keys: LabelKeys) -> str:
    """Return one line about the files of one name: frames, elements, labels with their keys, what was decided."""
    frames = [frame for reading in readings for frame in reading.configurations]
    files = f"{len(readings)} files, " if len(readings) > 1 else ""
    facts = list(dict.fromkeys(fact for reading in readings for fact in reading.facts))
    return "; ".join([f"{name}: {files}{describe_frames(frames, keys)}", *facts[:MOST_LINES]])


def describe_frames(frames: Sequence[Configuration], keys: LabelKeys) -> str:
    """Return numbers of frames and atoms, the elements, and how many frames have which label."""
    atoms = sum(sizes_of(frames))
    labels = ", ".join(_labels(frames, keys)) or "none"
    number = "1 frame" if len(frames) == 1 else f"{len(frames):,} frames"
    return f"{number}, {atoms:,} atoms of {', '.join(elements_of(frames))}; labels {labels}"


def _labels(frames: Sequence[Configuration], keys: LabelKeys) -> Iterator[str]:
    for quantity, key in keys.named().items():
        count = int(labelled(frames, quantity).sum())
        if count:
            yield f"{quantity} {f'{count:,}' if count < len(frames) else 'in all'} ('{key}')"


def _read(path: Path, source: FileSource) -> Reading:
    form = _form(path)
    types = source.types if source.types and form == DUMP else None
    units = source.units if form in FREE_UNITS else None
    return read_source(path, source.keys, types=types, units=units, nan_is_none=source.nan_is_none)


def _form(path: Path) -> str:
    """The format of a file, empty if that cannot be told: reading it says why."""
    try:
        return find_format(path)
    except Exception:  # whatever ASE and the decompressors stumble on
        return ""


def _warn(console: Console | None, lines: Sequence[str]) -> None:
    """Say what a user should look at, or warn of it if there is no console."""
    for line in _few(lines) if console is None else []:
        warnings.warn(line, stacklevel=4)
    say(console, [f"note: {line}" for line in _few(lines)])


def _few(lines: Sequence[str]) -> list[str]:
    rest = len(lines) - MOST_LINES
    return [*lines[:MOST_LINES], *([f"and {rest} lines of this kind about further files"] if rest > 0 else [])]
