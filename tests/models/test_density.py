"""The density that the atomic basis is divided by, and the gate behind it, by their formulas."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from pydantic import ValidationError
from torch.nn.functional import layer_norm, silu

from clebsch.basis.mlp import activation_scale
from clebsch.data import Batch
from clebsch.models import LayerConfig, MultiACE, MultiACEConfig
from clebsch.models.basis_gate import BasisGate
from clebsch.models.config import DensityConfig
from clebsch.models.potential import edge_vectors
from clebsch.o3 import Irreps
from clebsch.ops import get_backend
from contract.designs import design


def model_of(**density: object) -> MultiACE:
    layer = {"correlation": 2, "density": density, "radial": {"kind": "mlp_elements"}}
    config = design(layer, r_max=3.0)
    return MultiACE(config, dtype=torch.float64, backend="reference", generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("elements", [False, True])
def test_the_formula(make_batch: Callable[..., Batch], elements: bool):
    model, batch = model_of(elements=elements, hidden=(4,), trainable=True), make_batch(6)
    density = model.layers[0].atomic_basis.density
    with torch.no_grad():
        density.alpha.fill_(2.5)
        density.beta.fill_(0.7)
    vectors = edge_vectors(batch, batch.positions, batch.cell)
    edges = model.edges(vectors, batch.edges)
    basis, envelope = edges.radial.bare, edges.radial.envelope
    if elements:
        network, centers = density.network, batch.species[batch.centers]
        x = basis @ network.input / basis.shape[1] ** 0.5
        x = x + network.centers[centers] + network.neighbors[batch.species[batch.neighbors]]
        x = silu(layer_norm(x, (4,))) @ network.weights[0] / 2 + network.biases[0]
    else:
        x = basis @ density.weight / basis.shape[1] ** 0.5
    expected = torch.full((len(batch.species),), 2.5, dtype=torch.float64)
    for edge, center in enumerate(batch.centers.tolist()):
        expected[center] += 0.7 * envelope[edge] * torch.tanh(x[edge, 0] ** 2)
    torch.testing.assert_close(density(edges), expected)


def test_the_atomic_basis_is_divided_by_it(make_batch: Callable[..., Batch]):
    model, batch = model_of(trainable=True), make_batch(6)
    basis = model.layers[0].atomic_basis
    edges = model.edges(edge_vectors(batch, batch.positions, batch.cell), batch.edges)
    features = model.embedding[batch.species][None]
    divided, divisor = basis(features, edges), basis.density(edges)
    basis.density = None
    torch.testing.assert_close(divided * divisor[:, None], basis(features, edges))


def test_the_gate():
    irreps, options = Irreps("0e+1o"), {"backend": get_backend("reference"), "dtype": torch.float64}
    gate = BasisGate(
        irreps,
        features=Irreps("0e"),
        sent_channels=2,
        num_channels=3,
        generator=torch.Generator().manual_seed(0),
        **options,
    )
    basis, sent = torch.randn(5, 4, 3, dtype=torch.float64), torch.randn(1, 6, 2, dtype=torch.float64)
    x = basis + gate.residual(sent[:, :4])
    scalars = activation_scale("silu") * silu(x[1])
    vectors = activation_scale("sigmoid") * torch.sigmoid(x[0]) * x[2:]
    torch.testing.assert_close(gate(basis, sent), gate.mixing(torch.cat([scalars[None], vectors])))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"edge_channels": 4, "path_mixing": "sum"}, "edge_channels are made by linear_up of node_features"),
        ({"basis_gate": True}, "basis_gate stands between path_mixing linear and a product"),
        ({"radial": {"kind": "mlp_elements", "hidden": ()}}, "mlp_elements needs hidden layers of at least two"),
        ({"density": {"elements": True, "hidden": (1,)}}, "the layer norms need hidden layers"),
    ],
)
def test_what_makes_no_sense_is_refused(settings: dict[str, object], message: str):
    with pytest.raises(ValidationError, match=message):
        LayerConfig(hidden_irreps="0e", **settings)


def test_a_booster_has_channels_of_its_own():
    layer = LayerConfig(hidden_irreps="0e", edge_channels=2)
    with pytest.raises(ValidationError, match=r"layers.0.edge_channels: a booster has num_channels"):
        MultiACEConfig(elements=("H",), booster={"level": 1}, layers=(layer,))
    assert DensityConfig().hidden == (64,)
