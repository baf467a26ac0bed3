"""Spherical harmonics of the reference backend: those of o3, differentiable twice."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from clebsch.o3 import spherical_harmonics
from clebsch.ops import get_backend


def harmonics(l_max: int, dtype: torch.dtype = torch.float64) -> torch.nn.Module:
    return get_backend("reference").spherical_harmonics(l_max, dtype)


@pytest.mark.parametrize("l_max", [0, 1, 3, 6])
def test_they_are_those_of_o3(l_max: int, rng: np.random.Generator):
    vectors = rng.normal(size=(20, 3)) * rng.uniform(0.1, 5, size=(20, 1))
    found = harmonics(l_max)(torch.from_numpy(vectors))
    np.testing.assert_allclose(found.numpy(), spherical_harmonics(l_max, vectors).T, atol=1e-13)


def test_float32_stays_float32(rng: np.random.Generator):
    vectors = rng.normal(size=(5, 3))
    found = harmonics(3, torch.float32)(torch.from_numpy(vectors).float())
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), spherical_harmonics(3, vectors).T, atol=1e-5)


def test_derivatives(rng: np.random.Generator):
    vectors = torch.from_numpy(rng.normal(size=(3, 3))).requires_grad_(True)
    assert torch.autograd.gradcheck(harmonics(3), vectors)
    assert torch.autograd.gradgradcheck(harmonics(3), vectors)


def test_the_length_does_not_matter(rng: np.random.Generator):
    """Y(r) depends on the direction alone: its derivative along r is zero."""
    vectors = torch.from_numpy(rng.normal(size=(4, 3)))
    slopes = torch.autograd.functional.jacobian(harmonics(3), vectors)
    along = torch.einsum("ecfx,fx->ec", slopes, vectors)
    torch.testing.assert_close(along, torch.zeros_like(along), rtol=0, atol=1e-13)


def test_no_edges():
    assert harmonics(3)(torch.zeros(0, 3, dtype=torch.float64)).shape == (0, 16)
