"""Cutoff functions: 1 at r = 0, 0 from r_max on, smooth in between."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from clebsch.config import DefaultForm, StrictConfig


class PolynomialCutoff(StrictConfig):
    r""":math:`1 - \tfrac{(p+1)(p+2)}{2} x^p + p(p+2) x^{p+1} - \tfrac{p(p+1)}{2} x^{p+2}` (arXiv 2003.03123, eq. 8).

    It has two continuous derivatives at r_max.

    Attributes:
        p: power: the derivatives of order 1 to p - 1 are zero at r = 0.
    """

    kind: Literal["polynomial"] = "polynomial"
    p: int = Field(default=5, ge=2, le=256)

    def inside(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """The cutoff at x = r / r_max < 1."""
        p = self.p
        head = -(p + 1) * (p + 2) / 2
        return 1 + x**p * (head + x * (p * (p + 2) - x * p * (p + 1) / 2))


class SmoothCutoff(StrictConfig):
    r""":math:`\exp(-x^2 / (1 - x^2))` (SpookyNet, arXiv 2105.00304): all derivatives are continuous at r_max."""

    kind: Literal["smooth"] = "smooth"

    def inside(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """The cutoff at x = r / r_max < 1."""
        return torch.exp(-(x**2) / (1 - x**2))


CutoffConfig = Annotated[PolynomialCutoff | SmoothCutoff, Field(discriminator="kind"), DefaultForm("polynomial")]


def cutoff_function(
    config: PolynomialCutoff | SmoothCutoff, r: Float[Tensor, "*shape"], r_max: float
) -> Float[Tensor, "*shape"]:
    r"""Evaluate the cutoff of distances.

    Args:
        config: the choice.
        r: distances in Å, any shape.
        r_max: cutoff radius in Å.

    Returns: the cutoff, zero where ``r >= r_max``.
    """
    x = r / r_max
    inside = x < 1
    x = torch.where(inside, x, torch.zeros_like(x))  # outside, neither value nor gradient may become infinite
    value = config.inside(x)
    return torch.where(inside, value, torch.zeros_like(value))
