r"""The channel-wise convolution: the operators and their derivatives.

Everything is a partial derivative of one form that is linear in each of its operands,

.. math:: \Phi(G, h, Y, R) = \sum_e \sum_{p k} R_{e,pk} \sum_{m_1 m_2 m_3}
          C^{l_1 l_2 l_3}_{m_1 m_2 m_3} G_{i,pk,m_3} Y_{e,l_2 m_2} h_{j,k,m_1},

or of its derivative along a direction of the operands. Operands are, in this order, the features h (None for h = 1),
the harmonics Y, the radial weights R of every edge or the spline table T, and the spline values b of every edge (None
without a table): with a table, R_e = Σ_s b_es T_(n_e + s). Four operators are closed under differentiation: the value
∂Φ/∂G and the gradients ∂Φ/∂(h, Y, R, b), each as it is and along a direction.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from clebsch.o3 import Irreps
from clebsch.ops.descriptors import ConvolutionDescriptor
from clebsch.ops.edges import Edges
from clebsch.ops.operators.operator import Operator
from clebsch.ops.radial_table import RadialTable
from clebsch.ops.reference.convolution import missing_features

OPERANDS = "hYRb"  # the letters of ``which``
COUNT = len(OPERANDS)

Operands = Sequence[Tensor | None]

_OPERANDS = "Tensor? h, Tensor Y, Tensor R, Tensor? b"
_DIRECTIONS = "Tensor? h_dot, Tensor? Y_dot, Tensor? R_dot, Tensor? b_dot"
_EDGES = (
    "Tensor? rows, Tensor centers, Tensor neighbors, Tensor center_start, Tensor by_neighbor, Tensor neighbor_start"
)
_NO_EDGES = [None] * 6  # indices have no gradient


def key_of(descriptor: ConvolutionDescriptor) -> str:
    """The descriptor as a text that an exported program can carry."""
    return f"{descriptor.features} {descriptor.l_max} {descriptor.targets} {descriptor.mixing}"


@lru_cache
def descriptor_of(key: str) -> ConvolutionDescriptor:
    """The descriptor of a key."""
    features, l_max, targets, mixing = key.split(" ")
    return ConvolutionDescriptor(Irreps(features), int(l_max), Irreps(targets), "sum" if mixing == "sum" else "linear")


def empty_outputs(key: str, operands: Operands, edges: Sequence[Tensor | None]) -> list[Tensor]:
    """Tensors of the shapes of A, one [2l + 1, targets, multiplicity * channels] per output irrep."""
    descriptor, R, center_start = descriptor_of(key), operands[2], edges[3]
    assert R is not None and center_start is not None
    targets, channels = center_start.shape[0] - 1, R.shape[-1]
    shapes = [(i.dim, targets, m * channels) for i, m in zip(descriptor.output, descriptor.multiplicities, strict=True)]
    return [R.new_empty(shape) for shape in shapes]


def _shapes(key: str, *tensors: Tensor | None) -> list[Tensor]:
    return empty_outputs(key, tensors[:COUNT], tensors[-6:])


def _gradient_shapes(key: str, which: str, G: list[Tensor], *tensors: Tensor | None) -> list[Tensor]:
    return [torch.empty_like(x) for letter, x in zip(OPERANDS, tensors[:COUNT]) if letter in which and x is not None]


# Derivatives --------------------------------------------------------------------------------------------------------


def _filled(upstream: Sequence[Tensor | None], key: str, operands: Operands, edges: Sequence[Any]) -> list[Tensor]:
    if all(part is not None for part in upstream):
        return list(upstream)  # type: ignore[arg-type]
    shapes = empty_outputs(key, operands, edges)
    return [torch.zeros_like(shape) if part is None else part for part, shape in zip(upstream, shapes, strict=True)]


def _letters(required: Sequence[Sequence[bool]]) -> str:
    return "".join(letter for letter, (one,) in zip(OPERANDS, required, strict=True) if one)


def _spread(which: str, values: Sequence[Tensor | None]) -> list[Tensor | None]:
    """One value per operand, None for those that are not among ``which``."""
    found = dict(zip(which, values, strict=True))
    return [found.get(letter) for letter in OPERANDS]


def _derivative(constants: tuple, tensors: list, upstream: list, required: list) -> list:
    (key,), operands, edges = constants, tensors[:COUNT], tensors[COUNT:]
    which = _letters(required[:COUNT])
    G = _filled(upstream, key, operands, edges)
    found = convolution_gradient(key, which, G, *operands, *edges) if which else []
    return [*_spread(which, found), *_NO_EDGES]


def _derivative_of_gradient(constants: tuple, tensors: list, upstream: list, required: list) -> list:
    (key, which), (G, *operands), edges = constants, tensors[: COUNT + 1], tensors[COUNT + 1 :]
    along = _spread(which, upstream)
    by_G: list[Tensor] | None = None
    by_operands: list[list[Tensor | None]] = []
    again = _letters(required[1 : COUNT + 1])
    if operands[3] is not None and along[2] is not None:  # along the table it is the value with another table
        replaced, along = [*operands[:2], along[2], operands[3]], [*along[:2], None, along[3]]
        by_G = convolution(key, *replaced, *edges) if any(required[0]) else None
        rest = again.replace("R", "")
        if rest:
            by_operands.append(_spread(rest, convolution_gradient(key, rest, G, *replaced, *edges)))
    if any(direction is not None for direction in along):
        if any(required[0]):
            found = convolution_along(key, *operands, *along, *edges)
            by_G = found if by_G is None else [a + b for a, b in zip(by_G, found, strict=True)]
        if again:
            found = convolution_gradient_along(key, again, G, *operands, *along, *edges)
            by_operands.append(_spread(again, found))
    sums = [_sum(parts) for parts in zip(*by_operands)] if by_operands else [None] * COUNT
    return [by_G, *sums, *_NO_EDGES]


def _sum(parts: Sequence[Tensor | None]) -> Tensor | None:
    present = [part for part in parts if part is not None]
    return None if not present else present[0] if len(present) == 1 else present[0] + present[1]


def _replaced(operands: Operands, along: Operands) -> list[tuple[str, list[Tensor | None]]]:
    """The operands with one of them replaced by its direction, for every direction there is."""
    return [
        (letter, [direction if place == index else x for place, x in enumerate(operands)])
        for index, (letter, direction) in enumerate(zip(OPERANDS, along, strict=True))
        if direction is not None
    ]


def _derivative_of_along(constants: tuple, tensors: list, upstream: list, required: list) -> list:
    """The derivative along directions is a sum of values; that sum is differentiated."""
    (key,), inputs, edges = constants, tensors[: 2 * COUNT], tensors[2 * COUNT :]
    with torch.enable_grad():
        terms = [convolution(key, *x, *edges) for _, x in _replaced(inputs[:COUNT], inputs[COUNT:])]
        outputs = [torch.stack(parts).sum(0) for parts in zip(*terms, strict=True)]
    return [*_differentiate(outputs, upstream, inputs, [one for (one,) in required[: 2 * COUNT]]), *_NO_EDGES]


def _derivative_of_gradient_along(constants: tuple, tensors: list, upstream: list, required: list) -> list:
    """Likewise, a sum of gradients of values; what is replaced by its direction has none."""
    (key, which), (G, *inputs), edges = constants, tensors[: 2 * COUNT + 1], tensors[2 * COUNT + 1 :]
    with torch.enable_grad():
        totals: dict[str, Tensor] = {}
        for letter, replaced in _replaced(inputs[:COUNT], inputs[COUNT:]):
            rest = which.replace(letter, "")
            found = convolution_gradient(key, rest, G, *replaced, *edges) if rest else []
            for name, value in zip(rest, found, strict=True):
                totals[name] = totals[name] + value if name in totals else value
        zeros = dict(zip(OPERANDS, inputs, strict=False))
        outputs = [totals[name] if name in totals else torch.zeros_like(zeros[name]) for name in which]
    needed = [*required[0], *(one for (one,) in required[1 : 2 * COUNT + 1])]
    found = _differentiate(outputs, upstream, [*G, *inputs], needed)
    return [found[: len(G)], *found[len(G) :], *_NO_EDGES]


def _differentiate(
    outputs: list[Tensor], upstream: list[Tensor | None], inputs: Sequence[Any], required: Sequence[bool]
) -> list[Tensor | None]:
    """Gradients of composed outputs by those inputs of which one is required."""
    places = [i for i, (x, one) in enumerate(zip(inputs, required, strict=True)) if one and x is not None]
    pairs = [(o, g) for o, g in zip(outputs, upstream, strict=True) if g is not None and o.requires_grad]
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


convolution = Operator(f"convolution(str key, {_OPERANDS}, {_EDGES}) -> Tensor[]", _shapes, _derivative)
convolution_along = Operator(
    f"convolution_along(str key, {_OPERANDS}, {_DIRECTIONS}, {_EDGES}) -> Tensor[]", _shapes, _derivative_of_along
)
convolution_gradient = Operator(
    f"convolution_gradient(str key, str which, Tensor[] G, {_OPERANDS}, {_EDGES}) -> Tensor[]",
    _gradient_shapes,
    _derivative_of_gradient,
)
convolution_gradient_along = Operator(
    f"convolution_gradient_along(str key, str which, Tensor[] G, {_OPERANDS}, {_DIRECTIONS}, {_EDGES}) -> Tensor[]",
    _gradient_shapes,
    _derivative_of_gradient_along,
)


class Convolution(nn.Module):
    """The convolution of :class:`~clebsch.ops.ConvolutionDescriptor`, in one pass over the edges.

    Args:
        descriptor: what is coupled with what.
        dtype: of the arithmetic.
    """

    def __init__(self, descriptor: ConvolutionDescriptor, dtype: torch.dtype) -> None:
        super().__init__()
        self.descriptor = descriptor
        self.key = key_of(descriptor)

    def forward(
        self, features: Tensor | None, harmonics: Tensor, radial: Tensor | RadialTable, edges: Edges
    ) -> tuple[Tensor, ...]:
        """Couple, weight and pool; arguments and result as in the reference."""
        if features is None and self.descriptor.features != Irreps("0e"):
            raise missing_features(self.descriptor)
        rows, spline, weights = None, None, radial
        if isinstance(radial, RadialTable):
            rows, spline, weights = radial.index, radial.basis, radial.table
        indices = (edges.centers, edges.neighbors, edges.center_start, edges.by_neighbor, edges.neighbor_start)
        return tuple(convolution(self.key, features, harmonics, weights, spline, rows, *indices))
