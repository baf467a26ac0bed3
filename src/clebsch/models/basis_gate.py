"""The gate of the atomic basis: a non-linearity before the product basis."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from clebsch.models.linear import IrrepsLinear
from clebsch.models.update import Gate, gate_input
from clebsch.o3 import Irreps
from clebsch.ops import Backend


class BasisGate(nn.Module):
    r"""Atomic basis to atomic basis, :math:`A_i = \mathrm{linear}(\mathrm{gate}(A'_i + \mathrm{linear}(h_i)))`.

    h are the features that the atom itself sends to its neighbours; scalars pass SiLU, other irreps are multiplied with
    sigmoids of scalars (the non-linear interaction of ACEsuit/mace).

    Args:
        irreps: irreps of the atomic basis.
        features: irreps of the features that are sent.
        sent_channels: their channels.
        num_channels: channels of the atomic basis.
        backend: kernels.
        dtype: of the weights.
        generator: source of the initial weights.
    """

    def __init__(
        self,
        irreps: Irreps,
        *,
        features: Irreps,
        sent_channels: int,
        num_channels: int,
        backend: Backend,
        dtype: torch.dtype,
        generator: torch.Generator | None,
    ) -> None:
        super().__init__()
        options = {"backend": backend, "dtype": dtype, "generator": generator}
        self.residual = IrrepsLinear(features, sent_channels, gated_irreps(irreps), num_channels, **options)
        self.gate = Gate(irreps, "silu", gates="sigmoid")
        self.mixing = IrrepsLinear(irreps, num_channels, irreps, num_channels, **options)

    def forward(
        self, basis: Float[Tensor, "_ targets channels"], sent: Float[Tensor, "_ sources sent_channels"]
    ) -> Float[Tensor, "components targets channels"]:
        """[gates + components, targets, channels] and what the sources send to [components, targets, channels]."""
        own = sent if sent.shape[1] == basis.shape[1] else sent.narrow(1, 0, basis.shape[1])
        return self.mixing(self.gate(basis + self.residual(own)))


def gated_irreps(irreps: Irreps) -> Irreps:
    """Irreps that the gate of an atomic basis of ``irreps`` takes: in front, one scalar per irrep that is gated."""
    return gate_input(irreps, "silu")
