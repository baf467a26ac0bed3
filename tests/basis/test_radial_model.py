"""Radial models: which network or table gives the weight of which edge."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from clebsch.basis import RadialConfig, RadialModel
from clebsch.basis.mlp import MLP
from clebsch.basis.radial_model import PairMLP, one_hot_pairs
from clebsch.config import parse_config
from clebsch.errors import ConfigError

ELEMENTS, NUM_BASIS, PATHS, CHANNELS, EDGES = 3, 4, 5, 2, 12


def model(kind: str, dtype: torch.dtype = torch.float64) -> RadialModel:
    return RadialModel(
        RadialConfig.model_validate({"kind": kind, "hidden": (8, 6)}),
        num_basis=NUM_BASIS,
        num_elements=ELEMENTS,
        num_paths=PATHS,
        num_channels=CHANNELS,
        dtype=dtype,
        generator=torch.Generator().manual_seed(0),
    )


@pytest.fixture
def edges(rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Basis [edges, num_basis], pairs [edges] and envelope [edges] of random edges."""
    basis, pairs = rng.normal(size=(EDGES, NUM_BASIS)), rng.integers(ELEMENTS**2, size=EDGES)
    return torch.from_numpy(basis), torch.from_numpy(pairs), torch.from_numpy(rng.uniform(size=EDGES))


def one_hot(pair: int) -> torch.Tensor:
    """Centre and neighbour of a pair, one after another."""
    found = torch.zeros(2 * ELEMENTS, dtype=torch.float64)
    found[pair // ELEMENTS] = found[ELEMENTS + pair % ELEMENTS] = 1
    return found


def test_linear_weights_of_every_pair(edges):
    basis, pairs, envelope = edges
    module = model("linear")
    found = module(basis, pairs, envelope)
    assert found.shape == (EDGES, PATHS, CHANNELS)
    for edge in range(EDGES):
        expected = sum(basis[edge, n] * module.weight[pairs[edge], n] for n in range(NUM_BASIS)) / NUM_BASIS**0.5
        torch.testing.assert_close(found[edge].flatten(), expected)


def test_a_linear_weight_belongs_to_one_ordered_pair(edges):
    basis, pairs, envelope = edges
    module = model("linear")
    before = module(basis, pairs, envelope)
    pair = int(pairs[0])
    with torch.no_grad():
        module.weight[pair] += 1
    changed = (module(basis, pairs, envelope) != before).flatten(1).any(1)
    assert torch.equal(changed, pairs == pair)


def test_one_network_for_all_elements(edges):
    basis, pairs, envelope = edges
    module = model("mlp")
    found = module(basis, pairs, envelope)
    torch.testing.assert_close(found.flatten(1), module.mlp(basis))
    torch.testing.assert_close(found, module(basis, pairs.flip(0), None))


def test_the_pair_network_is_added(edges):
    basis, pairs, envelope = edges
    module = model("mlp_pair")
    pair = torch.stack([module.pair_mlp.mlp(one_hot(int(p))) for p in pairs])
    torch.testing.assert_close(module(basis, pairs, None).flatten(1), module.mlp(basis) + pair)
    with_envelope = module.mlp(basis) + pair * envelope[:, None]
    torch.testing.assert_close(module(basis, pairs, envelope).flatten(1), with_envelope)


def test_pairs_are_one_hot_centres_and_neighbors():
    expected = torch.stack([one_hot(pair) for pair in range(ELEMENTS**2)])
    assert torch.equal(one_hot_pairs(ELEMENTS, torch.float64), expected)


def test_the_pair_network_is_evaluated_once_per_pair(edges, monkeypatch: pytest.MonkeyPatch):
    sizes = []
    forward = MLP.forward
    monkeypatch.setattr(MLP, "forward", lambda self, x: sizes.append(len(x)) or forward(self, x))
    PairMLP(ELEMENTS, (4,), 3, torch.float64)(edges[1])
    assert sizes == [ELEMENTS**2]


@pytest.mark.parametrize("kind", ["linear", "mlp", "mlp_pair"])
def test_beyond_the_cutoff_weights_are_zero(kind: str):
    zeros, pairs = torch.zeros(3, NUM_BASIS, dtype=torch.float64), torch.tensor([0, 4, 8])
    assert not model(kind)(zeros, pairs, torch.zeros(3, dtype=torch.float64)).any()


@pytest.mark.parametrize("kind", ["linear", "mlp", "mlp_pair"])
def test_no_edges_and_float32(kind: str):
    none = torch.zeros(0)
    found = model(kind, torch.float32)(none.reshape(0, NUM_BASIS), none.long(), none)
    assert found.shape == (0, PATHS, CHANNELS) and found.dtype == torch.float32


def test_wrong_configurations_are_errors():
    with pytest.raises(ConfigError, match=r"radial.kind: expected linear, mlp, mlp_pair or mlp_elements, not 'none'"):
        model("none")
    with pytest.raises(ConfigError, match=r"hidden\.1.*greater than or equal to 1"):
        parse_config(RadialConfig, {"hidden": [8, 0]})


@pytest.mark.parametrize("with_envelope", [True, False])
@pytest.mark.parametrize("kind", ["linear", "mlp", "mlp_pair", "mlp_elements"])
def test_on_nodes(edges, kind: str, with_envelope: bool):
    """The weights of every pair, and any linear map of the distances applied to them."""
    basis, _, envelope = edges
    envelope = envelope if with_envelope else None
    module = model(kind)
    blocks = module.on_nodes(basis, envelope)
    assert blocks.shape == (ELEMENTS**2 if module.depends_on_pair else 1, EDGES, PATHS * CHANNELS)
    for pair, block in enumerate(blocks):
        torch.testing.assert_close(block, module(basis, torch.full((EDGES,), pair), envelope).flatten(1))
    matrix = torch.randn(7, EDGES, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(module.on_nodes(basis, envelope, lambda values: matrix @ values), matrix @ blocks)
