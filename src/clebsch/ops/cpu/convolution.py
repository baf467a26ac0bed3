"""Kernels of the convolution and of its derivatives."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from clebsch.ops.cpu.compile import REAL, CompiledKernel, channel_width, load_kernel
from clebsch.ops.cpu.convolution_kernels import ConvolutionProgram, emit_pool, emit_send
from clebsch.ops.cpu.threads import num_threads
from clebsch.ops.operators import convolution as operators
from clebsch.ops.operators.convolution import COUNT, OPERANDS, Operands, descriptor_of, empty_outputs
from clebsch.ops.operators.operator import implement

Indices = Sequence[Tensor | None]  # rows or None, centers, neighbors, center_start, by_neighbor, neighbor_start


@lru_cache
def _program(key: str, channels: int, dtype: torch.dtype, table: bool, constant: bool) -> ConvolutionProgram:
    return ConvolutionProgram(
        descriptor_of(key), channels, channel_width(channels, dtype), REAL[dtype], table, constant
    )


def _program_of(key: str, operands: Operands) -> ConvolutionProgram:
    h, _, R, b = operands
    assert R is not None
    return _program(key, R.shape[-1], R.dtype, b is not None, h is None)


@lru_cache
def _pool_kernel(program: ConvolutionProgram, along: str) -> CompiledKernel:
    arguments = len(program.pool_arguments(bool(along)))
    return load_kernel(
        f"convolution pool {along}", program.signature, arguments, lambda name: emit_pool(program, name, along)
    )


@lru_cache
def _send_kernel(program: ConvolutionProgram, along: str, which: str) -> CompiledKernel:
    arguments = len(program.send_arguments(bool(along)))
    kind = f"convolution send {along or '-'} {which}"
    return load_kernel(kind, program.signature, arguments, lambda name: emit_send(program, name, along, which))


def _value(key: str, *tensors: Tensor | None) -> list[Tensor]:
    return _pool(key, _contiguous(tensors[:COUNT]), (), tensors[COUNT:])


def _along(key: str, *tensors: Tensor | None) -> list[Tensor]:
    return _pool(key, _contiguous(tensors[:COUNT]), _contiguous(tensors[COUNT : 2 * COUNT]), tensors[2 * COUNT :])


def _gradient(key: str, which: str, G: list[Tensor], *tensors: Tensor | None) -> list[Tensor]:
    return _send(key, which, G, _contiguous(tensors[:COUNT]), (), tensors[COUNT:])


def _gradient_along(key: str, which: str, G: list[Tensor], *tensors: Tensor | None) -> list[Tensor]:
    directions = _contiguous(tensors[COUNT : 2 * COUNT])
    return _send(key, which, G, _contiguous(tensors[:COUNT]), directions, tensors[2 * COUNT :])


def _contiguous(tensors: Operands) -> tuple[Tensor | None, ...]:
    return tuple([None if tensor is None else tensor.contiguous() for tensor in tensors])


def _letters(directions: Operands) -> str:
    return "".join([letter for letter, x in zip(OPERANDS, directions) if x is not None])


def _pool(key: str, operands: Operands, directions: Operands, indices: Indices) -> list[Tensor]:
    """A, or its derivative along ``directions``."""
    outputs = empty_outputs(key, operands, indices)
    rows, _, neighbors, center_start, _, neighbor_start = indices
    assert neighbors is not None and center_start is not None and neighbor_start is not None
    program = _program_of(key, operands)
    targets, sources = center_start.shape[0] - 1, neighbor_start.shape[0] - 1
    kernel = _pool_kernel(program, _letters(directions))
    threads = num_threads(targets, _work(program, neighbors))
    tensors = [*operands, *directions, *outputs, rows, neighbors, center_start, targets, sources]
    kernel(targets, tensors, threads=threads)
    return outputs


def _send(
    key: str, which: str, G: list[Tensor], operands: Operands, directions: Operands, indices: Indices
) -> list[Tensor]:
    """Gradients by the operands in ``which``, of Φ or of its derivative along ``directions``."""
    rows, centers, _, center_start, by_neighbor, neighbor_start = indices
    assert centers is not None and center_start is not None and neighbor_start is not None
    program, table = _program_of(key, operands), operands[2]
    targets, sources = center_start.shape[0] - 1, neighbor_start.shape[0] - 1
    threads = num_threads(sources, _work(program, centers))
    found = {letter: torch.empty_like(x) for letter, x in zip(OPERANDS, operands) if letter in which and x is not None}
    tables = None
    if "R" in which and program.table:  # every thread adds to a table of its own
        assert table is not None
        tables = table.new_zeros(threads, *table.shape)
    results = [found.get(letter) for letter in OPERANDS]
    if tables is not None:
        results[2] = (tables, tables[0].numel())  # type: ignore[call-overload]
    kernel = _send_kernel(program, _letters(directions), which)
    upstream = [part.contiguous() for part in G]
    tensors = [*operands, *directions, *results, *upstream, rows, centers, by_neighbor, neighbor_start]
    kernel(sources, [*tensors, targets, sources], threads=threads)
    if tables is not None:
        found["R"] = tables[0] if threads == 1 else tables.sum(0)
    return [found[letter] for letter in which]


def _work(program: ConvolutionProgram, edges: Tensor) -> float:
    """Operations of one pass."""
    return 2.0 * program.num_entries * program.channels * edges.shape[0]


implement(operators.convolution, "cpu", _value)
implement(operators.convolution_along, "cpu", _along)
implement(operators.convolution_gradient, "cpu", _gradient)
implement(operators.convolution_gradient_along, "cpu", _gradient_along)
