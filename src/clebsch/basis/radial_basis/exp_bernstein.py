"""The radial basis "exp_bernstein"."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from clebsch.basis.radial_basis.functions import BasisFunctions

ALPHA = 0.5  # 1/Å, where the decay starts, as published


class ExpBernstein(BasisFunctions):
    r""":math:`\binom{N}{n} x^{N-n} (1 - x)^n`, :math:`x = e^{-\alpha r}`, n from 0 to N = num - 1.

    :math:`\alpha` is the softplus of a constant (SpookyNet, arXiv 2105.00304).

    Attributes:
        trainable: whether that constant is trained.
    """

    kind: Literal["exp_bernstein"] = "exp_bernstein"
    trainable: bool = False

    def constants(self, r_max: float) -> dict[str, Tensor]:
        """The inverse softplus of α, under the name it has in saved potentials, and the logarithms of the binomials."""
        logarithms = [math.log(math.comb(self.num - 1, n)) for n in range(self.num)]
        start = torch.tensor([math.log(math.expm1(ALPHA))], dtype=torch.float64)
        return {"constants": start, "log_binomial": torch.tensor(logarithms, dtype=torch.float64)}

    def trained(self) -> tuple[str, ...]:
        """The decay, if wanted."""
        return ("constants",) if self.trainable else ()

    def functions(self, r: Tensor, r_max: float, constants: Mapping[str, Tensor]) -> Tensor:
        """See `BasisFunctions`."""
        alpha = functional.softplus(constants["constants"])
        index = torch.arange(self.num, dtype=r.dtype, device=r.device)
        log_rest = torch.log(-torch.expm1(-alpha * r))
        return torch.exp(constants["log_binomial"] - (self.num - 1 - index) * alpha * r + index * log_rest)
