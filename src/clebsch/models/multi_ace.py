"""The Multi-ACE model: edge vectors in, features and readouts of atoms out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from clebsch.basis.mlp import normal
from clebsch.models.config import MultiACEConfig
from clebsch.models.edge_embedding import EdgeEmbedding
from clebsch.models.layer import Layer
from clebsch.models.product_basis import ProductBasisLayer
from clebsch.o3 import Irreps
from clebsch.ops import Edges, default_backend, get_backend

Exchange = Callable[[Tensor], Tensor]


def no_exchange(features: Tensor) -> Tensor:
    """Return the features as they are: in one process every source is a target."""
    return features


@dataclass(frozen=True)
class ModelOutput:
    """What a model finds for every target.

    Attributes:
        features: h of the last layer [components, targets, channels].
        readouts: one [targets, layers] per readout: "energy", in units of the potential's scale, and the further ones.
    """

    features: Float[Tensor, "components targets channels"]
    readouts: dict[str, Float[Tensor, "targets layers"]]


class MultiACE(nn.Module):
    r"""A Multi-ACE model (arXiv 2205.06643): linear ACE, NequIP, BOTNet, MACE, PACE and what lies between.

    .. math:: h_i^{(0)} = W_{z_i}, \qquad h^{(t+1)} = \mathrm{layer}_t(h^{(t)}, r), \qquad
              e_i^{(t)} = \mathrm{readout}_t(h_i^{(t+1)})

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

    def forward(self, vectors: Float[Tensor, "edges 3"], edges: Edges, exchange: Exchange = no_exchange) -> ModelOutput:
        """Features and readouts of every target, without scale, shift and E0.

        Args:
            vectors: r_ij = r_j - r_i + S cell in Å, in the dtype of the weights.
            edges: pairs of atoms, their elements as indices into ``config.elements``.
            exchange: features of the targets [components, targets, channels] to those of the sources, targets first;
                called between layers, equally often whatever the edges are. In one process every source is a target.
        """
        given = self.edges(vectors, edges)
        features = self.embedding.index_select(0, edges.species)[None]
        readouts: dict[str, list[Tensor]] = {name: [] for name in ("energy", *self.config.further_readouts)}
        for index, module in enumerate(self.layers):
            layer = cast(Layer, module)
            features = layer(exchange(features) if index else features, given)
            readouts["energy"].append(layer.readout(features))
            for name, readout in layer.further.items():
                readouts[name].append(readout(features))
        return ModelOutput(features, {name: torch.stack(found, dim=-1) for name, found in readouts.items()})

    def freeze(self) -> None:
        """Make constants of the weights: control points and packed weights are made once, in place."""
        if self.edges.spline is not None:
            functions = self.edges.functions_on_nodes()
            for layer in self.layers:
                cast(Layer, layer).atomic_basis.freeze(functions, self.edges.spline)
            self.edges.freeze()
        for layer in self.layers:
            cast(Layer, layer).atomic_basis.freeze_maps()
        for module in self.modules():
            if isinstance(module, ProductBasisLayer):
                module.freeze()
        self.requires_grad_(False)
