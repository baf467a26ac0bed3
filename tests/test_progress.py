"""What a long calculation says, and what of it is kept."""

from __future__ import annotations

from pathlib import Path

import pytest

import clebsch.progress
from clebsch.errors import OutputError
from clebsch.progress import as_clock, progress, say
from clebsch.run.log import LoggedConsole
from small_runs import Lines


class FakeTime:
    now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeTime:
    fake = FakeTime()
    monkeypatch.setattr(clebsch.progress, "time", fake)
    return fake


def said(lines: Lines) -> list[str]:
    return lines.file.getvalue().splitlines()  # type: ignore[attr-defined]


def test_what_takes_long_says_how_far_it_is(clock: FakeTime):
    """The first line after three seconds, then one every ten; one second for each item."""
    lines, done = Lines(), []
    for item in progress(lines, range(25), "files", 25):
        done.append(item)
        clock.now += 1.0
    assert done == list(range(25))
    assert said(lines) == ["files: 3 of 25, 0:22 left", "files: 13 of 25, 0:12 left", "files: 23 of 25, 0:02 left"]


def test_what_is_done_soon_says_nothing(clock: FakeTime):
    lines = Lines()
    for _ in progress(lines, range(1000), "files", 1000):
        clock.now += 0.002
    assert said(lines) == [] and list(progress(None, "ab", "letters", 2)) == ["a", "b"]


def test_a_clock():
    assert [as_clock(seconds) for seconds in (0, 59.6, 125, 3725)] == ["0:00", "1:00", "2:05", "1:02:05"]


def test_a_log_has_what_was_said_before_there_was_a_file(tmp_path: Path):
    lines = Lines()
    for word in ("first", "second"):
        console = LoggedConsole(lines)
        say(console, f"{word} [a]")
        console.keep_in(tmp_path / "train.log")
        say(console, "more")
    log = (tmp_path / "train.log").read_text().splitlines()
    assert [line for line in log if not line.startswith("#")] == ["first [a]", "more", "second [a]", "more"]
    assert said(lines) == ["first [a]", "more", "second [a]", "more"]
    assert [number for number, line in enumerate(log) if line.startswith("# 20")] == [0, 3]
    with pytest.raises(OutputError, match="cannot be written"):
        LoggedConsole(lines).keep_in(tmp_path)
