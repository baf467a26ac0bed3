"""The convolution as PyTorch operators: two orders of derivatives by kernels, higher ones by composition."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from clebsch.errors import ClebschError
from clebsch.o3 import Irreps
from clebsch.ops.cpu.compile import REAL, CompiledKernel, channel_width, load_kernel
from clebsch.ops.cpu.convolution_kernels import ConvolutionProgram, emit_pool, emit_send
from clebsch.ops.cpu.threads import num_threads
from clebsch.ops.descriptors import ConvolutionDescriptor
from clebsch.ops.orders import find_neighborhoods
from clebsch.ops.radial_table import RadialTable
from clebsch.ops.registration import register

OPERANDS = "hYbR"  # features, harmonics, spline values of the edges, radial weights of the edges or spline table

_OPERANDS = "Tensor? h, Tensor Y, Tensor? b, Tensor R"
_DOTS = "Tensor? h_dot, Tensor? Y_dot, Tensor? b_dot, Tensor? R_dot"
_EDGES = "Tensor? rows, Tensor centers, Tensor neighbors, Tensor row_start, Tensor order, Tensor column_start"

Operands = Sequence[Any]  # h or None, Y, b or None, R
Edges = Sequence[Any]  # rows or None, centers, neighbors, row_start, order, column_start


def key_of(descriptor: ConvolutionDescriptor) -> str:
    """The descriptor as a string that an exported program can carry."""
    return f"{descriptor.features} {descriptor.l_max} {descriptor.targets} {descriptor.mixing}"


@lru_cache
def descriptor_of(key: str) -> ConvolutionDescriptor:
    """The descriptor of a key."""
    features, l_max, targets, mixing = key.split(" ")
    return ConvolutionDescriptor(Irreps(features), int(l_max), Irreps(targets), "sum" if mixing == "sum" else "linear")


@lru_cache
def _program(key: str, channels: int, dtype: torch.dtype, table: bool, constant: bool) -> ConvolutionProgram:
    return ConvolutionProgram(
        descriptor_of(key), channels, channel_width(channels, dtype), REAL[dtype], table, constant
    )


def _program_for(key: str, operands: Operands) -> ConvolutionProgram:
    h, _, b, R = operands
    return _program(key, R.shape[-1], R.dtype, b is not None, h is None)


@lru_cache
def _pool_kernel(program: ConvolutionProgram, dual: str) -> CompiledKernel:
    arguments = len(program.pool_arguments(bool(dual)))
    return load_kernel(
        f"convolution pool {dual}", program.signature, arguments, lambda name: emit_pool(program, name, dual)
    )


@lru_cache
def _send_kernel(program: ConvolutionProgram, dual: str, wanted: str) -> CompiledKernel:
    arguments = len(program.send_arguments(bool(dual)))
    kind = f"convolution send {dual or '-'} {wanted}"
    return load_kernel(kind, program.signature, arguments, lambda name: emit_send(program, name, dual, wanted))


def _letters(operands: Sequence[Tensor | None]) -> str:
    return "".join(letter for letter, operand in zip(OPERANDS, operands, strict=True) if operand is not None)


def _outputs(key: str, operands: Operands, edges: Edges) -> list[Tensor]:
    descriptor, R = descriptor_of(key), operands[3]
    atoms, channels = edges[3].shape[0] - 1, R.shape[-1]
    shapes = [(i.dim, atoms, m * channels) for i, m in zip(descriptor.output, descriptor.multiplicities, strict=True)]
    return [R.new_empty(shape) for shape in shapes]


def _convolution(key: str, *tensors: Tensor | None) -> list[Tensor]:
    return _pool(key, _contiguous(tensors[:4]), (), tensors[4:])


def _convolution_tangent(key: str, *tensors: Tensor | None) -> list[Tensor]:
    return _pool(key, _contiguous(tensors[:4]), _contiguous(tensors[4:8]), tensors[8:])


def _convolution_backward(key: str, wanted: str, G: list[Tensor], *tensors: Tensor | None) -> list[Tensor]:
    return _send(key, wanted, G, _contiguous(tensors[:4]), (), tensors[4:])


def _convolution_backward_tangent(key: str, wanted: str, G: list[Tensor], *tensors: Tensor | None) -> list[Tensor]:
    return _send(key, wanted, G, _contiguous(tensors[:4]), _contiguous(tensors[4:8]), tensors[8:])


def _contiguous(tensors: Sequence[Tensor | None]) -> tuple:
    return tuple(None if tensor is None else tensor.contiguous() for tensor in tensors)


def _pool(key: str, operands: Operands, dots: tuple, edges: Edges) -> list[Tensor]:
    """Value, or the derivative along ``dots``."""
    outputs = _outputs(key, operands, edges)
    rows, _, neighbors, row_start, _, _ = edges
    program, atoms = _program_for(key, operands), row_start.shape[0] - 1
    h, Y, b, R = operands
    kernel = _pool_kernel(program, _letters(dots) if dots else "")
    dotted = () if not dots else (dots[0], dots[1], dots[3], dots[2])
    threads = num_threads(atoms, _work(program, neighbors))
    kernel(atoms, [h, Y, R, b, *dotted, *outputs, rows, neighbors, row_start, atoms], threads=threads)
    return outputs


def _send(key: str, wanted: str, G: list[Tensor], operands: Operands, dots: tuple, edges: Edges) -> list[Tensor]:
    """Gradients by the operands in ``wanted``, of the value or of its derivative along ``dots``."""
    h, Y, b, R = operands
    rows, centers, _, _, order, column_start = edges
    program, atoms = _program_for(key, operands), column_start.shape[0] - 1
    threads = num_threads(atoms, _work(program, centers))
    gradients = {
        letter: torch.empty_like(x) for letter, x in zip(OPERANDS, operands) if letter in wanted and x is not None
    }
    tables: Tensor | tuple[Tensor, int] | None = gradients.get("R")
    if "R" in wanted and program.table:
        tables = (R.new_zeros(threads, *R.shape), R.numel())
    kernel = _send_kernel(program, _letters(dots) if dots else "", wanted)
    dotted = () if not dots else (dots[0], dots[1], dots[3], dots[2])
    found = [gradients.get("h"), gradients.get("Y"), tables, gradients.get("b")]
    upstream = [g.contiguous() for g in G]
    kernel(atoms, [h, Y, R, b, *dotted, *found, *upstream, rows, centers, order, column_start, atoms], threads=threads)
    if isinstance(tables, tuple):
        gradients["R"] = tables[0][0] if threads == 1 else tables[0].sum(0)
    return [gradients[letter] for letter in wanted]


def _work(program: ConvolutionProgram, edges: Tensor) -> float:
    """Operations of one pass."""
    return 2.0 * program.num_entries * program.channels * edges.shape[0]


def _fake_outputs(key: str, *tensors: Tensor | None) -> list[Tensor]:
    return _outputs(key, tensors[:4], tensors[-6:])


def _fake_gradients(key: str, wanted: str, G: list[Tensor], *tensors: Tensor | None) -> list[Tensor]:
    return [torch.empty_like(x) for letter, x in zip(OPERANDS, tensors[:4]) if letter in wanted and x is not None]


# Autograd ---------------------------------------------------------------------------------------------------------
# All operands enter linearly, so that the derivative of every operator is made of these operators.


def _upstream(grads: Sequence[Tensor | None], key: str, operands: Operands, edges: Edges) -> list[Tensor]:
    if all(grad is not None for grad in grads):
        return list(grads)  # type: ignore[arg-type]
    shapes = _outputs(key, operands, edges)
    return [torch.zeros_like(shape) if grad is None else grad for grad, shape in zip(grads, shapes, strict=True)]


def _wanted(needed: Sequence[Sequence[bool]]) -> str:
    return "".join(letter for letter, (need,) in zip(OPERANDS, needed, strict=True) if need)


def _spread(wanted: str, values: Sequence[Tensor | None]) -> list[Tensor | None]:
    """One value per operand, None for those not wanted."""
    found = dict(zip(wanted, values, strict=True))
    return [found.get(letter) for letter in OPERANDS]


def _backward_of_convolution(texts: tuple, arguments: list, grads: list, needed: list) -> list:
    (key,), operands, edges = texts, arguments[:4], arguments[4:]
    wanted = _wanted(needed[:4])
    upstream = _upstream(grads, key, operands, edges)
    found = convolution_backward(key, wanted, upstream, *operands, *edges) if wanted else []
    return [*_spread(wanted, found), *[None] * 6]


def _backward_of_backward(texts: tuple, arguments: list, grads: list, needed: list) -> list:
    (key, wanted), (G, *operands), edges = texts, arguments[:5], arguments[5:]
    dots = _spread(wanted, grads)
    needs_upstream, again = any(needed[0]), _wanted(needed[1:5])
    by_upstream: list[Tensor] | None = None
    by_operands: list[list[Tensor | None]] = []
    if operands[2] is not None and dots[3] is not None:  # the derivative along the table is the value with another
        replaced, dots = (*operands[:3], dots[3]), [*dots[:3], None]
        by_upstream = convolution(key, *replaced, *edges) if needs_upstream else None
        rest = again.replace("R", "")
        if rest:
            by_operands.append(_spread(rest, convolution_backward(key, rest, G, *replaced, *edges)))
    if any(dot is not None for dot in dots):
        if needs_upstream:
            found = convolution_tangent(key, *operands, *dots, *edges)
            by_upstream = found if by_upstream is None else [a + b for a, b in zip(by_upstream, found, strict=True)]
        if again:
            found = convolution_backward_tangent(key, again, G, *operands, *dots, *edges)
            by_operands.append(_spread(again, found))
    sums = [_sum(parts) for parts in zip(*by_operands)] if by_operands else [None] * 4
    return [by_upstream, *sums, *[None] * 6]


def _sum(parts: Sequence[Tensor | None]) -> Tensor | None:
    present = [part for part in parts if part is not None]
    return None if not present else present[0] if len(present) == 1 else present[0] + present[1]


def _replaced(operands: Sequence[Any], dots: Sequence[Any]) -> list[tuple[str, list[Any]]]:
    """The operands with one of them replaced by its direction, for every direction there is."""
    return [
        (letter, [dot if place == index else x for place, x in enumerate(operands)])
        for index, (letter, dot) in enumerate(zip(OPERANDS, dots, strict=True))
        if dot is not None
    ]


def _backward_of_tangent(texts: tuple, arguments: list, grads: list, needed: list) -> list:
    """The derivative along directions is a sum of values; that sum is differentiated."""
    (key,), inputs, edges = texts, arguments[:8], arguments[8:]
    with torch.enable_grad():
        terms = [convolution(key, *x, *edges) for _, x in _replaced(inputs[:4], inputs[4:])]
        outputs = [torch.stack(parts).sum(0) for parts in zip(*terms, strict=True)]
    return [*_differentiate(outputs, grads, inputs, [need for (need,) in needed[:8]]), *[None] * 6]


def _backward_of_backward_tangent(texts: tuple, arguments: list, grads: list, needed: list) -> list:
    """Likewise, a sum of gradients of values; what is replaced by its direction has none."""
    (key, wanted), (G, *inputs), edges = texts, arguments[:9], arguments[9:]
    with torch.enable_grad():
        totals: dict[str, Tensor] = {}
        for letter, replaced in _replaced(inputs[:4], inputs[4:]):
            rest = wanted.replace(letter, "")
            found = convolution_backward(key, rest, G, *replaced, *edges) if rest else []
            for name, value in zip(rest, found, strict=True):
                totals[name] = totals[name] + value if name in totals else value
        zeros = dict(zip(OPERANDS, inputs, strict=False))
        outputs = [totals[name] if name in totals else torch.zeros_like(zeros[name]) for name in wanted]
    needs = [*needed[0], *(need for (need,) in needed[1:9])]
    found = _differentiate(outputs, grads, [*G, *inputs], needs)
    return [found[: len(G)], *found[len(G) :], *[None] * 6]


def _differentiate(
    outputs: list[Tensor], grads: list[Tensor | None], inputs: Sequence[Any], needed: Sequence[bool]
) -> list[Tensor | None]:
    """Gradients of composed outputs by those inputs that need one."""
    places = [i for i, (x, need) in enumerate(zip(inputs, needed, strict=True)) if need and x is not None]
    pairs = [(o, g) for o, g in zip(outputs, grads, strict=True) if g is not None and o.requires_grad]
    result: list[Tensor | None] = [None] * len(inputs)
    if places and pairs:
        found = torch.autograd.grad(
            [o for o, _ in pairs],
            [inputs[place] for place in places],
            [g for _, g in pairs],
            create_graph=torch.is_grad_enabled(),
            allow_unused=True,
        )
        for place, value in zip(places, found, strict=True):
            result[place] = value
    return result


convolution = register(
    f"convolution(str key, {_OPERANDS}, {_EDGES}) -> Tensor[]", _convolution, _fake_outputs, _backward_of_convolution
)
convolution_tangent = register(
    f"convolution_tangent(str key, {_OPERANDS}, {_DOTS}, {_EDGES}) -> Tensor[]",
    _convolution_tangent,
    _fake_outputs,
    _backward_of_tangent,
)
convolution_backward = register(
    f"convolution_backward(str key, str wanted, Tensor[] G, {_OPERANDS}, {_EDGES}) -> Tensor[]",
    _convolution_backward,
    _fake_gradients,
    _backward_of_backward,
)
convolution_backward_tangent = register(
    f"convolution_backward_tangent(str key, str wanted, Tensor[] G, {_OPERANDS}, {_DOTS}, {_EDGES}) -> Tensor[]",
    _convolution_backward_tangent,
    _fake_gradients,
    _backward_of_backward_tangent,
)


class Convolution(nn.Module):
    """The convolution of :class:`~clebsch.ops.ConvolutionDescriptor`, in one pass over the edges.

    Args:
        descriptor: what is coupled with what.
        dtype: of the arithmetic.
    """

    def __init__(self, descriptor: ConvolutionDescriptor, dtype: torch.dtype) -> None:
        super().__init__()
        self.descriptor, self.dtype = descriptor, dtype
        self.key = key_of(descriptor)
        self.without_features = descriptor.features == Irreps("0e")

    def forward(
        self,
        features: Tensor | None,
        harmonics: Tensor,
        weights: Tensor | RadialTable,
        centers: Tensor,
        neighbors: Tensor,
        num_atoms: int,
    ) -> tuple[Tensor, ...]:
        """Couple, weight and pool; arguments and result as in the reference backend."""
        if features is None and not self.without_features:
            raise ClebschError(
                f"features: expected a tensor with the irreps '{self.descriptor.features}', got None; "
                "only a convolution of '0e' does without"
            )
        found = find_neighborhoods(centers, neighbors, num_atoms)
        if found is None:
            order = torch.argsort(centers, stable=True)
            harmonics, weights = harmonics[order], weights[order]
            return self(features, harmonics, weights, centers[order], neighbors[order], num_atoms)
        rows, basis, radial = None, None, weights
        if isinstance(weights, RadialTable):
            rows, basis, radial = weights.index, weights.basis, weights.table
        edges = (rows, centers, neighbors, *found)
        return tuple(convolution(self.key, features, harmonics, basis, radial, *edges))
