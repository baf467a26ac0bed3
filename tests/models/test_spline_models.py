"""Models whose radial weights are splines."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from clebsch.basis import SplineGrid
from clebsch.data import Batch
from clebsch.models import MultiACE, Potential, PotentialConfig
from clebsch.models.potential import edge_vectors
from clebsch.models.presets import botnet, linear_ace, mace, nequip, pace

ELEMENTS = ("H", "C", "O")
SIZES: dict[str, Any] = {"elements": ELEMENTS, "r_max": 3.0, "num_channels": 4, "l_max": 2}
MEMBERS = {"linear_ace": linear_ace, "nequip": nequip, "botnet": botnet, "mace": mace, "pace": pace}


def potential(member: str, intervals: int | None, seed: int = 0, dtype: torch.dtype = torch.float64) -> Potential:
    config = MEMBERS[member](**SIZES, spline_intervals=intervals)
    options = {"e0": dict.fromkeys(ELEMENTS, 0.0), "dtype": dtype, "backend": "reference", "seed": seed}
    return Potential(PotentialConfig(model=config), **options)


@pytest.mark.parametrize("member", MEMBERS)
def test_splines_tend_to_the_network(make_batch: Callable[..., Batch], member: str):
    """Same weights; 4 times as many intervals, about 4^4 and 4^3 times smaller errors."""
    batch = make_batch(6)
    exact = potential(member, None)(batch)
    errors = []
    for intervals in (64, 256):
        found = potential(member, intervals)(batch)
        pairs = ((found.energy, exact.energy), (found.forces, exact.forces))
        errors.append([float((a - b).abs().max()) for a, b in pairs])
    assert errors[1][0] < errors[0][0] / 20 and errors[1][1] < errors[0][1] / 20
    assert errors[1][1] < 1e-3 * float(exact.forces.abs().max())


def test_splines_follow_the_weights(make_batch: Callable[..., Batch]):
    """However these change: in place, through ``data``, or loaded; and so does their dtype."""
    batch, found = make_batch(4), potential("mace", 64)
    other = potential("mace", 64, seed=1)
    first = found(batch).energy
    layer: Any = found.model.layers[0]
    assert torch.equal(found(batch).energy, first)
    with torch.no_grad():
        next(layer.atomic_basis.radial.parameters()).mul_(1.5)
    second = found(batch).energy
    assert not torch.allclose(second, first)
    next(layer.atomic_basis.radial.parameters()).data.mul_(1.5)
    assert not torch.allclose(found(batch).energy, second)
    found.load_state_dict(other.state_dict())
    torch.testing.assert_close(found(batch).energy, other(batch).energy)
    single = found(batch).energy
    edges = found.model.edges(edge_vectors(batch, batch.positions, batch.cell), batch.edges)
    assert layer.atomic_basis.radial_weights(edges).table.dtype == torch.float64
    found.model.float()
    torch.testing.assert_close(found(batch).energy, single, rtol=1e-4, atol=1e-5)
    edges = found.model.edges(edge_vectors(batch, batch.positions, batch.cell).float(), batch.edges)
    assert layer.atomic_basis.radial_weights(edges).table.dtype == torch.float32


def test_the_layers_share_one_grid():
    """Constants of the model stay a few MB whatever the number of intervals and layers."""
    model = MultiACE(mace(**SIZES, num_layers=4, spline_intervals=2048), dtype=torch.float64)
    assert sum(buffer.nbytes for buffer in model.buffers() if buffer.layout is torch.strided) < 3e6
    assert sum(isinstance(module, SplineGrid) for module in model.modules()) == 1


def test_splines_are_trained_through(make_batch: Callable[..., Batch]):
    batch = make_batch(4)
    gradients = []
    for intervals in (None, 512):
        found = potential("pace", intervals)
        found(batch, create_graph=True).forces.square().sum().backward()
        gradients.append({name: p.grad for name, p in found.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    for name, expected in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))
