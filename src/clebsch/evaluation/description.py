"""What a model is made of and what it costs, read off its configuration."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from clebsch.evaluation.cost import Cost, convolution_of, layer_cost, shared_cost
from clebsch.models import MultiACE, MultiACEConfig
from clebsch.models.config import LayerConfig
from clebsch.models.layer import Layer
from clebsch.o3 import Irrep, Irreps

Degrees = dict[Irrep, int]


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
        avg_num_neighbors: neighbours per atom that the cost per atom is for.
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


def describe(config: MultiACEConfig, avg_num_neighbors: float | None = None) -> Description:
    """Build the model of ``config`` once and describe it.

    Args:
        config: the model.
        avg_num_neighbors: neighbours per atom of its data; None takes the number that its sums are normalised by.
    """
    model = MultiACE(config)
    layers = []
    body_order: int | None = 1
    degrees: Degrees | None = dict.fromkeys(Irreps("0e"), 0)
    features = "0e"
    for layer_config, layer in zip(config.layers, model.layers, strict=True):
        assert isinstance(layer, Layer)
        body_order, degrees = next_body_order(layer_config, body_order), next_degrees(layer, degrees)
        product = layer.product_basis
        layers.append(
            LayerDescription(
                features=features if layer_config.node_features else "none",
                basis=str(layer.atomic_basis.irreps),
                hidden=str(layer.irreps),
                convolution_paths=len(convolution_of(layer).paths),
                product_paths=sum(b.coupling.num_paths for b in product.descriptor.blocks) if product else 0,
                body_order=body_order,
                degree=None if degrees is None else max(degrees.values()),
                cost=layer_cost(layer, config),
            )
        )
        features = str(layer.irreps)
    return Description(
        elements=config.elements,
        r_max=config.r_max,
        num_channels=config.num_channels,
        receptive_field=len(config.layers) * config.r_max,
        avg_num_neighbors=config.avg_num_neighbors if avg_num_neighbors is None else avg_num_neighbors,
        parameters=count_parameters(model),
        layers=tuple(layers),
        shared=shared_cost(model.edges, config),
    )


def next_body_order(layer: LayerConfig, body_order: int | None) -> int | None:
    """Body order after a layer, given that of the features that enter; None stands for unbounded.

    A one-particle basis function φ_ij with the features of the neighbour correlates as many atoms around i as h_j
    does; the product of ν of them adds up: body order ν b + 1, with b = 1 without features.
    """
    if layer.gate != "none" or body_order is None:
        return None
    return layer.correlation * (body_order if layer.node_features else 1) + 1


def next_degrees(layer: Layer, degrees: Degrees | None) -> Degrees | None:
    """Polynomial degree of every irrep after a layer, given those that enter; None stands for unbounded.

    A coupling h_l1 ⊗ Y_l2 has the degree of h_l1 plus l2, and a product the sum of its factors' degrees. Parity and
    the triangle rule leave out some: three harmonics of degree 3 do not couple to a scalar, so that linear ACE with
    ν = l_max = 3 has degree 8.
    """
    if layer.gate is not None or degrees is None:
        return None
    convolution = convolution_of(layer)
    basis: Degrees = {}
    for path in convolution.paths:
        entering = degrees[convolution.features[path.feature]] if layer.atomic_basis.layer.node_features else 0
        _raise(basis, convolution.output[path.output], entering + path.l2)
    result = basis
    if layer.product_basis is not None:
        product, result = layer.product_basis.descriptor, {}
        of_component = np.repeat([basis[irrep] for irrep in product.features], [i.dim for i in product.features])
        for block in product.blocks:
            highest = int(of_component[block.coupling.monomials].sum(axis=1).max())
            _raise(result, product.output[block.output], highest)
    if layer.residual is not None:
        for irrep in layer.irreps:
            _raise(result, irrep, degrees.get(irrep, 0))
    return result


def _raise(degrees: Degrees, irrep: Irrep, degree: int) -> None:
    degrees[irrep] = max(degree, degrees.get(irrep, 0))


def count_parameters(model: MultiACE) -> dict[str, int]:
    """Number of parameters by block: "embedding", "edges.booster", "layers.0.product_basis" and so on."""
    counts: Counter[str] = Counter()
    for name, parameter in model.named_parameters():
        parts = name.split(".")
        depth = {"layers": 3, "edges": 2}.get(parts[0], 1)
        counts[".".join(parts[:depth])] += parameter.numel()
    return dict(counts)
