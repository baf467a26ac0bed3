"""Update of the features: the gate. The residual is an equivariant linear map (see layer.py)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from clebsch.basis.mlp import activate
from clebsch.o3 import Irrep, Irreps

SCALAR = Irrep(0, 1)


def gate_input(hidden: Irreps, gate: str) -> Irreps:
    """Irreps that the gate takes: the hidden irreps and, in front, one scalar per irrep that is gated."""
    if gate == "none":
        return hidden
    return Irreps([SCALAR for irrep in hidden if irrep.l > 0] + list(hidden))


class Gate(nn.Module):
    r"""Gated non-linearity: scalars are activated, other irreps multiplied with an activated scalar (arXiv 1807.02547).

    Even scalars take the activation named, odd ones :math:`\tanh`, since only an odd function keeps their parity.

    Args:
        hidden: irreps of the result.
        gate: "silu", "tanh" or "abs".
        gates: activation of the scalars that others are multiplied with; by default ``gate``.
    """

    def __init__(self, hidden: Irreps, gate: str, gates: str | None = None) -> None:
        super().__init__()
        self.hidden, self.gate, self.gates = hidden, gate, gates or gate
        self.num_gates = sum(irrep.l > 0 for irrep in hidden)

    def forward(self, x: Float[Tensor, "_ atoms channels"]) -> Float[Tensor, "components atoms channels"]:
        """[gates + components, atoms, channels] to [components, atoms, channels]."""
        gates = activate(self.gates, x[: self.num_gates])
        features, parts, gated = x[self.num_gates :], [], 0
        for irrep, components in zip(self.hidden, self.hidden.slices(), strict=True):
            if irrep.l > 0:
                parts.append(features[components] * gates[gated : gated + 1])
                gated += 1
            else:
                parts.append(activate(self.gate if irrep.p == 1 else "tanh", features[components]))
        return torch.cat(parts)
