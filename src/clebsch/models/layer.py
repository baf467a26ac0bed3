"""One Multi-ACE layer: atomic basis, product basis, update, readout."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from clebsch.errors import ConfigError
from clebsch.models.config import LayerConfig, MultiACEConfig
from clebsch.models.edge_embedding import EdgeFeatures
from clebsch.models.linear import IrrepsLinear
from clebsch.models.one_particle_basis import AtomicBasis
from clebsch.models.product_basis import ProductBasisLayer
from clebsch.models.readout import Readout
from clebsch.models.update import Gate, gate_input
from clebsch.o3 import Irreps
from clebsch.ops import Backend, ConvolutionDescriptor, ProductBasisDescriptor


class Layer(nn.Module):
    r"""One layer, :math:`h'_i = \mathrm{gate}(m_i(A_i) + \mathrm{residual}_{z_i}(h_i))` (arXiv 2205.06643, eq. 11-13).

    Args:
        config: the model.
        layer: this layer.
        features: irreps of the features that enter.
        backend: kernels.
        dtype: of the weights.
        generator: source of the initial weights.

    Raises:
        ConfigError: none of the hidden irreps can be reached, or an energy is to be read off features without scalars.
    """

    def __init__(
        self,
        config: MultiACEConfig,
        layer: LayerConfig,
        *,
        features: Irreps,
        backend: Backend,
        dtype: torch.dtype,
        generator: torch.Generator | None,
    ) -> None:
        super().__init__()
        self.features = features
        channels, num_elements = config.num_channels, len(config.elements)
        options = {"backend": backend, "dtype": dtype, "generator": generator}
        self.irreps = reachable_irreps(config, layer, features)
        update = gate_input(self.irreps, layer.gate)
        targets = update if layer.correlation == 1 else Irreps.spherical_harmonics(config.l_max)
        self.atomic_basis = AtomicBasis(config, layer, features=features, targets=targets, **options)
        self.product_basis = self.residual = None
        if layer.correlation > 1:
            self.product_basis = ProductBasisLayer(
                layer,
                features=self.atomic_basis.irreps,
                output=update,
                num_channels=channels,
                num_elements=num_elements,
                **options,
            )
        if layer.residual != "none":
            count = num_elements if layer.residual == "element" else None
            self.residual = IrrepsLinear(features, channels, update, channels, num_elements=count, **options)
        self.gate = None if layer.gate == "none" else Gate(self.irreps, layer.gate)
        self.readout = Readout(layer, self.irreps, channels, dtype, generator)
        self.further = nn.ModuleDict(
            {name: Readout(layer, self.irreps, channels, dtype, generator) for name in config.further_readouts}
        )

    def forward(
        self, features: Float[Tensor, "_ sources channels"], edges: EdgeFeatures
    ) -> Float[Tensor, "components targets channels"]:
        """Features of the sources to new features of the targets, components those of ``irreps``."""
        elements, targets = edges.edges.elements, edges.edges.num_targets
        updated = self.atomic_basis(features, edges)
        if self.product_basis is not None:
            updated = self.product_basis(updated, elements)
        if self.residual is not None:
            own = features if features.shape[1] == targets else features.narrow(1, 0, targets)
            updated = updated + self.residual(own, elements)
        return updated if self.gate is None else self.gate(updated)


def reachable_irreps(config: MultiACEConfig, layer: LayerConfig, features: Irreps) -> Irreps:
    """The hidden irreps that message or residual can reach from ``features``; the others would be zero for ever.

    Raises:
        ConfigError: there is none.
    """
    hidden = Irreps(layer.hidden_irreps)
    source = features if layer.node_features else Irreps("0e")
    targets = hidden if layer.correlation == 1 else Irreps.spherical_harmonics(config.l_max)
    basis = ConvolutionDescriptor(source, config.l_max, targets).output
    reached = set(basis)
    if layer.correlation > 1:
        product = ProductBasisDescriptor(basis, hidden, layer.correlation, layer.distinct_factors)
        reached = {hidden[block.output] for block in product.blocks}
    if layer.residual != "none":
        reached |= set(features)
    found = Irreps([irrep for irrep in hidden if irrep in reached])
    if not found:
        raise ConfigError(
            f"hidden_irreps '{layer.hidden_irreps}': none of them can be reached from features '{features}' with "
            f"l_max = {config.l_max} and correlation {layer.correlation}; add 0e, or raise l_max or the correlation"
        )
    return found
