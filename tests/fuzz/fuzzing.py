"""Mutations of valid files, and what a reader may do with them: return, or raise an error of the library, soon."""

from __future__ import annotations

import json
import resource
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

from clebsch.errors import ClebschError

LIMIT_SECONDS = 10
LIMIT_MEMORY = 1_000_000  # kB that one input may add
TOKENS = [
    b"", b" ", b"\n", b"\x00", b"\xff\xfe", b"nan", b"inf", b"-1", b"0", b"1e400", b"99999999999999999999", b"[[[[",
    b"{{", b"&a [*a,*a]", b"!!python/object", b"null", b"true", b"\"", b"'", b"=", b":", b",", b"T T", b"Properties=",
    b"Lattice=", b"<!--<script>", b"</script>", b"\xe2\x80\xa8", b"1_000", b"017", b"190:20:30", b"2020-13-45",
    b"../../etc/passwd", b"%s%n",
]  # fmt: skip
VALUES = [None, True, -1, 0, 2**31, 2**63, 1e308, float("nan"), "", "x" * 1000, [], {}, [[]], {"a": {}}, "nan", "../x"]


def mutated(content: bytes, rng: np.random.Generator) -> bytes:
    """Content with one to four random changes: bytes, tokens, lines or pieces cut, doubled, moved or replaced."""
    for _ in range(rng.integers(1, 5)):
        place = int(rng.integers(len(content) + 1))
        length = int(rng.integers(1, 20))
        kind = rng.integers(7)
        token = TOKENS[rng.integers(len(TOKENS))]
        lines = content.split(b"\n")
        line = int(rng.integers(len(lines)))
        if kind == 0:
            content = content[:place] + bytes([rng.integers(256)]) + content[place + 1 :]
        elif kind == 1:
            content = content[:place] + token + content[place:]
        elif kind == 2:
            content = content[:place] + token + content[place + length :]
        elif kind == 3:
            content = content[:place] + content[place + length :]
        elif kind == 4:
            content = b"\n".join([*lines[:line], *lines[line:][:1] * 2, *lines[line + 1 :]])
        elif kind == 5:
            content = b"\n".join([*lines[:line], *lines[line + 1 :]])
        else:
            words = lines[line].split(b" ")
            words[rng.integers(len(words))] = token
            content = b"\n".join([*lines[:line], b" ".join(words), *lines[line + 1 :]])
    return content


def mutated_json(content: Any, rng: np.random.Generator) -> Any:
    """JSON content with one to three values replaced, removed or nested."""
    content = json.loads(json.dumps(content))
    for _ in range(rng.integers(1, 4)):
        places = list(_places(content))
        if not places:
            return VALUES[rng.integers(len(VALUES))]
        parent, key = places[rng.integers(len(places))]
        kind = rng.integers(4)
        if kind == 0:
            del parent[key]
        elif kind == 1:
            parent[key] = [parent[key]]
        else:
            parent[key] = VALUES[rng.integers(len(VALUES))]
    return content


def _places(content: Any) -> Iterator[tuple[Any, Any]]:
    items = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in list(items):
        yield content, key
        yield from _places(value)


@contextmanager
def limited() -> Iterator[None]:
    """End what takes too long, and fail if it has taken too much memory."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"more than {LIMIT_SECONDS} s")

    before, handler = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, signal.signal(signal.SIGALRM, stop)
    signal.alarm(LIMIT_SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, handler)
    added = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    if added > LIMIT_MEMORY:
        raise MemoryError(f"{added / 1e6:.1f} GB")


def fuzz(
    make: Callable[[np.random.Generator], Any],
    read: Callable[[Any], object],
    *,
    tries: int,
    seconds: float,
    seed: int,
    keep: Path,
) -> list[str]:
    """Give ``read`` what ``make`` makes until ``tries`` and ``seconds`` are over; return what it did that it must not.

    The inputs of findings are written to ``keep``.
    """
    findings, started, number = [], time.monotonic(), 0
    while number < tries or time.monotonic() - started < seconds:
        given = make(np.random.default_rng([seed, number]))
        try:
            with limited():
                read(given)
        except ClebschError:
            pass
        except Exception as error:
            findings.append(f"seed {seed}, input {number}: {type(error).__name__}: {str(error)[:200]}")
            keep.mkdir(parents=True, exist_ok=True)
            content = given if isinstance(given, bytes) else json.dumps(given, default=repr).encode()
            (keep / f"{seed}_{number}").write_bytes(content)
        number += 1
    return findings


def overrides(keys: Sequence[str], rng: np.random.Generator) -> list[str]:
    """Random changes of a recipe as a user types them."""
    found = []
    for _ in range(rng.integers(1, 4)):
        key = str(keys[rng.integers(len(keys))])
        token = TOKENS[rng.integers(len(TOKENS))].decode("utf-8", "replace")
        text = (
            mutated(f"{key}={token}".encode(), rng).decode("utf-8", "replace")
            if rng.random() < 0.5
            else f"{key}={token}"
        )
        found.append(text)
    return found
