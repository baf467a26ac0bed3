r"""The product basis: the operators and their derivatives.

With B(x, w) the basis of the factors x and the packed weights w, and G a tensor of its shape, the operators are the
value B, its derivative along a direction of x, and the gradients of G·B by x and w, also along a direction. Weights
enter linearly, so that a derivative along w is the same operator with other weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from clebsch.o3 import Irreps
from clebsch.ops.descriptors import ProductBasisDescriptor
from clebsch.ops.edges import ElementGroups
from clebsch.ops.operators.operator import Operator
from clebsch.ops.reference.product_basis import ProductBasis as Reference

_ATOMS = "Tensor species, Tensor order, Tensor start"
_NO_ATOMS = [None] * 3  # indices have no gradient


def key_of(descriptor: ProductBasisDescriptor) -> str:
    """The descriptor as a text that an exported program can carry."""
    kind = "distinct" if descriptor.distinct else "equal"
    return f"{descriptor.features} {descriptor.output} {descriptor.correlation} {kind}"


@lru_cache
def descriptor_of(key: str) -> ProductBasisDescriptor:
    """The descriptor of a key."""
    features, output, correlation, kind = key.split(" ")
    return ProductBasisDescriptor(Irreps(features), Irreps(output), int(correlation), kind == "distinct")


@lru_cache
def num_outputs(key: str) -> int:
    """Components of B."""
    return sum(irrep.dim for irrep in descriptor_of(key).output)


def _shapes(key: str, x: list[Tensor], *rest: Any) -> Tensor:
    return x[0].new_empty(num_outputs(key), *x[0].shape[1:])


def _gradient_shapes(key: str, which: str, G: Tensor, x: list[Tensor], *rest: Any) -> list[Tensor]:
    found = [torch.empty_like(factor) for factor in x] if "x" in which else []
    return found + ([torch.empty_like(rest[-4])] if "w" in which else [])


def _letters(by_x: Sequence[bool], by_w: Sequence[bool]) -> str:
    return ("x" if any(by_x) else "") + ("w" if any(by_w) else "")


def _split(which: str, found: Sequence[Any], factors: int) -> tuple[list[Any] | None, Any]:
    """Gradients by x and by w, None for those that are not among ``which``."""
    return list(found[:factors]) if "x" in which else None, found[-1] if "w" in which else None


def _derivative(constants: tuple, operands: list, upstream: list, required: list) -> list:
    (key,), (x, w, *atoms), (G,) = constants, operands, upstream
    which = _letters(required[0], required[1])
    found = product_basis_gradient(key, which, G, x, w, *atoms) if which else []
    return [*_split(which, found, len(x)), *_NO_ATOMS]


def _derivative_of_gradient(constants: tuple, operands: list, upstream: list, required: list) -> list:
    (key, which), (G, x, w, *atoms) = constants, operands
    by_G, by_x, by_w = None, None, None
    x_dot, w_dot = _split(which, upstream, len(x))
    if w_dot is not None:
        by_G = product_basis(key, x, w_dot, *atoms) if any(required[0]) else None
        by_x = product_basis_gradient(key, "x", G, x, w_dot, *atoms) if any(required[1]) else None
    if x_dot is not None and any(direction is not None for direction in x_dot):
        x_dot = [torch.zeros_like(a) if dot is None else dot for a, dot in zip(x, x_dot, strict=True)]
        if any(required[0]):
            found = product_basis_along(key, x, x_dot, w, *atoms)
            by_G = found if by_G is None else by_G + found
        again = _letters(required[1], required[2])
        if again:
            found = product_basis_gradient_along(key, again, G, x, x_dot, w, *atoms)
            slope, by_w = _split(again, found, len(x))
            by_x = slope if by_x is None or slope is None else [a + b for a, b in zip(by_x, slope, strict=True)]
    return [by_G, by_x, by_w, *_NO_ATOMS]


def _derivative_of_along(constants: tuple, operands: list, upstream: list, required: list) -> list:
    (key,), (x, x_dot, w, species, *_) = constants, operands
    G = x[0].new_zeros(num_outputs(key), *x[0].shape[1:])
    found = _differentiate_reference(key, G, (x, x_dot, w, species), upstream, "B")
    return [*found[:3], *_NO_ATOMS]


def _derivative_of_gradient_along(constants: tuple, operands: list, upstream: list, required: list) -> list:
    (key, which), (G, x, x_dot, w, species, *_) = constants, operands
    found = _differentiate_reference(key, G, (x, x_dot, w, species), upstream, which)
    return [found[3], *found[:3], *_NO_ATOMS]


def _differentiate_reference(
    key: str, G: Tensor, operands: tuple, upstream: Sequence[Tensor | None], which: str
) -> tuple[list[Tensor], list[Tensor], Tensor, Tensor]:
    """Derivatives by x, x_dot, w and G of what an operator along x_dot returns, weighted with ``upstream``."""
    x, x_dot, w, species = operands
    create = torch.is_grad_enabled()
    with torch.enable_grad():
        x, x_dot = [_leaf(a) for a in x], [_leaf(a) for a in x_dot]
        w, G = _leaf(w), _leaf(G)
        reference = Reference(descriptor_of(key), w.dtype).to(w.device)
        B = reference.of_species(x, w, species)
        slopes = torch.autograd.grad(B, x, G, create_graph=True, materialize_grads=True)
        form = torch.stack([(slope * dot).sum() for slope, dot in zip(slopes, x_dot, strict=True)]).sum()
        sources = [G] if which == "B" else [*(x if "x" in which else []), *([w] if "w" in which else [])]
        outputs = torch.autograd.grad(form, sources, create_graph=True, materialize_grads=True)
        parts = [(o * u).sum() for o, u in zip(outputs, upstream, strict=True) if u is not None]
        total = torch.stack(parts).sum() if parts else None
    inputs = [*x, *x_dot, w, G]
    if total is None or not total.requires_grad:
        found = [torch.zeros_like(a) for a in inputs]
    else:
        found = list(torch.autograd.grad(total, inputs, create_graph=create, materialize_grads=True))
    count = len(x)
    return list(found[:count]), list(found[count:-2]), found[-2], found[-1]


def _leaf(tensor: Tensor) -> Tensor:
    return tensor if tensor.requires_grad else tensor.detach().requires_grad_()


product_basis = Operator(f"product_basis(str key, Tensor[] x, Tensor w, {_ATOMS}) -> Tensor", _shapes, _derivative)
product_basis_along = Operator(
    f"product_basis_along(str key, Tensor[] x, Tensor[] x_dot, Tensor w, {_ATOMS}) -> Tensor",
    _shapes,
    _derivative_of_along,
)
product_basis_gradient = Operator(
    f"product_basis_gradient(str key, str which, Tensor G, Tensor[] x, Tensor w, {_ATOMS}) -> Tensor[]",
    _gradient_shapes,
    _derivative_of_gradient,
)
product_basis_gradient_along = Operator(
    "product_basis_gradient_along(str key, str which, Tensor G, Tensor[] x, Tensor[] x_dot, Tensor w, "
    f"{_ATOMS}) -> Tensor[]",
    _gradient_shapes,
    _derivative_of_gradient_along,
)


class ProductBasis(nn.Module):
    """The product basis of :class:`~clebsch.ops.ProductBasisDescriptor`, in one pass over the atoms.

    Args:
        descriptor: factors, output and correlation order.
        dtype: of the arithmetic.
    """

    def __init__(self, descriptor: ProductBasisDescriptor, dtype: torch.dtype) -> None:
        super().__init__()
        self.descriptor = descriptor
        self.key = key_of(descriptor)

    def forward(self, factors: Sequence[Tensor], weights: Tensor, elements: ElementGroups) -> Tensor:
        """Multiply, couple, weight and sum; arguments and result as in the reference."""
        if not self.descriptor.blocks:
            return factors[0].new_zeros(num_outputs(self.key), *factors[0].shape[1:])
        return product_basis(self.key, list(factors), weights, elements.species, elements.order, elements.start)
