"""Cutoff functions: their formula, and how smoothly they end."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import betainc

from clebsch.basis import PolynomialCutoff, SmoothCutoff, cutoff_function

R_MAX = 4.0
SMOOTH = SmoothCutoff()


def derivatives(config: PolynomialCutoff | SmoothCutoff, r: list[float] | np.ndarray, order: int) -> list[np.ndarray]:
    """The cutoff and its derivatives up to ``order`` at distances r."""
    x = torch.tensor(np.asarray(r), dtype=torch.float64, requires_grad=True)
    found = [cutoff_function(config, x, R_MAX)]
    for _ in range(order):
        found.append(torch.autograd.grad(found[-1].sum(), x, create_graph=True)[0])
    return [value.detach().numpy() for value in found]


@pytest.mark.parametrize("p", [2, 5, 6])
def test_the_polynomial_is_an_incomplete_beta_function(p: int):
    """1 - I_x(p, 3) is the polynomial of degree p + 2 that leaves 1 as x^p and reaches 0 as (1 - x)^3."""
    r = np.linspace(0, R_MAX, 101)
    (found,) = derivatives(PolynomialCutoff(p=p), r, 0)
    np.testing.assert_allclose(found, 1 - betainc(p, 3, r / R_MAX), atol=1e-13)


def test_the_smooth_cutoff_is_a_bump():
    r = np.linspace(0, R_MAX, 101)[:-1]
    np.testing.assert_allclose(derivatives(SMOOTH, r, 0)[0], np.exp(-(r**2) / (R_MAX**2 - r**2)), atol=1e-15)


@pytest.mark.parametrize("p", [2, 5, 6])
def test_two_derivatives_of_the_polynomial_vanish_at_the_cutoff(p: int):
    """Like the third, second and first power of the distance h from it."""
    slope = p * (p + 1) * (p + 2) / 6
    for h in (1e-2, 1e-3):
        value, first, second = (d[0] for d in derivatives(PolynomialCutoff(p=p), [R_MAX * (1 - h)], 2))
        expected = [slope * h**3, -3 * slope * h**2 / R_MAX, 6 * slope * h / R_MAX**2]
        np.testing.assert_allclose([value, first, second], expected, rtol=10 * p * h)


@pytest.mark.parametrize("p", [3, 6])
def test_the_polynomial_starts_flat(p: int):
    found = derivatives(PolynomialCutoff(p=p), [0.0], p - 1)
    np.testing.assert_array_equal([value[0] for value in found], [1.0] + [0.0] * (p - 1))


def test_all_derivatives_of_the_smooth_cutoff_vanish():
    for value in derivatives(SMOOTH, [R_MAX * (1 - 1e-3), R_MAX * (1 - 1e-9)], 3):
        assert np.abs(value).max() < 1e-100


@pytest.mark.parametrize("config", [PolynomialCutoff(p=5), SMOOTH], ids=["polynomial", "smooth"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_outside_everything_is_zero(config: PolynomialCutoff | SmoothCutoff, dtype: torch.dtype):
    r = torch.tensor([R_MAX, R_MAX + 1e-3, 1.5 * R_MAX, 1e3], dtype=dtype, requires_grad=True)
    value = cutoff_function(config, r, R_MAX)
    (first,) = torch.autograd.grad(value.sum(), r, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), r)
    assert value.dtype == dtype
    assert not value.any() and not first.any() and not second.any()


@pytest.mark.parametrize("config", [PolynomialCutoff(p=5), SMOOTH], ids=["polynomial", "smooth"])
def test_it_falls_from_one(config: PolynomialCutoff | SmoothCutoff):
    (value,) = derivatives(config, np.linspace(0, R_MAX, 200), 0)
    assert value[0] == 1 and np.all(np.diff(value) <= 1e-15) and np.all(value >= -1e-15)
