"""Equivariant linear maps, one channel-mixing matrix per irrep and perhaps element: operators and derivatives.

With G a tensor of the shape of x W, the form G·(x W) is linear in x, W and G, so that every derivative is one of three
operators: the value x W, G Wᵀ, and xᵀ G.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor, nn

from clebsch.o3 import Irreps
from clebsch.ops.descriptors import LinearDescriptor
from clebsch.ops.edges import ElementGroups
from clebsch.ops.operators.operator import Operator


def key_of(descriptor: LinearDescriptor) -> str:
    """The descriptor as a text that an exported program can carry."""
    widths = ",".join(map(str, descriptor.channels_in))
    kind = "elements" if descriptor.by_element else "all"
    return f"{descriptor.irreps_in} {widths} {descriptor.irreps_out} {descriptor.channels} {kind}"


@lru_cache
def descriptor_of(key: str) -> LinearDescriptor:
    """The descriptor of a key."""
    irreps_in, widths, irreps_out, channels, kind = key.split(" ")
    return LinearDescriptor(
        Irreps(irreps_in),
        tuple(map(int, filter(None, widths.split(",")))),
        Irreps(irreps_out),
        int(channels),
        kind == "elements",
    )


# Inputs are "packed", one tensor [components, atoms, K], or "parts", one [2l + 1, atoms, K_l] per irrep; with one map
# per element the order and start of `ElementGroups` come with them.
_GROUPS = "Tensor? order, Tensor? start"
_NO_GROUPS = [None] * 2  # indices have no gradient


def _shapes(key: str, form: str, x: list[Tensor], W: list[Tensor], *groups: Tensor | None) -> Tensor:
    descriptor = descriptor_of(key)
    return x[0].new_empty(descriptor.components, x[0].shape[1], descriptor.channels)


def empty_inputs(key: str, form: str, g: Tensor) -> list[Tensor]:
    """Empty tensors of the shapes of the inputs, from a tensor of the shape of the result."""
    descriptor, atoms = descriptor_of(key), g.shape[1]
    if form == "packed":
        return [g.new_empty(sum(irrep.dim for irrep in descriptor.irreps_in), atoms, descriptor.channels_in[0])]
    pairs = zip(descriptor.irreps_in, descriptor.channels_in, strict=True)
    return [g.new_empty(irrep.dim, atoms, width) for irrep, width in pairs]


def empty_weights(key: str, g: Tensor, start: Tensor | None) -> list[Tensor]:
    """Empty tensors of the shapes of the weights."""
    descriptor = descriptor_of(key)
    widths = [descriptor.channels_in[source] for source in descriptor.sources if source is not None]
    leading = () if start is None else (start.shape[0] - 1,)
    return [g.new_empty(*leading, width, descriptor.channels) for width in widths]


def _transposed_shapes(key: str, form: str, g: Tensor, W: list[Tensor], *groups: Tensor | None) -> list[Tensor]:
    return empty_inputs(key, form, g)


def _weights_shapes(key: str, form: str, x: list[Tensor], g: Tensor, *groups: Tensor | None) -> list[Tensor]:
    return empty_weights(key, g, groups[-1])


def _filled(upstream: Sequence[Tensor | None], shapes: Sequence[Tensor]) -> list[Tensor]:
    return [torch.zeros_like(a) if part is None else part for part, a in zip(upstream, shapes, strict=True)]


def _derivative(constants: tuple, operands: list, upstream: list, required: list) -> list:
    (x, W, *groups), (g,) = operands, upstream
    by_x = linear_transposed(*constants, g, W, *groups) if any(required[0]) else None
    by_W = linear_weights(*constants, x, g, *groups) if any(required[1]) else None
    return [by_x, by_W, *_NO_GROUPS]


def _derivative_of_transposed(constants: tuple, operands: list, upstream: list, required: list) -> list:
    g, W, *groups = operands
    x = _filled(upstream, empty_inputs(constants[0], constants[1], g))
    by_g = linear(*constants, x, W, *groups) if any(required[0]) else None
    by_W = linear_weights(*constants, x, g, *groups) if any(required[1]) else None
    return [by_g, by_W, *_NO_GROUPS]


def _derivative_of_weights(constants: tuple, operands: list, upstream: list, required: list) -> list:
    x, g, *groups = operands
    W = _filled(upstream, empty_weights(constants[0], g, groups[-1]))
    by_x = linear_transposed(*constants, g, W, *groups) if any(required[0]) else None
    by_g = linear(*constants, x, W, *groups) if any(required[1]) else None
    return [by_x, by_g, *_NO_GROUPS]


linear = Operator(f"linear(str key, str form, Tensor[] x, Tensor[] W, {_GROUPS}) -> Tensor", _shapes, _derivative)
linear_transposed = Operator(
    f"linear_transposed(str key, str form, Tensor g, Tensor[] W, {_GROUPS}) -> Tensor[]",
    _transposed_shapes,
    _derivative_of_transposed,
)
linear_weights = Operator(
    f"linear_weights(str key, str form, Tensor[] x, Tensor g, {_GROUPS}) -> Tensor[]",
    _weights_shapes,
    _derivative_of_weights,
)


class Linear(nn.Module):
    """The map of a `LinearDescriptor`, one matrix product per irrep and element, without copies of rows in between.

    Args:
        descriptor: irreps and channels.
        dtype: of the arithmetic.
    """

    def __init__(self, descriptor: LinearDescriptor, dtype: torch.dtype) -> None:
        super().__init__()
        self.descriptor = descriptor
        self.key = key_of(descriptor)

    def forward(
        self, x: Tensor | Sequence[Tensor], weights: Sequence[Tensor], elements: ElementGroups | None
    ) -> Tensor:
        """Map every irrep; arguments and result as in the reference."""
        form = "packed" if isinstance(x, Tensor) else "parts"
        groups = (None, None) if elements is None else (elements.order, elements.start)
        parts = [x] if isinstance(x, Tensor) else list(x)
        return linear(self.key, form, parts, list(weights), *groups)
