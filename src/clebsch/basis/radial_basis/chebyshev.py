"""The radial basis "chebyshev"."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from clebsch.basis.radial_basis.functions import BasisFunctions, damping

STRETCH = 2.0  # resolves short distances finer than long ones


class Chebyshev(BasisFunctions):
    r""":math:`T_n(x)`, :math:`x = 1 - 2 (e^{-\lambda (r / r_{max} - 1)} - 1) / (e^\lambda - 1)`, n from 0, λ = 2.

    Those of ACE (Drautz, Phys. Rev. B 99, 014104, eq. 24).

    Attributes:
        decay: the n-th function, counted from 1, is divided by n to this power (`damping`); above 0, radial functions
            that are learned are smooth first.
    """

    kind: Literal["chebyshev"] = "chebyshev"
    decay: float = Field(default=0.0, ge=0, allow_inf_nan=False)

    def constants(self, r_max: float) -> dict[str, Tensor]:
        """The factors of the functions."""
        return {"weights": damping(self.num, self.decay)}

    def functions(self, r: Tensor, r_max: float, constants: Mapping[str, Tensor]) -> Tensor:
        """See `BasisFunctions`."""
        scaled = torch.expm1(-STRETCH * (r / r_max - 1)) / math.expm1(STRETCH)
        x = 1 - 2 * scaled
        values = [torch.ones_like(x), x]
        while len(values) < self.num:
            values.append(2 * x * values[-1] - values[-2])
        return torch.cat(values[: self.num], dim=-1) * constants["weights"]
