"""The record of a training run: one JSON object per epoch in a file, one row per epoch on a console."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clebsch.data.quantities import QUANTITIES
from clebsch.errors import DamagedFileError
from clebsch.evaluation.metrics import present_names
from clebsch.files import explained, write_file
from clebsch.progress import as_clock, say

if TYPE_CHECKING:
    from rich.console import Console

Record = dict[str, Any]


class MetricsFile:
    """JSON-lines file with one record per completed epoch.

    Args:
        path: file to write; None for one that another process writes.
        epochs: keep the records already in the file up to this epoch (those of a resumed run) and drop later ones.
    """

    def __init__(self, path: str | Path | None, epochs: int = 0) -> None:
        self.path = None if path is None else Path(path)
        self.history: list[Record] = []
        if self.path is not None:
            self.history = [record for record in read_metrics(self.path) if record["epoch"] <= epochs]
            write_file(self.path, "".join(_line(record) for record in self.history))

    def append(self, record: Record) -> None:
        """Add ``record`` to the history and the file."""
        self.history.append(record)
        if self.path is not None:
            with explained(self.path), open(self.path, "a") as file:
                file.write(_line(record))


def read_metrics(path: str | Path) -> list[Record]:
    """Return the records of the file at ``path`` (none where it is missing), without a half-written last line.

    Raises DamagedFileError for a line that is no record.
    """
    path = Path(path)
    if not path.is_file():
        return []
    # Only a line that ends with a newline is complete; what follows the last newline was cut off by a crash.
    lines = path.read_bytes().split(b"\n")[:-1]
    return [_record(line, f"{path}, line {number}") for number, line in enumerate(lines, 1) if line]


def _record(line: bytes, where: str) -> Record:
    try:
        record = present_names(json.loads(line))
        if isinstance(record["epoch"], int):
            return record
    except (AttributeError, LookupError, RecursionError, TypeError, ValueError):
        pass
    raise DamagedFileError(
        f"{where} is no record of an epoch: the file is damaged. Copy it again, or move it aside; a training that is "
        "continued needs its checkpoint only."
    )


class EpochTable:
    """Rows of a console table, at most one every ``interval`` seconds; a star marks the best epoch so far.

    Args:
        console: where to print; None prints nothing.
        interval: seconds between rows.
    """

    _COLUMNS = (
        ("epoch", "epoch", "{:d}"),
        ("train loss", "train_loss", "{:.4g}"),
        ("valid loss", "valid_loss", "{:.4g}"),
        *(
            (f"{item.symbol} {item.milli_unit(per_atom=item.per_atom)}", f"valid_{item.validation_metric}", "{:.4g}")
            for item in QUANTITIES.values()
        ),
        ("lr", "lr", "{:.2e}"),
        ("seconds", "seconds", "{:.1f}"),
    )

    def __init__(self, console: Console | None, interval: float = 2.0) -> None:
        self.console = console
        self.interval = interval
        self._columns: list[tuple[str, str, str]] = []
        self._printed_at = float("-inf")

    def row(self, record: Mapping[str, Any], *, best: bool, left: float | None = None) -> None:
        """Print the row of ``record`` if it is due, with the seconds that are ``left`` at most, if that is known."""
        now = time.monotonic()
        if self.console is None or now - self._printed_at < self.interval:
            return
        self._printed_at = now
        if not self._columns:
            self._columns = [column for column in self._COLUMNS if column[1] in record]
            titles = [title for title, _, _ in self._columns] + ([] if left is None else ["left"])
            say(self.console, " ".join(f"{title:>11}" for title in titles))
        cells = [pattern.format(record[key]) for _, key, pattern in self._columns]
        cells += [] if left is None else [as_clock(left)]
        say(self.console, " ".join(f"{cell:>11}" for cell in cells) + (" *" if best else ""))


def _line(record: Mapping[str, Any]) -> str:
    return json.dumps(record) + "\n"
