"""Radial weights as spline control points, gathered by the convolution."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor


@dataclass
class RadialTable:
    r"""Radial weights as cubic B-splines, :math:`R_{e,pk} = \sum_{s<4} b_{e,s} T_{n_e + s,pk}`.

    Attributes:
        table: control points T; one block of rows, or one per element pair.
        index: first row n of every edge.
        basis: values b of the four B-splines at the distance of the edge.
    """

    table: Float[Tensor, "rows paths channels"]
    index: Int64[Tensor, " edges"]
    basis: Float[Tensor, "edges 4"]

    def dense(self) -> Float[Tensor, "edges paths channels"]:
        """The weights of every edge."""
        rows = self.index[:, None] + torch.arange(4, device=self.index.device)
        return torch.einsum("es,espk->epk", self.basis, self.table[rows])
