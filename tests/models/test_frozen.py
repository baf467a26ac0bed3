"""What is prepared once: frozen potentials, weights that change behind PyTorch's back, inference mode."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from ase import Atoms

from clebsch import Calculator
from clebsch.data import Batch
from clebsch.errors import ClebschError
from clebsch.models import (
    CoreConfig,
    FrozenPotential,
    Potential,
    PotentialConfig,
    Prediction,
    load_potential,
    save_potential,
)
from clebsch.models.presets import botnet, linear_ace, mace, nequip, pace

ELEMENTS = ("H", "C", "O")
E0 = {"H": -13.6, "C": -1030.5, "O": -2042.25}
SIZES: dict[str, Any] = {"elements": ELEMENTS, "r_max": 3.0, "num_channels": 4, "l_max": 2}
MEMBERS = {
    "linear_ace": linear_ace,
    "nequip": partial(nequip, num_layers=2),
    "botnet": partial(botnet, num_layers=2),
    "mace": mace,
    "pace": pace,
}


def potential(
    name: str = "mace", *, backend: str = "cpu", intervals: int | None = 64, seed: int = 0, **options: Any
) -> Potential:
    config = PotentialConfig(model=MEMBERS[name](**SIZES, spline_intervals=intervals), terms=(CoreConfig(),))
    return Potential(config, **{"e0": E0, "dtype": "float64", "seed": seed, "backend": backend, **options})


def twin(of: Potential) -> Potential:
    """A fresh potential with the same weights."""
    found = Potential(of.config, e0=E0, dtype=of.dtype, backend=of.backend)
    found.load_state_dict(of.state_dict())
    return found


def tensors_of(prediction: Prediction) -> dict[str, torch.Tensor]:
    return {name: value for name, value in vars(prediction).items() if isinstance(value, torch.Tensor)}


def equal(found: Prediction, expected: Prediction) -> bool:
    """Bit for bit, all that was asked for."""
    values, others = tensors_of(found), tensors_of(expected)
    assert values.keys() == others.keys()
    return all(torch.equal(value, others[name]) for name, value in values.items())


def close(found: Prediction, expected: Prediction) -> bool:
    """But for rounding: a frozen potential multiplies maps that follow each other once, not at every call."""
    values, others = tensors_of(found), tensors_of(expected)
    assert values.keys() == others.keys()
    return all(
        bool((value - others[name]).abs().max() <= 1e-13 * (1.0 + float(others[name].abs().max())))
        for name, value in values.items()
    )


def unused_weights(of: Potential, batch: Batch) -> list[str]:
    """Those that no energy depends on, such as the embedding of linear ACE."""
    weights = dict(of.named_parameters())
    energy = of(batch, create_graph=True).energy.sum()
    gradients = torch.autograd.grad(energy, list(weights.values()), allow_unused=True)
    pairs = zip(weights, gradients, strict=True)
    return [name for name, gradient in pairs if gradient is None or not gradient.any()]


# Weights that change ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MEMBERS)
@pytest.mark.parametrize("intervals", [64, None], ids=["splines", "networks"])
def test_every_weight_counts_however_it_is_changed(
    make_batch: Callable[..., Batch], name: str, intervals: int | None, backend: str
):
    """``weight.data`` hides a change from PyTorch; nothing may go by what it says."""
    batch, found = make_batch(5), potential(name, backend=backend, intervals=intervals)
    before, frozen, unused = found(batch), found.frozen(), unused_weights(found, batch)
    assert len(unused) < 3
    for key, weight in found.named_parameters():
        original = weight.data.clone()
        weight.data.mul_(1.5).add_(0.01)  # some are zero to begin with
        after = found(batch)
        assert equal(after, twin(found)(batch)), key
        assert torch.equal(after.energy, before.energy) == (key in unused), key
        weight.data.copy_(original)
    assert equal(found(batch), before)
    for weight in found.parameters():
        weight.data.mul_(1.5)
    assert close(frozen(batch), before)


def test_radial_weights_of_the_second_layer(make_batch: Callable[..., Batch], backend: str):
    batch, found = make_batch(5), potential("pace", backend=backend)
    found(batch)
    weights = dict(found.named_parameters())
    name = next(name for name in weights if "layers.1.atomic_basis.radial" in name)
    weights[name].data.copy_(potential("pace", seed=1).get_parameter(name).data)
    assert equal(found(batch), twin(found)(batch))


def test_the_optimizers_step_is_seen(make_batch: Callable[..., Batch]):
    batch, found = make_batch(4), potential()
    optimizer = torch.optim.AdamW(found.parameters(), fused=True)
    for _ in range(2):
        optimizer.zero_grad()
        found(batch, create_graph=True).forces.square().sum().backward()
        optimizer.step()
        assert equal(found(batch), twin(found)(batch))


# Frozen potentials --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MEMBERS)
@pytest.mark.parametrize("intervals", [64, None], ids=["splines", "networks"])
def test_frozen_numbers_are_the_same(make_batch: Callable[..., Batch], name: str, intervals: int | None, backend: str):
    batch, found = make_batch(5, 4, periodic=True), potential(name, backend=backend, intervals=intervals)
    assert close(found.frozen()(batch, stress=True), found(batch, stress=True))


def test_frozen_potentials_hold_constants_alone(make_batch: Callable[..., Batch]):
    found = potential("pace")
    frozen = found.frozen()
    assert isinstance(frozen, FrozenPotential) and frozen.frozen() is frozen
    assert not any(weight.requires_grad for weight in frozen.parameters())
    assert all(weight.requires_grad for weight in found.parameters())
    assert not [name for name, _ in frozen.named_parameters() if "radial" in name or "booster" in name]
    assert sum(p.numel() for p in frozen.parameters()) < sum(p.numel() for p in found.parameters())
    assert (frozen.elements, frozen.r_max, frozen.dtype, frozen.backend) == (ELEMENTS, 3.0, torch.float64, "cpu")
    batch = make_batch(4)
    positions = batch.positions.clone().requires_grad_()
    energy = frozen.energies(batch, positions, None).energy.sum()
    torch.testing.assert_close(-torch.autograd.grad(energy, positions)[0], found(batch).forces)


def test_a_frozen_potential_keeps_what_its_class_does(make_batch: Callable[..., Batch]):
    class Doubled(Potential):
        def forward(self, *arguments: Any, **options: Any) -> Prediction:
            prediction = super().forward(*arguments, **options)
            prediction.energy = 2 * prediction.energy
            return prediction

    found, batch = potential(), make_batch(3)
    doubled = Doubled(found.config, e0=dict.fromkeys(ELEMENTS, 0.0), dtype=torch.float64)
    frozen = doubled.frozen()
    assert isinstance(frozen, FrozenPotential) and isinstance(frozen, Doubled) and frozen.frozen() is frozen
    torch.testing.assert_close(frozen(batch).energy, doubled(batch).energy)


def test_what_frozen_potentials_refuse(make_batch: Callable[..., Batch], tmp_path: Path):
    frozen = potential().frozen()
    with pytest.raises(ClebschError, match="create_graph: a frozen potential has no weights to train; use the one"):
        frozen(make_batch(3), create_graph=True)
    for attempt in (
        lambda: save_potential(frozen, tmp_path / "p.safetensors"),
        lambda: frozen.copy(dtype="float32"),
        lambda: frozen.with_splines(128),
        lambda: Calculator(frozen, dtype="float32"),
    ):
        with pytest.raises(ClebschError, match="frozen potential is not saved or copied; save the potential it was"):
            attempt()
    assert not list(tmp_path.iterdir())


def test_a_calculator_takes_a_frozen_potential():
    found = potential()
    atoms = Atoms("CO", [[0, 0, 0], [0, 0, 1.2]])
    energies = [Atoms(atoms, calculator=Calculator(one)).get_potential_energy() for one in (found, found.frozen())]
    assert energies[0] == energies[1]


def test_copies(make_batch: Callable[..., Batch], backend: str):
    """In another dtype and with other kernels; weights are copied, not shared."""
    batch, found = make_batch(5), potential(scale=0.5, shift={"H": 0.1, "C": 0.2, "O": 1 / 3})
    same = found.copy()
    assert equal(same(batch), found(batch)) and same.backend == "cpu" and same.config == found.config
    other = found.copy(backend=backend)
    assert other.backend == backend
    torch.testing.assert_close(other(batch).forces, found(batch).forces, rtol=1e-11, atol=1e-11)
    low = found.copy(dtype="float32", backend=backend)
    assert low.dtype == torch.float32 and torch.equal(low.shift, found.shift)
    torch.testing.assert_close(low(batch).forces, found(batch).forces, rtol=1e-4, atol=1e-4)
    before = found(batch)
    next(same.parameters()).data.mul_(2)
    assert equal(found(batch), before)


# Inference mode -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["mace", "pace"])
def test_inference_mode(make_batch: Callable[..., Batch], tmp_path: Path, name: str, backend: str):
    """Wherever potential and batch were made, the numbers are the same."""
    batch, found = make_batch(5, 4, periodic=True), potential(name, backend=backend)
    expected, frozen = found(batch, stress=True), found.frozen()
    save_potential(found, tmp_path / "p.safetensors")
    with torch.inference_mode():
        inside = make_batch(5, 4, periodic=True)
        loaded = load_potential(tmp_path / "p.safetensors", backend=backend)
        for one in (found, frozen, loaded, loaded.frozen(), found.copy(), found.frozen()):
            for made in (batch, inside):
                assert close(one(made, stress=True), expected)
    assert equal(loaded(batch, stress=True), expected)
    assert equal(loaded(inside, stress=True), expected), "a batch made inside, used outside"
    loaded(batch, create_graph=True).forces.square().sum().backward()
    assert all(weight.grad is not None for weight in loaded.model.layers.parameters())


@pytest.mark.parametrize("first", [True, False], ids=["first inside", "first outside"])
def test_calculators_in_inference_mode(first: bool, backend: str):
    """The neighbour list that is kept from one step to the next serves inside and outside."""
    found, energies, forces = potential(backend=backend), [], []
    for modes in ((False, False, False), (first, not first, first)):
        atoms = Atoms("COH", [[0, 0, 0], [0, 0, 1.2], [0, 1.0, -0.4]], calculator=Calculator(found))
        for inside in modes:
            with torch.inference_mode(inside):
                energies.append(atoms.get_potential_energy())
                forces.append(atoms.get_forces())
            atoms.positions += [[0.01, 0, 0], [0, 0.02, 0], [0, 0, 0.01]]
    assert energies[:3] == energies[3:] and (forces[2] == forces[5]).all()


def test_a_potential_made_in_inference_mode_says_so(make_batch: Callable[..., Batch]):
    with torch.inference_mode():
        found = potential()
        with pytest.raises(ClebschError, match=r"made under torch.inference_mode\(\), where forces cannot be had"):
            found(make_batch(3))
    with pytest.raises(ClebschError, match="Make or load it outside; it may be called inside"):
        found(make_batch(3))
