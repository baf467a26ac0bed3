"""The radial basis "gaussian"."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from clebsch.basis.radial_basis.functions import BasisFunctions


class Gaussian(BasisFunctions):
    r""":math:`\exp(-(r - \mu_n)^2 / 2 \sigma^2)`, centres evenly from 0 to r_max, σ their spacing.

    Those of SchNet (arXiv 1706.08566).
    """

    kind: Literal["gaussian"] = "gaussian"

    def constants(self, r_max: float) -> dict[str, Tensor]:
        """The centres in Å."""
        return {"centres": torch.linspace(0, r_max, self.num, dtype=torch.float64)}

    def functions(self, r: Tensor, r_max: float, constants: Mapping[str, Tensor]) -> Tensor:
        """See `BasisFunctions`."""
        width = r_max / max(self.num - 1, 1)
        return torch.exp(-0.5 * ((r - constants["centres"]) / width) ** 2)
