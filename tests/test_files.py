"""Files appear whole or not at all."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from clebsch.errors import OutputError
from clebsch.files import remove_unfinished, replacing, write_file, write_json


def test_text_bytes_and_json(tmp_path: Path):
    assert write_file(tmp_path / "new" / "a.txt", "Å\n").read_text(encoding="utf-8") == "Å\n"
    assert write_file(str(tmp_path / "new" / "a.txt"), b"\x00\n").read_bytes() == b"\x00\n"
    assert json.loads(write_json(tmp_path / "a.json", {"x": [1.5, None]}).read_text()) == {"x": [1.5, None]}
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a.json", "a.txt", "new"]
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "a.json", float("nan"))


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_failed_write_keeps_the_old_file(failing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = write_file(tmp_path / "a", "old")

    def fail(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr(os, failing, fail)
    with pytest.raises(OutputError, match=r"a' cannot be written \(No space left on device\). Give a folder"):
        write_file(path, "new")
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_a_folder_that_cannot_be_made(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"file.a' cannot be written \((Not a directory|File exists)\)"):
        write_file(tmp_path / "file" / "a", "text")


def test_the_old_file_is_kept_under_another_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path, previous = tmp_path / "a", tmp_path / "a.previous"
    for content in ("first", "second", "third"):
        write_file(path, content, previous)
    assert (path.read_text(), previous.read_text()) == ("third", "second")

    def fail(*_):
        raise OSError("No space left on device")

    for failing in ("fsync", "replace"):
        with monkeypatch.context() as patch, pytest.raises(OutputError):
            patch.setattr(os, failing, fail)
            write_file(path, "fourth", previous)
        assert (path.read_text(), previous.read_text()) == ("third", "second")


def test_what_killed_writers_left(tmp_path: Path):
    for name in (".a.json.12.tmp", ".a.json.13.tmp", ".b.json.12.tmp", "a.json"):
        (tmp_path / name).touch()
    remove_unfinished(tmp_path, ["a.json", "absent"])
    assert sorted(path.name for path in tmp_path.iterdir()) == [".b.json.12.tmp", "a.json"]


def test_a_block_that_fails_leaves_nothing(tmp_path: Path):
    with pytest.raises(KeyError), replacing(tmp_path / "a") as file:
        file.write(b"half")
        raise KeyError
    assert list(tmp_path.iterdir()) == []
