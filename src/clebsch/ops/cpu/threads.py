"""Threads of the kernels: those of PyTorch's OpenMP runtime, so that two pools never wait for each other."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, lru_cache
from typing import Any

import torch

# A forked process has none of OpenMP's threads and would wait for them for ever, in PyTorch's operations too.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: torch.set_num_threads(1))

_CALL = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
_NUMBER = ctypes.CFUNCTYPE(ctypes.c_int)


def num_threads(items: int, work: float = 1e6) -> int:
    """Threads worth using: at most torch.get_num_threads(), one per item, and one per 20,000 operations of ``work``."""
    return max(1, min(torch.get_num_threads(), items, int(work / 2e4)))


def run_threads(function: int, data: Sequence[int], threads: int) -> None:
    """Call the function at an address with an array of 64-bit integers on several threads at once.

    Args:
        function: address of ``void f(int64*)``.
        data: the integers; numbers 2 and 3 become the addresses of functions that return the number of the calling
            thread and how many there are.
        threads: how many; they are OpenMP's where its library is found, else those of a pool.
    """
    array = (ctypes.c_int64 * len(data))(*data)
    if threads == 1:
        _callable(function)(ctypes.addressof(array))
        return
    openmp = _openmp()
    if openmp is None:
        _run_pool(function, data, threads)
        return
    array[2], array[3] = openmp.number, openmp.team
    openmp.parallel(function, ctypes.addressof(array), threads, 0)


@cache
def _callable(function: int) -> Any:
    return _CALL(function)


class _OpenMP:
    """The functions of an OpenMP runtime that are needed."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self.parallel = library.GOMP_parallel
        self.parallel.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]
        self.parallel.restype = None
        self.number = _address(library.omp_get_thread_num)
        self.team = _address(library.omp_get_num_threads)


@lru_cache
def _openmp() -> _OpenMP | None:
    """The runtime that PyTorch has loaded, or None where it has no such functions."""
    for name in ("libgomp.so.1", None):
        try:
            return _OpenMP(ctypes.CDLL(name))
        except (OSError, AttributeError):
            continue
    return None


def _address(function: Any) -> int:
    return ctypes.cast(function, ctypes.c_void_p).value or 0


@lru_cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="clebsch")


def _run_pool(function: int, data: Sequence[int], threads: int) -> None:
    def run(thread: int) -> None:
        number, team = _NUMBER(lambda: thread), _NUMBER(lambda: threads)
        array = (ctypes.c_int64 * len(data))(*data)
        array[2], array[3] = _address(number), _address(team)
        _callable(function)(ctypes.addressof(array))

    list(_pool(threads).map(run, range(threads)))
