"""What a model is made of and what it costs, read off its configuration."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from clebsch.evaluate.cost import Cost, convolution_of, layer_cost, shared_cost
from clebsch.models import MultiACE, MultiACEConfig
from clebsch.models.config import LayerConfig
from clebsch.models.layer import Layer


@dataclass(frozen=True)
class LayerDescription:
    """One layer.

    Attributes:
        features: irreps of the features that enter.
        basis: irreps of the atomic basis.
        hidden: irreps of the features that leave.
        convolution_paths: paths of the one-particle basis.
        product_paths: couplings of the product basis, summed over orders; 0 without one.
        body_order: highest number of atoms that a feature correlates; None where a gate makes it unbounded.
        degree: highest polynomial degree of a feature in the edge directions; None where a gate makes it unbounded.
        cost: of one forward pass.
    """

    features: str
    basis: str
    hidden: str
    convolution_paths: int
    product_paths: int
    body_order: int | None
    degree: int | None
    cost: Cost


@dataclass(frozen=True)
class Description:
    """A model: its parameters by block, its layers and its cost.

    Attributes:
        elements: chemical symbols.
        r_max: cutoff in Å.
        num_channels: channels K.
        receptive_field: T · r_max in Å, the distance over which atoms feel each other.
        avg_num_neighbors: edges per atom that the cost per atom is for.
        parameters: number of parameters by block.
        layers: one entry per layer.
        shared: cost of what all layers share: harmonics, radial basis and booster.
    """

    elements: tuple[str, ...]
    r_max: float
    num_channels: int
    receptive_field: float
    avg_num_neighbors: float
    parameters: dict[str, int]
    layers: tuple[LayerDescription, ...]
    shared: Cost

    @property
    def num_parameters(self) -> int:
        """All parameters."""
        return sum(self.parameters.values())

    @property
    def cost(self) -> Cost:
        """Operations of one forward pass, all layers."""
        costs = [self.shared, *(layer.cost for layer in self.layers)]
        return Cost(sum(cost.per_edge for cost in costs), sum(cost.per_atom for cost in costs))

    @property
    def flops_per_atom(self) -> float:
        """Operations per atom of one forward pass, edges included; energy and forces take about three times that."""
        return self.cost.per_atom + self.avg_num_neighbors * self.cost.per_edge


def describe(config: MultiACEConfig) -> Description:
    """Build the model of ``config`` once and describe it."""
    model = MultiACE(config)
    layers = []
    body_order, degree = 1, 0
    features = "0e"
    for layer_config, layer in zip(config.layers, model.layers, strict=True):
        assert isinstance(layer, Layer)
        body_order, degree = layer_orders(layer_config, config.l_max, body_order, degree)
        product = layer.product_basis
        layers.append(
            LayerDescription(
                features=features if layer_config.node_features else "none",
                basis=str(layer.atomic_basis.irreps),
                hidden=str(layer.irreps),
                convolution_paths=len(convolution_of(layer).paths),
                product_paths=sum(b.coupling.num_paths for b in product.descriptor.blocks) if product else 0,
                body_order=body_order,
                degree=degree,
                cost=layer_cost(layer, config),
            )
        )
        features = str(layer.irreps)
    return Description(
        elements=config.elements,
        r_max=config.r_max,
        num_channels=config.num_channels,
        receptive_field=len(config.layers) * config.r_max,
        avg_num_neighbors=config.avg_num_neighbors,
        parameters=count_parameters(model),
        layers=tuple(layers),
        shared=shared_cost(model.edges, config),
    )


def layer_orders(
    layer: LayerConfig, l_max: int, body_order: int | None, degree: int | None
) -> tuple[int | None, int | None]:
    """Body order and polynomial degree after a layer, given those of the features that enter.

    A one-particle basis function φ_ij with the features of the neighbour correlates as many atoms around i as h_j
    does, and multiplies the degree of h_j by a harmonic of degree ≤ l_max; the product of ν of them adds up:
    body order ν b + 1 and degree ν (d + l_max), with b = 1 and d = 0 without features. None stands for unbounded.
    """
    if layer.gate != "none" or body_order is None or degree is None:
        return None, None
    b, d = (body_order, degree) if layer.node_features else (1, 0)
    return layer.correlation * b + 1, layer.correlation * (d + l_max)


def count_parameters(model: MultiACE) -> dict[str, int]:
    """Number of parameters by block: "embedding", "edges.booster", "layers.0.product_basis" and so on."""
    counts: Counter[str] = Counter()
    for name, parameter in model.named_parameters():
        parts = name.split(".")
        depth = {"layers": 3, "edges": 2}.get(parts[0], 1)
        counts[".".join(parts[:depth])] += parameter.numel()
    return dict(counts)
