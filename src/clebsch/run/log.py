"""What a run says, kept as text in its folder."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from clebsch.files import explained
from clebsch.version import __version__

LOG_NAME = "train.log"


class LoggedConsole(Console):
    """Passes on what is printed to ``console`` and keeps it, in a file as soon as there is one.

    Args:
        console: where it is shown.
    """

    def __init__(self, console: Console) -> None:
        super().__init__(quiet=True)
        self._shown, self._path = console, None
        self._lines: list[str] = []

    def print(self, *objects: Any, **options: Any) -> None:
        """Print as `Console.print`, and keep the text of ``objects``."""
        self._shown.print(*objects, **options)
        self._keep(" ".join(map(str, objects)))

    def keep_in(self, path: Path) -> None:
        """Add what was printed, below a line with the date, to the file ``path``, and what is printed from now on.

        Raises OutputError if it cannot be written.
        """
        self._path = path
        earlier, self._lines = self._lines, []
        self._keep(f"# {datetime.now().astimezone():%Y-%m-%d %H:%M:%S %z}, clebsch {__version__}")
        for line in earlier:
            self._keep(line)

    def _keep(self, text: str) -> None:
        if self._path is None:
            self._lines.append(text)
            return
        with explained(self._path), open(self._path, "a", encoding="utf-8") as file:
            file.write(text + "\n")
