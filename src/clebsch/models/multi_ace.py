"""The Multi-ACE model: edge vectors in, energies of atoms per layer out."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from clebsch.basis.mlp import normal
from clebsch.models.config import MultiACEConfig
from clebsch.models.layer import Layer
from clebsch.models.one_particle_basis import EdgeEmbedding
from clebsch.o3 import Irreps
from clebsch.ops import default_backend, get_backend


class MultiACE(nn.Module):
    r"""A Multi-ACE model (arXiv 2205.06643): linear ACE, NequIP, BOTNet, MACE, PACE and what lies between.

    .. math:: h_i^{(0)} = W_{z_i}, \qquad (h^{(t+1)}, e^{(t)}) = \mathrm{layer}_t(h^{(t)}, r)

    Args:
        config: the point of the design space.
        dtype: of weights and arithmetic.
        generator: source of the initial weights; None draws from torch's global one.
        backend: name of the kernels; None for the fastest on the CPU.

    Raises:
        BackendError: the backend is not available.
        ConfigError: a layer has hidden irreps that cannot be reached, or no scalars for its readout.
    """

    def __init__(
        self,
        config: MultiACEConfig,
        *,
        dtype: torch.dtype = torch.float32,
        generator: torch.Generator | None = None,
        backend: str | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        kernels = get_backend(backend or default_backend())
        self.embedding = normal((len(config.elements), config.num_channels), dtype, generator)
        self.edges = EdgeEmbedding(config, kernels, dtype, generator)
        self.layers = nn.ModuleList()
        irreps = Irreps("0e")
        for layer_config in config.layers:
            layer = Layer(config, layer_config, features=irreps, backend=kernels, dtype=dtype, generator=generator)
            irreps = layer.irreps
            self.layers.append(layer)

    def forward(
        self,
        vectors: Float[Tensor, "edges 3"],
        centers: Int64[Tensor, " edges"],
        neighbors: Int64[Tensor, " edges"],
        species: Int64[Tensor, " atoms"],
        *,
        fixed_weights: bool = False,
    ) -> Float[Tensor, "atoms layers"]:
        """Energies of every atom and layer, without scale, shift and E0.

        Args:
            vectors: r_ij = r_j - r_i + S cell in Å, in the dtype of the weights.
            centers: index i.
            neighbors: index j.
            species: index into ``config.elements``.
            fixed_weights: whether no derivative by the weights is wanted; what depends on them alone is then kept.
        """
        edges = self.edges(vectors, centers, neighbors, species, fixed_weights=fixed_weights)
        features = self.embedding.index_select(0, species)[None]
        energies = []
        for layer in self.layers:
            features, energy = layer(features, edges, species)
            energies.append(energy)
        return torch.stack(energies, dim=-1)
