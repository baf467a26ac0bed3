"""The atomic basis of a layer, put together from its parts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from clebsch.data import Batch
from clebsch.models import MultiACE, MultiACEConfig
from clebsch.models.edge_embedding import EdgeFeatures
from clebsch.models.one_particle_basis import AtomicBasis
from clebsch.models.potential import edge_vectors
from clebsch.o3 import Irreps
from clebsch.ops import ConvolutionDescriptor, get_backend

K, LAMBDA = 4, 7.0


def second_layer(batch: Batch, layer: dict[str, Any], **changes: Any) -> tuple[AtomicBasis, torch.Tensor, EdgeFeatures]:
    """The atomic basis of a second layer, random features 0e + 1o and the edges."""
    given = {"elements": ["H", "C", "O"], "r_max": 3.0, "l_max": 2, "num_channels": K, "avg_num_neighbors": LAMBDA}
    layers = [{"hidden_irreps": "0e+1o"}, {"hidden_irreps": "0e+1o", **layer}]
    config = MultiACEConfig.model_validate({**given, "layers": layers, **changes})
    generator = torch.Generator().manual_seed(0)
    model = MultiACE(config, dtype=torch.float64, generator=generator, backend="reference")
    vectors = edge_vectors(batch, batch.positions, batch.cell)
    edges = model.edges(vectors, batch.edges)
    features = torch.randn(4, len(batch.species), K, dtype=torch.float64, generator=generator)
    basis = model.layers[1].atomic_basis
    assert isinstance(basis, AtomicBasis)
    return basis, features, edges


def pooled(
    descriptor: ConvolutionDescriptor, features: torch.Tensor | None, edges: EdgeFeatures, weights: torch.Tensor
) -> list[torch.Tensor]:
    convolution = get_backend("reference").convolution(descriptor, torch.float64)
    return list(convolution(features, edges.harmonics, weights, edges.edges))


def test_paths_are_mixed_linearly_and_by_element(make_batch: Callable[..., Batch]):
    batch = make_batch(5)
    basis, features, edges = second_layer(batch, {"element_message": True})
    descriptor = ConvolutionDescriptor(Irreps("0e+1o"), 2, Irreps("0e+1o"))
    assert basis.linear_up and basis.radial and basis.mixing and basis.element_mixing
    sent = basis.linear_up(features)
    radial = edges.radial
    weights = basis.radial(radial.basis, edges.pairs, radial.envelope)
    mixed = basis.mixing(pooled(descriptor, sent, edges, weights))
    expected = basis.element_mixing(mixed, batch.edges.elements)
    assert basis.irreps == Irreps("0e+1o")
    torch.testing.assert_close(basis(features, edges), expected)


def test_paths_are_summed_before_a_product(make_batch: Callable[..., Batch]):
    batch = make_batch(5)
    layer = {"path_mixing": "sum", "correlation": 2, "linear_up": False}
    basis, features, edges = second_layer(batch, layer)
    descriptor = ConvolutionDescriptor(Irreps("0e+1o"), 2, Irreps("0e+1o+2e"), "sum")
    expected = torch.cat(pooled(descriptor, features, edges, basis.radial_weights(edges)))
    assert basis.mixing is None and basis.linear_up is None and basis.irreps == Irreps("0e+1o+2e")
    torch.testing.assert_close(basis(features, edges), expected)


def test_summed_paths_may_pass_the_element_too(make_batch: Callable[..., Batch]):
    """Also where not every harmonic can be reached: from 1e alone, 0e is not."""
    batch = make_batch(4)
    layer = {"hidden_irreps": "0e", "path_mixing": "sum", "correlation": 2, "element_message": True}
    given = {"elements": ["H", "C", "O"], "r_max": 3.0, "l_max": 1, "num_channels": K}
    layers = [{"hidden_irreps": "1o", "readout": "none"}, {"hidden_irreps": "1e", "readout": "none"}]
    config = MultiACEConfig.model_validate({**given, "layers": [*layers, layer]})
    model = MultiACE(config, dtype=torch.float64, backend="reference")
    vectors = edge_vectors(batch, batch.positions, batch.cell)
    last = model.layers[2].atomic_basis
    assert isinstance(last, AtomicBasis)
    assert last.irreps == last.mixed == Irreps("1o")
    assert model(vectors, batch.edges).readouts["energy"].isfinite().all()


@pytest.mark.parametrize("node_features", [False, True])
def test_boosted_weights_are_those_of_the_paths_harmonic(make_batch: Callable[..., Batch], node_features: bool):
    batch = make_batch(5)
    layer = {"node_features": node_features, "radial": {"kind": "mlp_pair" if node_features else "none"}}
    booster = {"level": 1, "hidden": [8]}
    basis, features, edges = second_layer(batch, layer, booster=booster)
    descriptor = ConvolutionDescriptor(Irreps("0e+1o" if node_features else "0e"), 2, Irreps("0e+1o"))
    radial = edges.radial
    assert radial.boosted is not None
    expected = torch.stack([radial.boosted[:, path.l2] for path in descriptor.paths], dim=1)
    if basis.radial is not None:
        expected = expected * basis.radial(radial.basis, edges.pairs, None)
    torch.testing.assert_close(basis.radial_weights(edges), expected)
    assert basis(features, edges).shape == (4, 5, K)


def test_without_node_features_only_elements_and_distances_count(make_batch: Callable[..., Batch]):
    batch = make_batch(5)
    basis, features, edges = second_layer(batch, {"node_features": False})
    first, second = (basis(f, edges) for f in (features, 2 * features))
    assert torch.equal(first, second) and basis.linear_up is None


@pytest.mark.parametrize(("normalization", "factor"), [("average", 1 / LAMBDA), ("sqrt", LAMBDA**-0.5), ("none", 1.0)])
def test_the_sum_is_normalized(make_batch: Callable[..., Batch], normalization: str, factor: float):
    batch = make_batch(5)
    changes = {"neighbor_normalization": normalization}
    one, features, edges = second_layer(batch, {}, avg_num_neighbors=1.0, **changes)
    many, _, scaled = second_layer(batch, {}, **changes)
    torch.testing.assert_close(many(features, scaled), factor * one(features, edges))
    gained, _, edges_of_gained = second_layer(batch, {}, neighbor_gain=2.5, **changes)
    expected = 2.5 * many(features, scaled)
    torch.testing.assert_close(gained(features, edges_of_gained), expected)


def test_edges(make_batch: Callable[..., Batch]):
    batch = make_batch(4, periodic=True)
    _, _, edges = second_layer(batch, {})
    r = edge_vectors(batch, batch.positions, batch.cell).norm(dim=1)
    x = r / 3.0
    radial = edges.radial
    torch.testing.assert_close(radial.envelope, 1 - 21 * x**5 + 35 * x**6 - 15 * x**7)
    torch.testing.assert_close(edges.pairs, 3 * batch.species[batch.centers] + batch.species[batch.neighbors])
    assert radial.boosted is None and edges.harmonics.shape == (len(r), 9) and radial.basis.shape == (len(r), 8)
    torch.testing.assert_close(edges.harmonics[:, 0], torch.full_like(r, 1 / LAMBDA))


def test_no_edges(make_batch: Callable[..., Batch]):
    batch = make_batch(1)
    basis, features, edges = second_layer(batch, {"element_message": True})
    found = basis(features, edges)
    assert found.shape == (4, 1, K) and not found.any()
