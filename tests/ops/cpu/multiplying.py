"""A kernel to try the compiler and its cache on."""

from __future__ import annotations

from collections.abc import Callable

import torch

from clebsch.ops.cpu.compile import load_kernel
from clebsch.ops.cpu.emit import Kernel


def multiplying(name: str, factor: int = 2) -> str:
    """x[i] *= factor for every item."""
    kernel = Kernel(name, "double", 1, {"x": "real*"})
    with kernel.loop(kernel["start"], kernel["stop"]) as item:
        number = kernel.load_number(kernel["x"], item)
        kernel.store_number(kernel.mul(number, kernel.number(float(factor))), kernel["x"], item)
    return kernel.finish()


def run(emit: Callable[[str], str] = multiplying, signature: bytes = b"2", threads: int = 1) -> list[float]:
    x = torch.arange(5, dtype=torch.float64)
    load_kernel("multiplying", signature, 1, emit)(5, [x], threads=threads)
    return x.tolist()


DOUBLED, TRIPLED = [0.0, 2.0, 4.0, 6.0, 8.0], [0.0, 3.0, 6.0, 9.0, 12.0]


def never(name: str) -> str:
    """An emitter for kernels that must be found."""
    raise AssertionError(f"{name} is compiled again")
