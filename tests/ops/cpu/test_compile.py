"""Compiled kernels: kept on disk, shared by processes, threads."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from clebsch.ops.cpu import compile as compiler
from clebsch.ops.cpu.compile import channel_width, load_kernel
from clebsch.ops.cpu.emit import Kernel

PROGRAM = """
import torch
from clebsch.ops import get_backend
vectors = torch.tensor([[0.3, -0.2, 0.9]], dtype=torch.float64)
print(get_backend("cpu").spherical_harmonics(2, torch.float64)(vectors).sum().item())
"""


def doubling(name: str) -> str:
    """x[i] += x[i] for every item."""
    kernel = Kernel(name, "double", 1, {"x": "real*"})
    with kernel.loop(kernel["start"], kernel["stop"]) as item:
        number = kernel.load_number(kernel["x"], item)
        kernel.store_number(kernel.add(number, number), kernel["x"], item)
    return kernel.finish()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("CLEBSCH_CACHE", str(tmp_path))
    compiler.cache_directory.cache_clear()
    yield tmp_path / "kernels"
    compiler.cache_directory.cache_clear()


def run_program(**environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env={**os.environ, **environment}, capture_output=True, text=True, check=True
    )
    return done.stdout


def test_a_kernel_is_compiled_once(cache: Path):
    asked: list[str] = []

    def emit(name: str) -> str:
        asked.append(name)
        return doubling(name)

    for _ in range(2):
        x = torch.arange(5, dtype=torch.float64)
        load_kernel("doubling, once", 1, emit)(5, [x])
        assert x.tolist() == [0.0, 2.0, 4.0, 6.0, 8.0]
    assert len(asked) == 1 and [path.suffix for path in cache.iterdir()] == [".o"]


def test_another_processor_or_source_compiles_again(cache: Path, monkeypatch: pytest.MonkeyPatch):
    load_kernel("doubling, again", 1, doubling)
    monkeypatch.setattr(compiler, "_fingerprint", lambda: "another one")
    load_kernel("doubling, again", 1, doubling)
    assert len(list(cache.iterdir())) == 2


@pytest.mark.parametrize("threads", [2, 3, 8])
def test_every_item_is_done_once(cache: Path, threads: int):
    x = torch.ones(5, dtype=torch.float64)
    load_kernel("doubling, threads", 1, doubling)(5, [x], threads=threads)
    assert x.tolist() == [2.0] * 5


def test_without_openmp_a_pool_runs_the_threads(cache: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("clebsch.ops.cpu.threads._openmp", lambda: None)
    x = torch.ones(5, dtype=torch.float64)
    load_kernel("doubling, pool", 1, doubling)(5, [x], threads=3)
    assert x.tolist() == [2.0] * 5


def test_processes_at_once_share_the_cache(tmp_path: Path):
    command = [sys.executable, "-c", PROGRAM]
    environment = {**os.environ, "CLEBSCH_CACHE": str(tmp_path)}
    processes = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    outputs = {process.communicate()[0] for process in processes}
    assert len(outputs) == 1 and all(process.returncode == 0 for process in processes)
    assert [path.suffix for path in (tmp_path / "kernels").iterdir()] == [".o"]


def test_a_cache_that_cannot_be_written(tmp_path: Path):
    """A home that is a file stands for one that is read-only, also for root."""
    blocked = tmp_path / "file"
    blocked.touch()
    expected = run_program(CLEBSCH_CACHE=str(tmp_path / "cache"))
    environment = {"HOME": str(blocked), "XDG_CACHE_HOME": str(blocked / "cache"), "CLEBSCH_CACHE": ""}
    assert run_program(**environment, TMPDIR=str(tmp_path)) == expected


def test_width_of_vectors():
    widest = compiler.vector_bytes() // 4
    assert channel_width(128, torch.float32) == widest and channel_width(128, torch.float64) == widest // 2
    assert channel_width(6, torch.float32) == 2 and channel_width(5, torch.float64) == 1
