"""Perceptrons: the normalisation of activations and weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.integrate import quad

from clebsch.basis.mlp import ACTIVATIONS, MLP, activate, activation_scale, normal


def plain(name: str, x: np.ndarray | float) -> np.ndarray | float:
    sigmoid = 1 / (1 + np.exp(-x))
    return {"silu": x * sigmoid, "tanh": np.tanh(x), "abs": np.abs(x), "sigmoid": sigmoid}[name]


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_activations_have_unit_second_moment(name: str):
    moment, _ = quad(lambda z: plain(name, z) ** 2 * np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi), -12, 12, points=[0])
    assert activation_scale(name) ** 2 * moment == pytest.approx(1, abs=1e-9)


def test_published_scales():
    """Those of e3nn's normalize2mom, to the accuracy of its million random numbers."""
    assert activation_scale("silu") == pytest.approx(1.6791767923989418, rel=2e-3)
    assert activation_scale("tanh") == pytest.approx(1.5937334472592695, rel=2e-3)
    assert activation_scale("sigmoid") == pytest.approx(1.8467055342154763, rel=2e-3)
    assert activation_scale("abs") == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_activate(name: str, rng: np.random.Generator):
    x = rng.normal(size=(3, 4))
    found = activate(name, torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(found, activation_scale(name) * plain(name, x), atol=1e-14)


def test_the_formula(rng: np.random.Generator):
    mlp = MLP((3, 5, 4, 2), torch.float64, torch.Generator().manual_seed(0))
    x = rng.normal(size=(7, 3))
    w = [weight.detach().numpy() for weight in mlp.weights]
    hidden = activation_scale("silu") * plain("silu", x @ w[0] / np.sqrt(3))
    hidden = activation_scale("silu") * plain("silu", hidden @ w[1] / np.sqrt(5))
    np.testing.assert_allclose(mlp(torch.from_numpy(x)).detach().numpy(), hidden @ w[2] / 2, atol=1e-14)


def test_one_layer_is_linear(rng: np.random.Generator):
    mlp = MLP((3, 2), torch.float64)
    x = torch.from_numpy(rng.normal(size=(2, 4, 3)))
    torch.testing.assert_close(mlp(x), x @ mlp.weights[0] / 3**0.5)


def test_zero_in_zero_out():
    assert not MLP((4, 8, 8, 3), torch.float32)(torch.zeros(5, 4)).any()


def test_unit_variance_at_the_start():
    """Unit-variance input gives unit-variance output, at every depth."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2000, 64, generator=generator, dtype=torch.float64)
    for depth in (1, 2, 4):
        second_moments = [
            MLP((64,) * depth + (64,), torch.float64, generator)(x).square().mean().item() for _ in range(8)
        ]
        assert np.mean(second_moments) == pytest.approx(1, abs=0.1)


def test_dtypes_start_alike_and_seeds_repeat():
    low, high, again = (
        MLP((4, 8, 2), dtype, torch.Generator().manual_seed(3))
        for dtype in (torch.float32, torch.float64, torch.float64)
    )
    for a, b, c in zip(low.weights, high.weights, again.weights, strict=True):
        assert torch.equal(a, b.float()) and torch.equal(b, c) and a.dtype == torch.float32


def test_initial_weights_are_standard_normal_over_the_divisor():
    drawn = normal((100, 100), torch.float64, torch.Generator().manual_seed(0), divisor=4).detach()
    assert float(drawn.mean()) == pytest.approx(0, abs=0.01) and float(drawn.std()) == pytest.approx(0.25, rel=0.02)
