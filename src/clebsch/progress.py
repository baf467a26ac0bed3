"""What a long calculation says as it goes."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from rich.console import Console

Item = TypeVar("Item")

FIRST, EVERY = 3.0, 10.0  # seconds before the first line about a long calculation, and between lines


def say(console: Console | None, lines: str | Iterable[str]) -> None:
    """Print lines of plain text as they are, neither coloured nor wrapped; nothing without a console."""
    if console is not None:
        for line in [lines] if isinstance(lines, str) else lines:
            console.print(line, highlight=False, markup=False, soft_wrap=True)


def progress(
    console: Console | None,
    items: Iterable[Item],
    label: str,
    total: int,
    *,
    first: float = FIRST,
    every: float = EVERY,
) -> Iterator[Item]:
    """Yield ``items``; of what takes long, lines say how many are done and how long the others will take.

    Args:
        console: where to say it; None says nothing.
        items: what is worked on, in the loop over what this yields.
        label: what is done.
        total: number of items.
        first: seconds before the first line.
        every: seconds between lines, at least.
    """
    begun = time.monotonic()
    due = begun + first
    for done, item in enumerate(items):
        now = time.monotonic()
        if console is not None and done and now >= due:
            left = (now - begun) / done * (total - done)
            say(console, f"{label}: {done:,} of {total:,}, {as_clock(left)} left")
            due = now + every
        yield item


def as_clock(seconds: float) -> str:
    """Return a duration as minutes and seconds, 2:05, or hours, 1:02:05."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
