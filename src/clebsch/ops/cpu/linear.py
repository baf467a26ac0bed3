"""Kernels of equivariant linear maps."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from clebsch.ops.cpu.compile import REAL, CompiledKernel, channel_width, load_kernel
from clebsch.ops.cpu.linear_kernels import JOB, SLOTS, LinearProgram, emit_linear
from clebsch.ops.cpu.threads import num_threads
from clebsch.ops.operators import linear as operators
from clebsch.ops.operators.linear import descriptor_of, empty_inputs, empty_weights
from clebsch.ops.operators.operator import implement


@lru_cache
def _kernel(kind: str, by_element: bool, channels: int, dtype: torch.dtype) -> CompiledKernel:
    program = LinearProgram(kind, by_element, channel_width(channels, dtype), REAL[dtype])
    count = len(program.arguments)
    return load_kernel(f"linear {kind}", program.signature, count, lambda name: emit_linear(program, name))


@lru_cache
def jobs_of(key: str, form: str, dtype: torch.dtype) -> tuple[Tensor, Tensor, int]:
    """Return the jobs of a map (`linear_kernels.JOB`), the factors of its matrices, and multiplications per atom."""
    descriptor, jobs, seen = descriptor_of(key), [], set()
    for (first_out, dim), source in zip(descriptor.places_out, descriptor.sources, strict=True):
        if source is not None:
            place, first_in = (0, descriptor.places_in[source][0]) if form == "packed" else (source, 0)
            again = int(source in seen)
            widths = descriptor.channels_in[source], descriptor.channels
            jobs.append([place, len(jobs), first_in, first_out, dim, *widths, again, 0])
            seen.add(source)
    table = torch.tensor(jobs, dtype=torch.int64).reshape(-1, len(JOB))
    work = int((table[:, 4] * table[:, 5]).sum()) * descriptor.channels
    return table, torch.tensor(descriptor.scales, dtype=dtype), work


def _run(
    kind: str, key: str, form: str, x: Sequence[Tensor], W: Sequence[Tensor], result: Tensor, *groups: Tensor | None
) -> None:
    """Run a kernel, which reads two of inputs, matrices and result, and writes the third."""
    order, start = groups
    jobs, scales, work = jobs_of(key, form, result.dtype)
    atoms, channels = result.shape[1:]
    addresses = [(ctypes.c_int64 * len(part))(*[tensor.data_ptr() for tensor in part]) for part in (x, W)]
    items = SLOTS if kind == "weights" else atoms
    elements = 1 if start is None else start.shape[0] - 1
    sizes = [len(jobs), atoms, atoms, atoms, elements]
    operands = [jobs, *map(ctypes.addressof, addresses), scales, result, order, start, *sizes]
    kernel = _kernel(kind, start is not None, channels, result.dtype)
    kernel(items, operands, threads=num_threads(items, 2.0 * work * atoms))


def _value(key: str, form: str, x: list[Tensor], W: list[Tensor], *groups: Tensor | None) -> Tensor:
    descriptor = descriptor_of(key)
    result = x[0].new_empty(descriptor.components, x[0].shape[1], descriptor.channels)
    if None in descriptor.sources:
        result.zero_()
    _run("value", key, form, _contiguous(x), _contiguous(W), result, *groups)
    return result


def _transposed(key: str, form: str, g: Tensor, W: list[Tensor], *groups: Tensor | None) -> list[Tensor]:
    results = empty_inputs(key, form, g)
    if not set(descriptor_of(key).sources).issuperset(range(len(descriptor_of(key).irreps_in))):
        for part in results:
            part.zero_()
    _run("transposed", key, form, results, _contiguous(W), g.contiguous(), *groups)
    return results


def _weights(key: str, form: str, x: list[Tensor], g: Tensor, *groups: Tensor | None) -> list[Tensor]:
    found = empty_weights(key, g, groups[-1])
    _run("weights", key, form, _contiguous(x), found, g.contiguous(), *groups)
    return found


def _contiguous(tensors: Sequence[Tensor]) -> list[Tensor]:
    return [tensor.contiguous() for tensor in tensors]


implement(operators.linear, "cpu", _value)
implement(operators.linear_transposed, "cpu", _transposed)
implement(operators.linear_weights, "cpu", _weights)
