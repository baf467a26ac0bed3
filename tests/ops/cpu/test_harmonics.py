"""Spherical harmonics of the CPU backend against the reference, to third derivatives."""

from __future__ import annotations

import pytest
import torch

from clebsch.ops import get_backend


def derivatives(backend: str, l_max: int, dtype: torch.dtype, order: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    vectors = torch.randn(50, 3, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()
    upstream = torch.randn(50, (l_max + 1) ** 2, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()
    value = get_backend(backend).spherical_harmonics(l_max, dtype)(vectors)
    gradients = torch.autograd.grad(value, [vectors], upstream, create_graph=True)
    found = [value, *gradients]
    for _ in range(order - 1):
        directions = [torch.sin(torch.arange(g.numel(), dtype=dtype)).view(g.shape) for g in gradients]
        gradients = torch.autograd.grad(gradients, [vectors, upstream], directions, create_graph=True)
        found += gradients
    return found


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)], ids=str)
@pytest.mark.parametrize("l_max", [1, 2, 3, 4])
def test_agrees_with_the_reference(l_max: int, dtype: torch.dtype, tolerance: float):
    order = 3 if dtype == torch.float64 else 2
    found, expected = (derivatives(backend, l_max, dtype, order) for backend in ("cpu", "reference"))
    for a, b in zip(found, expected, strict=True):
        assert (a - b).abs().max() < tolerance * b.abs().max()


def test_degree_zero_and_no_edges():
    harmonics = get_backend("cpu").spherical_harmonics(0, torch.float32)
    assert torch.equal(harmonics(torch.randn(4, 3)), torch.ones(4, 1))
    assert get_backend("cpu").spherical_harmonics(3, torch.float32)(torch.zeros(0, 3)).shape == (0, 16)
