"""Writing files: whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from clebsch.errors import OutputError


def write_file(path: str | Path, content: str | bytes, previous: Path | None = None) -> Path:
    """Write ``content``, text in UTF-8, and return the path; at every moment it is the old file or the whole new one.

    Args:
        path: file to create or replace; missing folders are made.
        content: all of it.
        previous: name in the same folder under which the old file is kept. If the writer is killed at the wrong
            moment, the old file has that name and ``path`` is missing.

    Raises:
        OutputError: the file or its folder cannot be written; the old file, if any, is still there.
    """
    path = Path(path)
    with explained(path), replacing(path, previous) as file:
        file.write(content.encode() if isinstance(content, str) else content)
    return path


def remove_unfinished(directory: Path, names: Iterable[str]) -> None:
    """Remove what killed processes have left of files of these names in ``directory``; nobody else may write them now.

    Raises OutputError if that cannot be done.
    """
    for name in names:
        for path in directory.glob(f".{name}.*.tmp"):
            with explained(path):
                path.unlink(missing_ok=True)


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn an OSError into an OutputError that names the ``path`` that was to be written."""
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"'{path}' cannot be written ({error.strerror or error}). Give a folder of your own that has room for it."
        ) from None


def write_json(path: str | Path, content: Any) -> Path:
    """Write ``content`` as indented JSON, with no NaN or infinity; else as `write_file`."""
    return write_file(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


@contextmanager
def replacing(path: Path, previous: Path | None = None) -> Iterator[BinaryIO]:
    """Give a file to fill beside ``path`` that takes its place at the end of the block, on disk; on errors it is gone.

    Raises OSError if it cannot be written. ``previous`` is that of `write_file`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if previous is not None and path.exists():
            os.replace(path, previous)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    if os.name == "posix":
        # The new name survives a power cut only once the folder itself is on disk.
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
