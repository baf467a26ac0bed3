"""Folders of compiled kernels that no other test has seen."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from clebsch.ops.cpu import cache as files
from clebsch.ops.cpu import compile as compiler


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with a temporary folder in it, no cache named, a process that has said and loaded nothing yet."""
    monkeypatch.delenv("CLEBSCH_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    files._warn_once.cache_clear()
    files._private_folder.cache_clear()
    engines = []  # one for every kernel: an engine takes the symbol that it has loaded for one of the same name

    def fresh_engine():
        module = compiler.llvm.parse_assembly("")
        engines.append(compiler.llvm.create_mcjit_compiler(module, compiler._machine.__wrapped__()))
        return engines[-1]

    monkeypatch.setattr(compiler, "_engine", fresh_engine)
    return tmp_path / "home"


@pytest.fixture
def cache(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of kernels in a $CLEBSCH_CACHE that is empty."""
    monkeypatch.setenv("CLEBSCH_CACHE", str(tmp_path / "named"))
    return tmp_path / "named" / "kernels"
