"""Files by name, by pattern or by folder."""

from __future__ import annotations

import glob
from pathlib import Path

from clebsch.errors import DataError


def find_files(name: str | Path) -> list[Path]:
    """Return the files that a name stands for, in alphabetical order: itself, those of a folder, or of a pattern.

    A pattern has ``*``, ``?`` or ``[…]``, and ``**`` for folders at any depth. Of a folder all files directly in it are
    taken, but for hidden ones. A name that is none of these stands for itself, so that reading says what is wrong.

    Raises:
        DataError: no file fits, or a folder holds none.
    """
    path = Path(name).expanduser()
    if path.is_dir():
        found = [item for item in path.iterdir() if item.is_file() and not item.name.startswith(".")]
    elif path.is_file() or not glob.has_magic(str(path)):
        return [path]
    else:
        found = [Path(item) for item in glob.glob(str(path), recursive=True) if Path(item).is_file()]
    if not found:
        what = "the folder holds no files" if path.is_dir() else "no file fits this pattern"
        raise DataError(f"{name}: {what}. Paths are relative to the folder the command is run in.")
    return sorted(found)
