from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from clebsch.basis.mlp import MLP
from clebsch.config import parse_config
from clebsch.errors import ConfigError
from clebsch.models.linear import IrrepsLinear
from clebsch.o3 import Irreps
from clebsch.ops import get_backend
from clebsch.training import TrainConfig
from clebsch.training.optimizers import Adam, AdamW, Muon, load_optimizer_tensors, optimizer_tensors, set_lr
from clebsch.training.optimizers.muon import mixing_matrices, orthogonalize


class Affine(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weight = nn.Parameter(torch.randn(3, 2, generator=generator, dtype=torch.float64))
        self.bias = nn.Parameter(torch.randn(3, generator=generator, dtype=torch.float64))


def step(model: nn.Module, optimizer: torch.optim.Optimizer, gradients: list[np.ndarray]) -> None:
    for parameter, gradient in zip(model.parameters(), gradients, strict=True):
        parameter.grad = torch.as_tensor(gradient).clone()
    optimizer.step()


def random_gradients(count: int) -> list[list[np.ndarray]]:
    rng = np.random.default_rng(0)
    return [[rng.normal(size=(3, 2)) * scale, rng.normal(size=3) * scale] for scale in np.linspace(3.0, 0.1, count)]


@pytest.mark.parametrize("amsgrad", [True, False])
def test_adam_by_its_equations(amsgrad: bool):
    """The fused loop is compared with the equations of arXiv 1412.6980 and 1904.09237."""
    model = Affine()
    lr, (b1, b2), eps, decay = 0.02, (0.8, 0.95), 1e-8, 0.1
    optimizer = Adam(lr=lr, betas=(b1, b2), eps=eps, weight_decay=decay, amsgrad=amsgrad).build(model)
    weight = model.weight.detach().numpy().copy()
    m, v, v_max = np.zeros((3, 2)), np.zeros((3, 2)), np.zeros((3, 2))
    for t, gradients in enumerate(random_gradients(6), start=1):
        step(model, optimizer, gradients)
        g = gradients[0] + decay * weight
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
        v_max = np.maximum(v_max, v) if amsgrad else v
        weight = weight - lr / (1 - b1**t) * m / (np.sqrt(v_max / (1 - b2**t)) + eps)
    np.testing.assert_allclose(model.weight.detach().numpy(), weight, rtol=1e-12)


@pytest.mark.parametrize("kind", [Adam, AdamW])
def test_decay_acts_on_matrices_only(kind: type[Adam] | type[AdamW]):
    model = Affine()
    weight, bias = model.weight.detach().clone(), model.bias.detach().clone()
    optimizer = kind(weight_decay=0.5, lr=0.1).build(model)
    step(model, optimizer, [np.zeros((3, 2)), np.zeros(3)])
    assert (model.weight.abs() < weight.abs()).all()
    assert torch.equal(model.bias, bias)
    if kind is AdamW:
        torch.testing.assert_close(model.weight.detach(), weight * (1 - 0.1 * 0.5))


def test_frozen_parameters_are_left_out():
    model = Affine()
    model.weight.requires_grad_(False)
    optimizer = Adam().build(model)
    assert [group["params"] for group in optimizer.param_groups] == [[model.bias]]


def test_state_round_trip_continues_bit_for_bit():
    config = Adam(weight_decay=0.01)
    gradients = random_gradients(6)
    straight = Affine()
    optimizer = config.build(straight)
    for item in gradients[:3]:
        step(straight, optimizer, item)
    resumed = Affine()
    resumed.load_state_dict(straight.state_dict())
    resumed_optimizer = config.build(resumed)
    load_optimizer_tensors(resumed, resumed_optimizer, optimizer_tensors(straight, optimizer))
    for item in gradients[3:]:
        step(straight, optimizer, item)
        step(resumed, resumed_optimizer, item)
    assert torch.equal(straight.weight, resumed.weight) and torch.equal(straight.bias, resumed.bias)
    names = set(optimizer_tensors(resumed, resumed_optimizer))
    assert {"weight.step", "weight.exp_avg", "weight.exp_avg_sq", "weight.max_exp_avg_sq", "bias.step"} <= names


def test_set_lr_reaches_every_group():
    optimizer = Adam(weight_decay=0.1).build(Affine())
    set_lr(optimizer, 0.125)
    assert [group["lr"] for group in optimizer.param_groups] == [0.125, 0.125]


class Mixing(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.linear = IrrepsLinear(
            Irreps("0e+1o"), 8, Irreps("0e+1o"), 12,
            num_elements=2, backend=get_backend("reference"), dtype=torch.float64, generator=generator,
        )  # fmt: skip
        self.mlp = MLP((3, 16, 8, 1), torch.float64, generator)
        self.scale = nn.Parameter(torch.ones(4, dtype=torch.float64))


def test_orthogonalize():
    """U Vᵀ up to singular values near 1, whatever the scale; wide, tall and rank-deficient matrices."""
    generator = torch.Generator().manual_seed(1)
    for shape in ((3, 8, 8), (2, 8, 20), (2, 20, 8)):
        x = 1e-3 * torch.randn(shape, generator=generator, dtype=torch.float64)
        found = orthogonalize(x)
        u, _, v = torch.linalg.svd(x, full_matrices=False)
        singular = torch.linalg.svdvals(found)
        assert singular.min() > 0.6 and singular.max() < 1.3
        alignment = ((u @ v) * found).sum((-2, -1)) / min(shape[1:])
        assert (alignment > 0.75).all()
    assert torch.equal(orthogonalize(torch.zeros(1, 8, 8)), torch.zeros(1, 8, 8))


def test_muon_takes_the_mixing_matrices():
    model = Mixing()
    assert [tuple(weight.shape) for weight in mixing_matrices(model)] == [(2, 8, 12), (2, 8, 12)]
    optimizer = Muon().build(model)
    assert [len(group["params"]) for group in optimizer.param_groups] == [2, 4]


def test_muon_by_its_equations():
    """Matrices by momentum and orthogonalisation, the rest as Adam alone would."""
    model, alone = Mixing(), Mixing()
    optimizer = Muon(momentum=0.9).build(model)
    adam = Adam().build(alone)
    weight = model.linear.weights["0"]
    before, momentum = weight.detach().clone(), torch.zeros_like(weight)
    generator = torch.Generator().manual_seed(2)
    for lr in (0.1, 0.05):
        for parameter, other in zip(model.parameters(), alone.parameters(), strict=True):
            parameter.grad = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            other.grad = parameter.grad.clone()
        assert weight.grad is not None
        for each in (optimizer, adam):
            set_lr(each, lr)
            each.step()
        momentum = 0.9 * momentum + 0.1 * weight.grad
        before -= lr * 0.2 * 12**0.5 * orthogonalize(0.9 * momentum + 0.1 * weight.grad)
    torch.testing.assert_close(weight.detach(), before)
    assert torch.equal(model.scale, alone.scale) and torch.equal(model.mlp.weights[0], alone.mlp.weights[0])


def test_the_matrix_of_an_absent_element_rests():
    model = Mixing()
    optimizer = Muon().build(model)
    weight = model.linear.weights["0"]
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    before = weight.detach().clone()
    assert weight.grad is not None
    weight.grad[1] = 0
    optimizer.step()
    assert torch.equal(weight[1], before[1]) and not torch.equal(weight[0], before[0])


def train_config(**optimizer: Any) -> TrainConfig:
    return parse_config(TrainConfig, {"optimizer": optimizer})


def test_without_a_kind_it_is_adam():
    assert train_config(lr=0.05).optimizer == Adam(lr=0.05)
    assert train_config(kind="muon", momentum=0.9).optimizer == Muon(momentum=0.9)


def test_an_option_of_another_kind_is_an_unknown_key():
    for optimizer, option in (({"kind": "muon", "weight_decay": 0}, "weight_decay"), ({"momentum": 0.9}, "momentum")):
        with pytest.raises(ConfigError, match=rf"unknown key 'optimizer\.{option}'\. Known keys: amsgrad, .*kind, lr"):
            train_config(**optimizer)
    with pytest.raises(ConfigError, match=r"'optimizer\.kind': expected one of adam, adamw, muon, got 'Muon'"):
        train_config(kind="Muon")
