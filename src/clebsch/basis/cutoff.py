"""Cutoff functions: 1 at r = 0, 0 from r_max on, smooth in between."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from clebsch.config import StrictConfig


class CutoffConfig(StrictConfig):
    """Choice of the cutoff function.

    Attributes:
        kind: "polynomial" (two continuous derivatives at r_max) or "smooth" (infinitely many).
        p: power of the polynomial cutoff: its derivatives of order 1 to p - 1 are zero at r = 0.
    """

    kind: Literal["polynomial", "smooth"] = "polynomial"
    p: int = Field(default=5, ge=2)


def cutoff_function(config: CutoffConfig, r: Float[Tensor, "*shape"], r_max: float) -> Float[Tensor, "*shape"]:
    r"""Evaluate the cutoff, with x = r / r_max < 1.

    * polynomial: :math:`1 - \tfrac{(p+1)(p+2)}{2} x^p + p(p+2) x^{p+1} - \tfrac{p(p+1)}{2} x^{p+2}`
      (DimeNet, arXiv 2003.03123, eq. 8);
    * smooth: :math:`\exp(-x^2 / (1 - x^2))` (SpookyNet, arXiv 2105.00304).

    Args:
        config: the choice.
        r: distances in Å, any shape.
        r_max: cutoff radius in Å.

    Returns: the cutoff, zero where ``r >= r_max``.
    """
    x = r / r_max
    inside = x < 1
    x = torch.where(inside, x, torch.zeros_like(x))  # outside, neither value nor gradient may become infinite
    value = _polynomial(x, config.p) if config.kind == "polynomial" else torch.exp(-(x**2) / (1 - x**2))
    return torch.where(inside, value, torch.zeros_like(value))


def _polynomial(x: Tensor, p: int) -> Tensor:
    head = -(p + 1) * (p + 2) / 2
    return 1 + x**p * (head + x * (p * (p + 2) - x * p * (p + 1) / 2))
