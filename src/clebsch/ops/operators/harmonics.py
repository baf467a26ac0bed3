"""Spherical harmonics of edge vectors: the operators and their derivatives.

With Y(r) the harmonics and g, t tensors of the shapes of Y and r, the three are Y, its gradient ∂(g·Y)/∂r, and the
derivatives by g and by r of t·∂(g·Y)/∂r.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from clebsch.ops.operators.operator import Operator
from clebsch.ops.reference.harmonics import SphericalHarmonics as Reference


def _shapes(l_max: str, r: Tensor) -> Tensor:
    return r.new_empty(r.shape[0], (int(l_max) + 1) ** 2)


def _gradient_shapes(l_max: str, r: Tensor, g: Tensor) -> Tensor:
    return torch.empty_like(r)


def _second_shapes(l_max: str, r: Tensor, g: Tensor, t: Tensor) -> list[Tensor]:
    return [torch.empty_like(g), torch.empty_like(r)]


def _derivative(constants: tuple, operands: list, upstream: list, required: list) -> list:
    return [spherical_harmonics_gradient(*constants, *operands, *upstream)]


def _derivative_of_gradient(constants: tuple, operands: list, upstream: list, required: list) -> list:
    by_g, by_r = spherical_harmonics_second(*constants, *operands, *upstream)
    return [by_r, by_g]


def _derivative_of_second(constants: tuple, operands: list, upstream: list, required: list) -> list:
    """Third and higher derivatives: those of the reference."""
    create = torch.is_grad_enabled()
    reference = Reference(int(constants[0]), operands[0].dtype).to(operands[0].device)
    with torch.enable_grad():
        r, g, t = (x if x.requires_grad else x.detach().requires_grad_() for x in operands)
        (gradient,) = torch.autograd.grad(reference(r), r, g, create_graph=True)
        outputs = torch.autograd.grad(gradient, (g, r), t, create_graph=True, materialize_grads=True)
        pairs = [(o, u) for o, u in zip(outputs, upstream, strict=True) if u is not None and o.requires_grad]
    if not pairs:
        return [None, None, None]
    sources, weights = [o for o, _ in pairs], [u for _, u in pairs]
    return list(torch.autograd.grad(sources, (r, g, t), weights, create_graph=create, allow_unused=True))


spherical_harmonics = Operator("spherical_harmonics(str l_max, Tensor r) -> Tensor", _shapes, _derivative)
spherical_harmonics_gradient = Operator(
    "spherical_harmonics_gradient(str l_max, Tensor r, Tensor g) -> Tensor", _gradient_shapes, _derivative_of_gradient
)
spherical_harmonics_second = Operator(
    "spherical_harmonics_second(str l_max, Tensor r, Tensor g, Tensor t) -> Tensor[]",
    _second_shapes,
    _derivative_of_second,
)


class SphericalHarmonics(nn.Module):
    """Real spherical harmonics of the directions of vectors, as the reference defines them.

    Args:
        l_max: highest degree.
        dtype: of the arithmetic.
    """

    def __init__(self, l_max: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.l_max = l_max

    def forward(self, vectors: Tensor) -> Tensor:
        """Vectors [edges, 3] of any length but zero to harmonics [edges, (l_max + 1)^2]."""
        if self.l_max == 0:
            return torch.ones_like(vectors[:, :1])
        return spherical_harmonics(str(self.l_max), vectors)
