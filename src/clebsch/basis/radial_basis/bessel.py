"""The radial basis "bessel"."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from clebsch.basis.radial_basis.functions import BasisFunctions, damping


class Bessel(BasisFunctions):
    r""":math:`\sqrt{2 / r_{max}} \sin(n \pi r / r_{max}) / r`, n from 1 (DimeNet, arXiv 2003.03123, eq. 7).

    Attributes:
        trainable: whether the frequencies are trained.
        decay: the n-th function is divided by n to this power (`damping`); above 0, radial functions that are learned
            are smooth first.
    """

    kind: Literal["bessel"] = "bessel"
    trainable: bool = False
    decay: float = Field(default=0.0, ge=0, allow_inf_nan=False)

    def constants(self, r_max: float) -> dict[str, Tensor]:
        """The frequencies in 1/Å, under the name they have in saved potentials, and the factors of the functions."""
        frequencies = math.pi / r_max * torch.arange(1, self.num + 1, dtype=torch.float64)
        return {"constants": frequencies, "weights": damping(self.num, self.decay)}

    def trained(self) -> tuple[str, ...]:
        """The frequencies, if wanted."""
        return ("constants",) if self.trainable else ()

    def functions(self, r: Tensor, r_max: float, constants: Mapping[str, Tensor]) -> Tensor:
        """See `BasisFunctions`."""
        return math.sqrt(2 / r_max) * torch.sin(constants["constants"] * r) / r * constants["weights"]
