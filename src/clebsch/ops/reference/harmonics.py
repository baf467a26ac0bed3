"""Spherical harmonics in plain torch."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from clebsch.o3 import clebsch_gordan, recursion_factors


class SphericalHarmonics(nn.Module):
    r"""Real spherical harmonics of the directions of vectors, component normalised, by coupling with l = 1.

    .. math:: Y_{l+1,c} = a_l \sum_{ab} C^{l,1,l+1}_{abc} Y_{l,a} Y_{1,b}, \qquad \sum_m Y_{lm}^2 = 2l + 1

    Args:
        l_max: highest degree.
        dtype: of the arithmetic.
    """

    def __init__(self, l_max: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.l_max = l_max
        for degree, factor in enumerate(recursion_factors(l_max)):
            coupling = torch.tensor(factor * clebsch_gordan(degree, 1, degree + 1), dtype=dtype)
            self.register_buffer(f"coupling_{degree}", coupling, persistent=False)

    def forward(self, vectors: Float[Tensor, "edges 3"]) -> Float[Tensor, "edges components"]:
        """Vectors of any length but zero to harmonics, degree l in the components l^2 to (l + 1)^2."""
        first = 3**0.5 * vectors / torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
        degrees = [torch.ones_like(vectors[:, :1])]
        for degree in range(self.l_max):
            coupling = self.get_buffer(f"coupling_{degree}")
            outer = (degrees[-1][:, :, None] * first[:, None, :]).flatten(1)
            degrees.append(outer @ coupling.flatten(0, 1))
        return torch.cat(degrees, dim=-1)
