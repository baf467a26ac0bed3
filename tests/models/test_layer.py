"""Layers anywhere in the design space: equivariant features, invariant energies, and what cannot be built."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clebsch.data import Batch
from clebsch.errors import ConfigError
from clebsch.models import LayerConfig, MultiACE, MultiACEConfig
from clebsch.models.edge_embedding import EdgeEmbedding
from clebsch.models.layer import Layer, reachable_irreps
from clebsch.models.potential import edge_vectors
from clebsch.o3 import Irrep, Irreps, irreps_rotation, random_rotation
from clebsch.ops import Edges, get_backend

HIDDEN = st.sets(st.sampled_from([Irrep(l, p) for l in (1, 2) for p in (1, -1)] + [Irrep(0, -1)]), max_size=3)
LAYERS = st.fixed_dictionaries(
    {
        "hidden_irreps": HIDDEN.map(lambda irreps: str(Irreps(["0e", *irreps]))),
        "node_features": st.booleans(),
        "linear_up": st.booleans(),
        "radial": st.sampled_from([{"kind": k, "hidden": [4]} for k in ("none", "linear", "mlp", "mlp_pair")]),
        "path_mixing": st.sampled_from(["linear", "sum"]),
        "element_message": st.booleans(),
        "correlation": st.sampled_from([1, 1, 2, 3]),
        "distinct_factors": st.booleans(),
        "residual": st.sampled_from(["none", "linear", "element"]),
        "gate": st.sampled_from(["none", "silu", "tanh", "abs"]),
        "readout": st.sampled_from(["linear", "mlp"]),
    }
)


def config(layers: list[dict[str, Any]], **changes: Any) -> MultiACEConfig:
    given = {"elements": ["H", "C", "O"], "r_max": 3.0, "l_max": 2, "num_channels": 4, "avg_num_neighbors": 8.0}
    return MultiACEConfig.model_validate({**given, "radial_basis": {"num": 4}, "layers": layers, **changes})


def build(found: MultiACEConfig) -> MultiACE:
    return MultiACE(found, dtype=torch.float64, generator=torch.Generator().manual_seed(0), backend="reference")


def features_and_energies(
    model: MultiACE, batch: Batch, positions: torch.Tensor
) -> list[tuple[Irreps, torch.Tensor, torch.Tensor]]:
    """Irreps, features and energies that every layer returns."""
    vectors = edge_vectors(batch, positions, batch.cell)
    edges = model.edges(vectors, batch.edges)
    features, found = model.embedding[batch.species][None], []
    for layer in model.layers:
        features = layer(features, edges)
        found.append((layer.irreps, features.detach(), layer.readout(features).detach()))
    return found


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(LAYERS, min_size=1, max_size=3), st.booleans(), st.sampled_from([1, -1]), st.integers(0, 99))
def test_every_point_of_the_design_space_is_equivariant(
    make_batch: Callable[..., Batch], layers: list[dict[str, Any]], boosted: bool, sign: int, seed: int
):
    boosted = boosted or any(layer["radial"]["kind"] == "none" for layer in layers)
    found = config(layers, booster={"level": 1, "hidden": [4]} if boosted else None)
    batch, rotation = make_batch(6, seed=seed), sign * random_rotation(np.random.default_rng(seed))
    model = build(found)
    plain = features_and_energies(model, batch, batch.positions)
    turned = features_and_energies(model, batch, batch.positions @ torch.from_numpy(rotation).T)
    for (irreps, features, energies), (_, other, same) in zip(plain, turned, strict=True):
        expected = torch.einsum("ab,bnk->ank", torch.from_numpy(irreps_rotation(irreps, rotation)), features)
        scale = 1 + float(features.abs().max())
        torch.testing.assert_close(other, expected, rtol=0, atol=1e-11 * scale)
        torch.testing.assert_close(same, energies, rtol=0, atol=1e-11 * (1 + float(energies.abs().max())))
    vectors = edge_vectors(batch, batch.positions, batch.cell)
    output = model(vectors, batch.edges)
    torch.testing.assert_close(output.features, plain[-1][1])
    total = output.readouts["energy"]
    torch.testing.assert_close(total, torch.stack([energies for *_, energies in plain], dim=1))


@settings(max_examples=40)
@given(LAYERS, st.sampled_from(["0e", "0e+1o", "1o", "1e+0o", "0e+0o+1o+1e+2o+2e"]), st.integers(0, 2))
def test_reachable_irreps_are_not_zero(layer: dict[str, Any], irreps: str, l_max: int):
    """With random features on five atoms, each a neighbour of all others, every irrep of the result is non-zero."""
    changes = {"radial": {"kind": "mlp", "hidden": [4]}, "gate": "none", "node_features": True, "readout": "none"}
    found = config([{**layer, **changes}, {"hidden_irreps": "0e"}], l_max=l_max)
    generator, options = torch.Generator().manual_seed(0), {"dtype": torch.float64}
    try:
        module = Layer(
            found,
            found.layers[0],
            features=Irreps(irreps),
            backend=get_backend("reference"),
            generator=generator,
            **options,
        )
    except ConfigError:
        return
    vectors = torch.randn(20, 3, generator=generator, **options)
    vectors = 2 * vectors / vectors.norm(dim=1, keepdim=True)
    centers = torch.arange(20) // 4
    neighbors, species = (centers + 1 + torch.arange(20) % 4) % 5, torch.tensor([0, 1, 2, 1, 0])
    embedding = EdgeEmbedding(found, get_backend("reference"), torch.float64, generator)
    edges = embedding(vectors, Edges.of(centers, neighbors, species, 3))
    updated = module(torch.randn(Irreps(irreps).dim, 5, 4, generator=generator, **options), edges)
    assert updated.shape[0] == module.irreps.dim and set(module.irreps) <= set(Irreps(layer["hidden_irreps"]))
    assert all(updated[components].abs().max() > 1e-8 for components in module.irreps.slices())


def test_the_formula_of_an_update(make_batch: Callable[..., Batch]):
    """h' = gate(linear(B(A)) + residual(h)), readout of the scalars."""
    found = config(
        [{"hidden_irreps": "0e+1o", "correlation": 2, "gate": "silu", "residual": "element", "readout": "mlp"}]
    )
    model, batch = build(found), make_batch(5)
    vectors = edge_vectors(batch, batch.positions, batch.cell)
    edges = model.edges(vectors, batch.edges)
    layer, h = model.layers[0], model.embedding[batch.species][None]
    elements = batch.edges.elements
    total = layer.product_basis(layer.atomic_basis(h, edges), elements) + layer.residual([h], elements)
    torch.testing.assert_close(layer(h, edges), layer.gate(total))
    energies = model(vectors, batch.edges).readouts["energy"]
    torch.testing.assert_close(energies, layer.readout(layer.gate(total))[:, None])


def test_what_cannot_be_reached_is_an_error():
    with pytest.raises(ConfigError, match=r"hidden_irreps '1e': none of them can be reached from features '0e'"):
        build(config([{"hidden_irreps": "1e", "readout": "none"}, {"hidden_irreps": "0e"}]))
    layers = [{"hidden_irreps": "1o", "readout": "none"}, {"hidden_irreps": "1e", "readout": "none"}]
    with pytest.raises(ConfigError, match=r"readout: expected scalars 0e .* got '1e' \(of hidden_irreps '0e\+1e'"):
        build(config([*layers, {"hidden_irreps": "0e+1e"}], l_max=1))


def test_dtypes_start_alike_and_seeds_repeat():
    found = config([{"hidden_irreps": "0e+1o", "correlation": 2}, {"hidden_irreps": "0e", "residual": "element"}])
    low, high, again = (
        MultiACE(found, dtype=dtype, generator=torch.Generator().manual_seed(5)).state_dict()
        for dtype in (torch.float32, torch.float64, torch.float64)
    )
    for name, value in high.items():
        torch.testing.assert_close(low[name], value.float(), rtol=1e-6, atol=0)
        assert torch.equal(value, again[name]) and low[name].dtype == torch.float32


def test_layers_are_strict():
    with pytest.raises(ValueError, match="frozen"):
        LayerConfig(hidden_irreps="0e").gate = "silu"  # type: ignore[misc]


def test_the_residual_keeps_what_the_message_cannot_reach():
    layer = {"hidden_irreps": "0e+1e", "node_features": False}
    for residual, expected in (("none", "0e"), ("linear", "0e+1e")):
        found = config([{**layer, "residual": residual}])
        assert reachable_irreps(found, found.layers[0], Irreps("0e+1e+0o")) == Irreps(expected)
