from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import nn

from clebsch.basis.mlp import MLP
from clebsch.models.linear import IrrepsLinear
from clebsch.o3 import Irreps
from clebsch.training.muon import mixing_matrices, orthogonalize
from clebsch.training.optimizers import (
    OptimizerConfig,
    build_optimizer,
    load_optimizer_tensors,
    optimizer_tensors,
    set_lr,
)


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
    optimizer = build_optimizer(
        model, OptimizerConfig(lr=lr, betas=(b1, b2), eps=eps, weight_decay=decay, amsgrad=amsgrad)
    )
    weight = model.weight.detach().numpy().copy()
    m, v, v_max = np.zeros((3, 2)), np.zeros((3, 2)), np.zeros((3, 2))
    for t, gradients in enumerate(random_gradients(6), start=1):
        step(model, optimizer, gradients)
        g = gradients[0] + decay * weight
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
        v_max = np.maximum(v_max, v) if amsgrad else v
        weight = weight - lr / (1 - b1**t) * m / (np.sqrt(v_max / (1 - b2**t)) + eps)
    np.testing.assert_allclose(model.weight.detach().numpy(), weight, rtol=1e-12)


@pytest.mark.parametrize("kind", ["adam", "adamw"])
def test_decay_acts_on_matrices_only(kind: str):
    model = Affine()
    weight, bias = model.weight.detach().clone(), model.bias.detach().clone()
    optimizer = build_optimizer(model, OptimizerConfig.model_validate({"kind": kind, "weight_decay": 0.5, "lr": 0.1}))
    step(model, optimizer, [np.zeros((3, 2)), np.zeros(3)])
    assert (model.weight.abs() < weight.abs()).all()
    assert torch.equal(model.bias, bias)
    if kind == "adamw":
        torch.testing.assert_close(model.weight.detach(), weight * (1 - 0.1 * 0.5))


def test_frozen_parameters_are_left_out():
    model = Affine()
    model.weight.requires_grad_(False)
    optimizer = build_optimizer(model, OptimizerConfig())
    assert [group["params"] for group in optimizer.param_groups] == [[model.bias]]


def test_state_round_trip_continues_bit_for_bit():
    config = OptimizerConfig(weight_decay=0.01)
    gradients = random_gradients(6)
    straight = Affine()
    optimizer = build_optimizer(straight, config)
    for item in gradients[:3]:
        step(straight, optimizer, item)
    resumed = Affine()
    resumed.load_state_dict(straight.state_dict())
    resumed_optimizer = build_optimizer(resumed, config)
    load_optimizer_tensors(resumed, resumed_optimizer, optimizer_tensors(straight, optimizer))
    for item in gradients[3:]:
        step(straight, optimizer, item)
        step(resumed, resumed_optimizer, item)
    assert torch.equal(straight.weight, resumed.weight) and torch.equal(straight.bias, resumed.bias)
    names = set(optimizer_tensors(resumed, resumed_optimizer))
    assert {"weight.step", "weight.exp_avg", "weight.exp_avg_sq", "weight.max_exp_avg_sq", "bias.step"} <= names


def test_set_lr_reaches_every_group():
    optimizer = build_optimizer(Affine(), OptimizerConfig(weight_decay=0.1))
    set_lr(optimizer, 0.125)
    assert [group["lr"] for group in optimizer.param_groups] == [0.125, 0.125]


class Mixing(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.linear = IrrepsLinear(
            Irreps("0e+1o"), 8, Irreps("0e+1o"), 12, num_elements=2, dtype=torch.float64, generator=generator
        )
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
    optimizer = build_optimizer(model, OptimizerConfig(kind="muon"))
    assert [len(group["params"]) for group in optimizer.param_groups] == [2, 4]


def test_muon_by_its_equations():
    """Matrices by momentum and orthogonalisation, the rest as Adam alone would."""
    model, alone = Mixing(), Mixing()
    optimizer = build_optimizer(model, OptimizerConfig(kind="muon", momentum=0.9))
    adam = build_optimizer(alone, OptimizerConfig())
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
    optimizer = build_optimizer(model, OptimizerConfig(kind="muon"))
    weight = model.linear.weights["0"]
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    before = weight.detach().clone()
    assert weight.grad is not None
    weight.grad[1] = 0
    optimizer.step()
    assert torch.equal(weight[1], before[1]) and not torch.equal(weight[0], before[0])


def test_muon_has_no_decay():
    with pytest.raises(ValidationError, match="weight_decay is for adam and adamw"):
        OptimizerConfig(kind="muon", weight_decay=0.1)
