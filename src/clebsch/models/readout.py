"""Readout: the energy of an atom from the scalars of its features."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from clebsch.basis.mlp import MLP
from clebsch.errors import ConfigError
from clebsch.models.config import LayerConfig
from clebsch.models.update import SCALAR
from clebsch.o3 import Irreps


class Readout(nn.Module):
    r"""Energy of an atom, :math:`e_i = \mathrm{linear}` or :math:`\mathrm{MLP}(h_{i,00})`; zero for readout "none".

    Args:
        layer: the layer.
        irreps: irreps of the features.
        num_channels: channels K.
        dtype: of the weights.
        generator: source of the initial weights.

    Raises:
        ConfigError: an energy is to be read off features without scalars.
    """

    def __init__(
        self,
        layer: LayerConfig,
        irreps: Irreps,
        num_channels: int,
        dtype: torch.dtype,
        generator: torch.Generator | None,
    ) -> None:
        super().__init__()
        self.mlp = None
        if layer.readout == "none":
            return
        if SCALAR not in irreps:
            raise ConfigError(
                f"readout: expected scalars 0e among the features of the layer, got '{irreps}' (of hidden_irreps "
                f"'{layer.hidden_irreps}' what can be reached); add 0e or set readout to none"
            )
        self.scalars = irreps.slices()[irreps.index(SCALAR)]
        hidden = (layer.readout_hidden,) * layer.readout_layers if layer.readout == "mlp" else ()
        self.mlp = MLP((num_channels, *hidden, 1), dtype, generator, bias=layer.readout_bias)

    def forward(self, features: Float[Tensor, "components atoms channels"]) -> Float[Tensor, " atoms"]:
        """Features of every atom to its energy, in units of the potential's scale."""
        if self.mlp is None:
            return features.new_zeros(features.shape[1])
        return self.mlp(features[self.scalars][0]).squeeze(-1)
