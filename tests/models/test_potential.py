"""The potential: how energies are put together, shared and differentiated."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from clebsch.data import Batch, Configuration
from clebsch.errors import BackendError, DataError
from clebsch.models import Potential, PotentialConfig, Prediction, ZBLConfig
from clebsch.models.potential import edge_vectors
from clebsch.models.presets import botnet, linear_ace, mace, nequip, pace
from clebsch.ops import default_backend

ELEMENTS = ("H", "C", "O")
E0 = {"H": -13.6, "C": -1030.5, "O": -2042.25}
SIZES: dict[str, Any] = {"elements": ELEMENTS, "r_max": 3.0, "num_channels": 4, "l_max": 2}
MODELS = {
    "linear_ace": linear_ace(**SIZES),
    "nequip": nequip(**SIZES, num_layers=3),
    "botnet": botnet(**SIZES, num_layers=3),
    "mace": mace(**SIZES, L_max=1, correlation=2),
    "pace": pace(**SIZES, L_max=1, correlation=2),
}


def potential(
    name: str = "mace", *, zbl: bool = False, dtype: torch.dtype | str = torch.float64, **options: Any
) -> Potential:
    config = PotentialConfig(model=MODELS[name], terms=(ZBLConfig(),) if zbl else ())
    return Potential(config, **{"e0": E0, "dtype": dtype, **options})


def tensors_of(prediction: Prediction) -> dict[str, torch.Tensor]:
    """What a prediction holds, by name."""
    return {name: value for name, value in vars(prediction).items() if isinstance(value, torch.Tensor)}


def per_graph(values: torch.Tensor, batch: Batch) -> torch.Tensor:
    return torch.stack([values[batch.graph_index == graph].sum(0) for graph in range(batch.num_graphs)])


@pytest.mark.parametrize("zbl", [False, True])
@pytest.mark.parametrize("name", sorted(MODELS))
def test_the_formula(name: str, zbl: bool, make_batch: Callable[..., Batch], backend: str):
    """E = sum_i [E0 + scale sum_t e + shift] (+ ZBL), and every sum of parts is the whole."""
    batch = make_batch(6, 1, 4)
    scale, shift = {"H": 0.5, "C": 1.5, "O": 2.0}, {"H": 0.1, "C": -0.2, "O": 0.3}
    found = potential(name, zbl=zbl, scale=scale, shift=shift, backend=backend)
    prediction = found(batch, forces=False)
    vectors = edge_vectors(batch, batch.positions, batch.cell)
    output = found.model(vectors, batch.edges)
    layers = output.readouts["energy"].detach()
    e0, factor, offset = (
        torch.tensor([values[ELEMENTS[z]] for z in batch.species.tolist()], dtype=torch.float64)
        for values in (E0, scale, shift)
    )
    repulsion = torch.zeros_like(e0)
    for term in found.terms:
        repulsion = repulsion + term.energy(vectors, batch.edges, output)
    assert bool(repulsion.any()) == zbl
    interaction = factor * layers.sum(1) + offset + repulsion
    close = {"rtol": 0, "atol": 1e-9}
    torch.testing.assert_close(prediction.node_energy, e0 + interaction, **close)
    torch.testing.assert_close(prediction.energy, per_graph(e0 + interaction, batch), **close)
    torch.testing.assert_close(prediction.interaction_energy, per_graph(interaction, batch), **close)
    torch.testing.assert_close(prediction.layer_energy, per_graph(factor[:, None] * layers, batch), **close)
    torch.testing.assert_close(prediction.energy, per_graph(prediction.node_energy, batch), **close)
    total = prediction.layer_energy.sum(1) + per_graph(e0 + offset + repulsion, batch)
    torch.testing.assert_close(prediction.energy, total, **close)


def test_one_number_for_all_elements(make_batch: Callable[..., Batch]):
    batch = make_batch(5)
    one = potential(scale=2.0, shift=0.5)(batch, forces=False)
    many = potential(scale=dict.fromkeys(ELEMENTS, 2.0), shift=dict.fromkeys(ELEMENTS, 0.5))(batch, forces=False)
    assert torch.equal(one.energy, many.energy)


@pytest.mark.parametrize("name", sorted(MODELS))
def test_forces_and_stress(name: str, make_batch: Callable[..., Batch], backend: str):
    """Forces sum to zero; the stress is symmetric and that of finite strains."""
    batch, found = make_batch(5, 4, periodic=True), potential(name, zbl=True, backend=backend)
    prediction = found(batch, stress=True)
    assert prediction.forces is not None and prediction.stress is not None
    assert prediction.forces.abs().max() > 1e-6 and prediction.stress.abs().max() > 1e-9
    torch.testing.assert_close(per_graph(prediction.forces, batch), torch.zeros(2, 3).double(), rtol=0, atol=1e-10)
    torch.testing.assert_close(prediction.stress, prediction.stress.transpose(1, 2), rtol=0, atol=0)
    h, strain = 1e-5, torch.tensor([[0.5, 0.4, 0], [0.4, -0.3, 0.2], [0, 0.2, 1]], dtype=torch.float64)
    energies = []
    for sign in (1, -1):
        deform = torch.eye(3).double() + sign * h * strain
        turned = replace(batch, positions=batch.positions @ deform, cell=batch.cell @ deform)
        energies.append(found(turned, forces=False).interaction_energy)
    work = (energies[0] - energies[1]) / (2 * h) / torch.linalg.det(batch.cell).abs()
    expected = torch.einsum("gij,ij->g", prediction.stress, strain)
    torch.testing.assert_close(work, expected, rtol=1e-6, atol=1e-9)
    only = found(batch, forces=False, stress=True)
    assert only.forces is None and only.stress is not None
    torch.testing.assert_close(only.stress, prediction.stress)


def test_stress_needs_a_volume(make_batch: Callable[..., Batch]):
    with pytest.raises(
        DataError, match=r"stress: expected a cell with a volume, but that of configuration 0 of the batch"
    ):
        potential()(make_batch(3, 4), stress=True)
    flat = make_batch(3, periodic=True)
    flat = replace(flat, cell=flat.cell * torch.tensor([[1.0], [1.0], [0.0]]))
    with pytest.raises(DataError, match="three independent cell vectors, or ask for no stress"):
        potential()(flat, stress=True)


@pytest.mark.parametrize("name", sorted(MODELS))
def test_an_isolated_atom(name: str):
    """Its energy is E0, shift and the readout of no neighbours; its forces are zero, also with frozen weights."""
    frame = Configuration([8], [[1.0, 2.0, 3.0]], 20 * torch.eye(3).numpy(), [True] * 3)  # type: ignore[arg-type]
    found = potential(name, shift=0.25).requires_grad_(False)
    prediction = found(found.batch([frame]), stress=True)
    expected = E0["O"] + 0.25 + prediction.layer_energy.sum().item()
    assert prediction.energy.item() == pytest.approx(expected, abs=1e-12)
    assert prediction.forces is not None and not prediction.forces.any()
    assert prediction.stress is not None and not prediction.stress.any()


def test_float32_networks_give_float64_energies(make_batch: Callable[..., Batch]):
    """A difference of 1e-7 eV survives on top of -10 000 eV per atom, where float32 resolves 1e-3 eV."""
    batch, huge = make_batch(5), dict.fromkeys(ELEMENTS, -10000.0)
    zero = potential(e0=dict.fromkeys(ELEMENTS, 0.0), dtype=torch.float32)
    low, high = potential(e0=huge, dtype=torch.float32), potential(e0=huge)
    prediction = low(batch)
    assert {value.dtype for value in tensors_of(prediction).values()} == {torch.float64}
    assert low.dtype == torch.float32 and low.e0.dtype == torch.float64
    assert torch.equal(prediction.interaction_energy, zero(batch).energy)
    torch.testing.assert_close(prediction.energy + 50000, zero(batch).energy, rtol=0, atol=1e-10)
    torch.testing.assert_close(prediction.energy, high(batch).energy, rtol=0, atol=1e-5)
    exact, rough = high(batch).forces, prediction.forces
    assert exact is not None and rough is not None
    torch.testing.assert_close(rough, exact, rtol=1e-4, atol=1e-5)


def test_a_cast_leaves_e0_scale_and_shift_exact():
    names = ("e0", "scale", "shift")
    found = potential(scale=1 / 3, shift=math.pi, zbl=True)
    before = {name: getattr(found, name).clone() for name in names}
    found = found.float()
    assert found.dtype == torch.float32
    assert all(torch.equal(getattr(found, name), before[name]) for name in names)
    moved = found.to("meta")
    assert moved.e0.device.type == "meta" and moved.e0.dtype == torch.float64


def test_what_can_be_differentiated_again(make_batch: Callable[..., Batch]):
    batch, found = make_batch(4, periodic=True), potential()
    for options in ({"forces": False}, {"forces": True}, {"stress": True}):
        plain = found(batch, **options)
        assert not any(value.requires_grad for value in tensors_of(plain).values())
        graph = found(batch, **options, create_graph=True)
        assert tensors_of(graph).keys() == tensors_of(plain).keys()
        for name, value in tensors_of(graph).items():
            assert value.requires_grad, name
    with torch.no_grad():
        inside = found(batch)
    assert inside.forces is not None and found(batch).forces is not None
    torch.testing.assert_close(inside.forces, found(batch).forces)
    assert not batch.positions.requires_grad


def test_every_weight_is_trained_by_energies_and_forces(make_batch: Callable[..., Batch], backend: str):
    batch, found = make_batch(6, 5), potential("pace", zbl=True, backend=backend)
    prediction = found(batch, create_graph=True)
    assert prediction.forces is not None
    (prediction.energy.square().sum() + prediction.forces.square().sum()).backward()
    for name, parameter in found.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name


def test_second_derivatives_by_positions(make_batch: Callable[..., Batch], backend: str):
    """Positions that want gradients are kept: the Hessian is that of the forces."""
    batch, found = make_batch(3), potential(backend=backend)
    positions = batch.positions.clone().requires_grad_(True)
    prediction = found(replace(batch, positions=positions), create_graph=True)
    assert prediction.forces is not None
    (row,) = torch.autograd.grad(prediction.forces[0, 1], positions)
    h, step = 1e-5, torch.zeros_like(batch.positions)
    step[2, 0] = h
    ends = [found(replace(batch, positions=batch.positions + sign * step)).forces for sign in (1, -1)]
    assert row[2, 0].item() == pytest.approx(((ends[0] - ends[1]) / (2 * h))[0, 1].item(), rel=1e-6, abs=1e-9)


def test_edge_vectors(make_batch: Callable[..., Batch]):
    batch = make_batch(4, 3, periodic=True)
    found = edge_vectors(batch, batch.positions, batch.cell)
    for edge in range(batch.num_edges):
        i, j = int(batch.centers[edge]), int(batch.neighbors[edge])
        shift = batch.shifts[edge] @ batch.cell[batch.graph_index[i]]
        torch.testing.assert_close(found[edge], batch.positions[j] - batch.positions[i] + shift)
    assert found.norm(dim=1).max() < 3.0


def test_seeds():
    one, same, other = (potential(seed=seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["model.embedding"], other["model.embedding"])


def test_wrong_arguments_are_errors():
    with pytest.raises(
        DataError, match=r"e0 has no value for C, O; it has: H. Add the isolated atom of the element, or fit"
    ):
        potential(e0={"H": 0.0})
    with pytest.raises(
        DataError, match=r"scale has no value for H, C, O; it has: none. Give one number for all elements"
    ):
        potential(scale={})
    with pytest.raises(DataError, match=r"shift of C: expected a finite number, got nan. Give one number"):
        potential(shift={"H": 0.0, "C": math.nan, "O": 0.0})
    with pytest.raises(BackendError, match="Backend 'nothing' is not available"):
        potential(backend="nothing")


def test_what_it_says_of_itself():
    found = potential("pace", dtype=torch.float32)
    assert (found.elements, found.r_max, found.dtype) == (ELEMENTS, 3.0, torch.float32)
    assert found.device == torch.device("cpu") and found.backend == default_backend()
    state = found.state_dict()
    assert {"e0", "scale", "shift", "model.embedding"} <= set(state)
    assert all(state[name].dtype == torch.float64 for name in ("e0", "scale", "shift"))
