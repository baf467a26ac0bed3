"""The product basis of one layer: factors, weights per element, linear mixing."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from clebsch.basis.mlp import normal
from clebsch.models.config import LayerConfig
from clebsch.models.linear import IrrepsLinear
from clebsch.o3 import Irreps
from clebsch.ops import Backend, ElementGroups, ProductBasisDescriptor


class ProductBasisLayer(nn.Module):
    r"""Message of the product basis, :math:`m_i = \mathrm{linear}(B_i)` (arXiv 2206.07697, eq. 10-11).

    Args:
        layer: the layer; its correlation is at least 2.
        features: irreps of the atomic basis.
        output: irreps of the message, repeats allowed where the product is mixed linearly.
        num_channels: channels K.
        num_elements: elements Z.
        backend: kernels.
        dtype: of the weights.
        generator: source of the initial weights.
    """

    packed: Tensor | None
    nothing: Tensor

    def __init__(
        self,
        layer: LayerConfig,
        *,
        features: Irreps,
        output: Irreps,
        num_channels: int,
        num_elements: int,
        backend: Backend,
        dtype: torch.dtype,
        generator: torch.Generator | None,
    ) -> None:
        super().__init__()
        self.features = features
        unique = Irreps(dict.fromkeys(output))
        self.descriptor = ProductBasisDescriptor(features, unique, layer.correlation, layer.distinct_factors)
        self.product = backend.product_basis(self.descriptor, dtype)
        options = {"backend": backend, "dtype": dtype, "generator": generator}
        count = layer.correlation if layer.distinct_factors else 0
        self.factors = nn.ModuleList(
            [IrrepsLinear(features, num_channels, features, num_channels, **options) for _ in range(count)]
        )
        self.weights = nn.ParameterList()
        for block in self.descriptor.blocks:
            paths = block.coupling.num_paths
            self.weights.append(normal((num_elements, paths, num_channels), dtype, generator, divisor=paths))
        self.register_buffer("packed", None, persistent=False)
        nothing = torch.zeros(num_elements, 0, num_channels, dtype=dtype)  # a product without couplings
        self.register_buffer("nothing", nothing, persistent=False)
        self.mixing = None
        if layer.product_linear:
            self.mixing = IrrepsLinear(unique, num_channels, output, num_channels, **options)

    def forward(
        self, basis: Float[Tensor, "_ atoms channels"], elements: ElementGroups
    ) -> Float[Tensor, "components atoms channels"]:
        """A [components, atoms, channels] to the message, components those of the output."""
        weights = self.packed if self.packed is not None else self.pack_weights()
        product = self.product(self.product_factors(basis), weights, elements)
        return product if self.mixing is None else self.mixing(product)

    def freeze(self) -> None:
        """Keep the packed weights in place of those of the blocks."""
        self.packed = self.pack_weights().detach()
        self.weights = nn.ParameterList()

    def pack_weights(self) -> Float[Tensor, "elements paths channels"]:
        """The weights of all blocks, one after another."""
        parts = list(self.weights) or [self.nothing]
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)

    def product_factors(self, basis: Float[Tensor, "components atoms channels"]) -> list[Tensor]:
        """The factors: A itself, or its different linear maps, each of A's shape."""
        if not len(self.factors):
            return [basis]
        return [factor(basis) for factor in self.factors]
