"""Kernels of the product basis and of its derivatives."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from clebsch.ops.cpu.compile import REAL, CompiledKernel, channel_width, load_kernel
from clebsch.ops.cpu.product_basis_kernels import ProductBasisProgram, emit_product_basis
from clebsch.ops.cpu.threads import num_threads
from clebsch.ops.operators import product_basis as operators
from clebsch.ops.operators.operator import implement
from clebsch.ops.operators.product_basis import descriptor_of, num_outputs

Atoms = Sequence[Tensor]  # species, order, start


@lru_cache
def _kernel(
    key: str, kind: str, along: bool, channels: int, dtype: torch.dtype
) -> tuple[CompiledKernel, Tensor, Tensor]:
    """The kernel, its tables and the couplings."""
    width = channel_width(channels, dtype)
    program = ProductBasisProgram(descriptor_of(key), kind, along, channels, width, REAL[dtype])
    compiled = load_kernel(
        "product basis", program.signature, len(program.arguments), lambda name: emit_product_basis(program, name)
    )
    tables, _, couplings = program.tables
    return compiled, torch.from_numpy(tables), torch.from_numpy(couplings).to(dtype)


def _run(
    key: str, kind: str, x: Sequence[Tensor], x_dot: Sequence[Tensor], others: Sequence[Tensor], atoms: Atoms
) -> None:
    """Run a kernel; ``others`` are what it reads and writes besides the variables."""
    _, order, start = atoms
    channels, count = x[0].shape[2], order.shape[0]
    kernel, tables, couplings = _kernel(key, kind, bool(x_dot), channels, x[0].dtype)
    items = channels // channel_width(channels, x[0].dtype) if kind == "weights" else count
    threads = num_threads(items, 4.0 * len(couplings) * channels * count)
    operands = [*x, *x_dot, *others, couplings, order, start, tables, count, start.shape[0] - 1]
    kernel(items, operands, threads=threads)


def _value(key: str, x: list[Tensor], w: Tensor, *atoms: Tensor) -> Tensor:
    return _along(key, x, [], w, *atoms)


def _along(key: str, x: list[Tensor], x_dot: list[Tensor], w: Tensor, *atoms: Tensor) -> Tensor:
    B = x[0].new_empty(num_outputs(key), *x[0].shape[1:])
    _run(key, "value", _contiguous(x), _contiguous(x_dot), [w.contiguous(), B], atoms)
    return B


def _gradient(key: str, which: str, G: Tensor, x: list[Tensor], w: Tensor, *atoms: Tensor) -> list[Tensor]:
    return _gradient_along(key, which, G, x, [], w, *atoms)


def _gradient_along(
    key: str, which: str, G: Tensor, x: list[Tensor], x_dot: list[Tensor], w: Tensor, *atoms: Tensor
) -> list[Tensor]:
    x, x_dot, G = _contiguous(x), _contiguous(x_dot), G.contiguous()
    found = []
    if "x" in which:
        found += [torch.empty_like(factor) for factor in x]
        _run(key, "gradient", x, x_dot, [w.contiguous(), G, *found], atoms)
    if "w" in which:
        found.append(torch.zeros_like(w, memory_format=torch.contiguous_format))
        _run(key, "weights", x, x_dot, [found[-1], G], atoms)
    return found


def _contiguous(tensors: Sequence[Tensor]) -> list[Tensor]:
    return [tensor.contiguous() for tensor in tensors]


implement(operators.product_basis, "cpu", _value)
implement(operators.product_basis_along, "cpu", _along)
implement(operators.product_basis_gradient, "cpu", _gradient)
implement(operators.product_basis_gradient_along, "cpu", _gradient_along)
