"""One-particle basis and its pooled sum, the atomic basis."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from clebsch.basis import EdgeBooster, RadialBasis, RadialModel
from clebsch.models.config import LayerConfig, MultiACEConfig
from clebsch.models.linear import IrrepsLinear, split_irreps
from clebsch.o3 import Irreps
from clebsch.ops import Backend, ConvolutionDescriptor


@dataclass
class Edges:
    """What every layer needs of the edges.

    Attributes:
        centers: index i of the atom that receives.
        neighbors: index j of the atom that sends.
        pairs: z_i * Z + z_j.
        harmonics: Y of the direction, (l_max + 1)^2 components.
        basis: radial basis times cutoff.
        envelope: cutoff function.
        boosted: coefficients of Y_l from the booster, or None.
    """

    centers: Int64[Tensor, " edges"]
    neighbors: Int64[Tensor, " edges"]
    pairs: Int64[Tensor, " edges"]
    harmonics: Float[Tensor, "edges harmonics"]
    basis: Float[Tensor, "edges num_basis"]
    envelope: Float[Tensor, " edges"]
    boosted: Float[Tensor, "edges degrees channels"] | None


class EdgeEmbedding(nn.Module):
    """Everything of the edges that layers share: harmonics, radial basis, booster.

    Args:
        config: the model.
        backend: kernels.
        dtype: of the weights.
        generator: source of the initial weights.
    """

    def __init__(
        self, config: MultiACEConfig, backend: Backend, dtype: torch.dtype, generator: torch.Generator | None
    ) -> None:
        super().__init__()
        self.config = config
        self.harmonics = backend.spherical_harmonics(config.l_max, dtype)
        self.radial_basis = RadialBasis(config.radial_basis, config.r_max, dtype)
        self.booster = None
        if config.booster is not None:
            self.booster = EdgeBooster(
                config.booster,
                num_basis=config.radial_basis.num,
                num_elements=len(config.elements),
                l_max=config.l_max,
                num_channels=config.num_channels,
                dtype=dtype,
                generator=generator,
            )

    def forward(
        self,
        vectors: Float[Tensor, "edges 3"],
        centers: Int64[Tensor, " edges"],
        neighbors: Int64[Tensor, " edges"],
        species: Int64[Tensor, " atoms"],
    ) -> Edges:
        """Edge vectors r_ij in Å, their atoms i and j, and the element index of every atom."""
        r = torch.linalg.vector_norm(vectors, dim=-1)
        envelope = self.radial_basis.envelope(r)
        basis = self.radial_basis.functions(r) * envelope[:, None]
        pairs = species[centers] * len(self.config.elements) + species[neighbors]
        return Edges(
            centers=centers,
            neighbors=neighbors,
            pairs=pairs,
            harmonics=self.harmonics(vectors),
            basis=basis,
            envelope=envelope,
            boosted=None if self.booster is None else self.booster(basis, pairs),
        )


class AtomicBasis(nn.Module):
    r"""The atomic basis of one layer.

    .. math:: A_{i,k,lm} = \frac{1}{\lambda} \sum_j \phi_{ij,k,lm}, \qquad
              \phi_{ij,pk,l_3 m_3} = R_{pk}(r_{ij}; z_i, z_j) [h_{j,k,l_1} \otimes Y_{l_2}(\hat r_{ij})]_{l_3 m_3}

    (arXiv 2205.06643, eq. 8-10), the paths p mixed or summed, then passed through a map per element if wanted.

    Args:
        config: the model.
        layer: the layer.
        features: irreps of the features that enter.
        targets: irreps wanted of A.
        backend: kernels.
        dtype: of the weights.
        generator: source of the initial weights.
    """

    degrees: Tensor

    def __init__(
        self,
        config: MultiACEConfig,
        layer: LayerConfig,
        *,
        features: Irreps,
        targets: Irreps,
        backend: Backend,
        dtype: torch.dtype,
        generator: torch.Generator | None,
    ) -> None:
        super().__init__()
        self.layer, self.features = layer, features
        self.scale = _neighbor_scale(config)
        source = features if layer.node_features else Irreps("0e")
        descriptor = ConvolutionDescriptor(source, config.l_max, Irreps(dict.fromkeys(targets)), layer.path_mixing)
        self.descriptor = descriptor
        self.irreps = targets if layer.correlation == 1 else descriptor.output
        self.mixed = descriptor.output if layer.element_message else self.irreps
        self.convolution = backend.convolution(descriptor, dtype)
        degrees = torch.tensor([path.l2 for path in descriptor.paths], dtype=torch.long)
        self.register_buffer("degrees", degrees, persistent=False)
        channels, num_elements = config.num_channels, len(config.elements)
        options = {"dtype": dtype, "generator": generator}
        self.linear_up = self.radial = self.mixing = self.element_mixing = None
        if layer.node_features and layer.linear_up:
            self.linear_up = IrrepsLinear(features, channels, features, channels, **options)
        if layer.radial.kind != "none":
            self.radial = RadialModel(
                layer.radial,
                num_basis=config.radial_basis.num,
                num_elements=num_elements,
                num_paths=len(descriptor.paths),
                num_channels=channels,
                **options,
            )
        if layer.path_mixing == "linear" or layer.correlation == 1:
            widths = [multiplicity * channels for multiplicity in descriptor.multiplicities]
            self.mixing = IrrepsLinear(descriptor.output, widths, self.mixed, channels, **options)
        if layer.element_message:
            self.element_mixing = IrrepsLinear(
                self.mixed, channels, self.irreps, channels, num_elements=num_elements, **options
            )

    def forward(
        self, features: Float[Tensor, "..."], edges: Edges, species: Int64[Tensor, " atoms"]
    ) -> Float[Tensor, "components atoms channels"]:
        """Features [components, atoms, channels], not read without ``node_features``, to A with its ``irreps``."""
        sent = None
        if self.layer.node_features:
            sent = features if self.linear_up is None else self.linear_up(split_irreps(features, self.features))
        weights = self.radial_weights(edges)
        pooled = self.convolution(sent, edges.harmonics, weights, edges.centers, edges.neighbors, species.shape[0])
        pooled = [part / self.scale for part in pooled]
        basis = torch.cat(pooled) if self.mixing is None else self.mixing(pooled)
        if self.element_mixing is not None:
            basis = self.element_mixing(split_irreps(basis, self.mixed), species)
        return basis

    def radial_weights(self, edges: Edges) -> Float[Tensor, "edges paths channels"]:
        """The radial model, times the boosted feature of the path's l2."""
        factors = []
        if edges.boosted is not None:
            factors.append(edges.boosted.index_select(1, self.degrees))
        if self.radial is not None:
            factors.append(self.radial(edges.basis, edges.pairs, None if factors else edges.envelope))
        return reduce(torch.mul, factors)


def _neighbor_scale(config: MultiACEConfig) -> float:
    number = config.avg_num_neighbors
    return number if config.neighbor_normalization == "average" else number**0.5
