"""What a long calculation says as it goes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


def say(console: Console | None, lines: str | Iterable[str]) -> None:
    """Print lines of plain text as they are, neither coloured nor wrapped; nothing without a console."""
    if console is not None:
        for line in [lines] if isinstance(lines, str) else lines:
            console.print(line, highlight=False, markup=False, soft_wrap=True)
