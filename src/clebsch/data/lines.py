"""Lines of text files, plain or compressed, none longer than a bound."""

from __future__ import annotations

import bz2
import gzip
import lzma
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from clebsch.errors import DataError

OPENERS: dict[str, Callable] = {".xz": lzma.open, ".gz": gzip.open, ".bz2": bz2.open}
LONGEST_LINE = 1_000_000  # characters
LONGEST_FRAME = 200_000_000  # characters; two million atoms


class Lines:
    """Reads a file line by line; ``number`` is that of the line read last, counted from 1."""

    def __init__(self, path: Path, file) -> None:
        self.path = path
        self.number = 0
        self._file = file

    def read(self) -> str:
        """Return the next line, or an empty text at the end; raises DataError if it is too long."""
        line = self._file.readline(LONGEST_LINE)
        self.number += 1
        if len(line) == LONGEST_LINE and not line.endswith("\n"):
            raise DataError(
                f"{self.path}, line {self.number}: is longer than {LONGEST_LINE:,} characters, so this is no file of "
                "configurations, or not of the format its name says."
            )
        return line

    def block(self, size: int) -> list[str]:
        """Return the next ``size`` lines, or those that are left; raises DataError if they are too much for a frame."""
        found: list[str] = []
        length = 0
        while len(found) < size and (line := self.read()):
            found.append(line)
            length += len(line)
            if length > LONGEST_FRAME:
                raise DataError(
                    f"{self.path}, line {self.number}: the frame is longer than {LONGEST_FRAME:,} characters. "
                    "Divide the file, or check how it was written."
                )
        return found


def opener_of(path: Path) -> Callable:
    """Return what opens a file of this name: plain, or compressed."""
    return OPENERS.get(path.suffix.lower(), open)


def bare_suffix(path: Path) -> str:
    """Return the suffix of a file in lower case, without that of its compression."""
    return (path.with_suffix("") if path.suffix.lower() in OPENERS else path).suffix.lower()


@contextmanager
def open_lines(path: Path) -> Iterator[Lines]:
    """Open a text file (UTF-8, with or without a byte order mark) for reading by lines."""
    with opener_of(path)(path, "rt", encoding="utf-8-sig") as file:
        yield Lines(path, file)
