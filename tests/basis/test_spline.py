"""Radial weights as splines."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx

from clebsch.basis import SplineGrid
from clebsch.basis.spline import interpolation_matrix
from clebsch.errors import ConfigError


def bump(r: torch.Tensor) -> torch.Tensor:
    """Vanishes at 5 Å with two derivatives."""
    return (1 - r / 5) ** 3 * torch.cos(2 * r)


def spline(grid: SplineGrid, r: torch.Tensor) -> torch.Tensor:
    points = grid.control_points(bump(grid.nodes)[:, None])[:, 0]
    index, basis = grid.locate(r)
    return (points[index[:, None] + torch.arange(4)] * basis).sum(1)


def error(intervals: int) -> float:
    r = torch.linspace(0.01, 4.999, 2000, dtype=torch.float64)
    return float((spline(SplineGrid(intervals, 5.0, torch.float64), r) - bump(r)).abs().max())


def test_fourth_order():
    errors = [error(intervals) for intervals in (64, 128, 256)]
    for coarse, fine in pairwise(errors):
        assert 12 < coarse / fine < 24


def test_interpolates_its_nodes():
    grid = SplineGrid(32, 5.0, torch.float64)
    torch.testing.assert_close(spline(grid, grid.nodes[1:]), bump(grid.nodes[1:]))


def test_vanishes_at_the_cutoff_with_two_derivatives():
    grid = SplineGrid(32, 5.0, torch.float64)
    r = torch.tensor([5.0 - 1e-9], dtype=torch.float64, requires_grad=True)
    value = spline(grid, r)
    (slope,) = torch.autograd.grad(value.sum(), r, create_graph=True)
    (curvature,) = torch.autograd.grad(slope.sum(), r)
    assert abs(value.item()) < 1e-16 and abs(slope.item()) < 1e-15 and abs(curvature.item()) < 1e-7


def test_longer_edges_weigh_nothing():
    r = torch.tensor([5.0, 5.001, 7.3], dtype=torch.float64, requires_grad=True)
    value = spline(SplineGrid(32, 5.0, torch.float64), r)
    (slope,) = torch.autograd.grad(value.sum(), r)
    assert float(value.detach().abs().max()) < 1e-15 and float(slope.abs().max()) < 1e-15


def test_smooth_where_intervals_meet():
    grid = SplineGrid(20, 5.0, torch.float64)
    sides = torch.tensor([1.0 - 1e-10, 1.0 + 1e-10], dtype=torch.float64, requires_grad=True)
    value = spline(grid, sides)
    (slope,) = torch.autograd.grad(value.sum(), sides, create_graph=True)
    (curvature,) = torch.autograd.grad(slope.sum(), sides)
    for pair, tolerance in ((value, 1e-9), (slope, 1e-8), (curvature, 1e-6)):
        assert abs((pair[0] - pair[1]).item()) < tolerance


@pytest.mark.parametrize("intervals", [8, 256, 257, 300, 384, 512, 1000])
def test_long_grids_are_interpolated_as_one_matrix_would(intervals: int):
    grid = SplineGrid(intervals, 5.0, torch.float64)
    identity = torch.eye(intervals - 1, dtype=torch.float64)
    matrix = interpolation_matrix(intervals)
    np.testing.assert_allclose(grid.control_points(identity).numpy(), matrix, rtol=0, atol=4e-15)
    values = torch.randn(3, intervals - 1, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    values.requires_grad_(True)
    found, expected = grid.control_points(values), torch.from_numpy(matrix) @ values
    torch.testing.assert_close(found, expected, rtol=1e-13, atol=1e-14)
    (transposed,) = torch.autograd.grad((found * expected.detach()).sum(), values)
    expected = torch.from_numpy(matrix).mT @ expected
    torch.testing.assert_close(transposed, expected, rtol=1e-13, atol=1e-13)


def test_long_grids_need_little_memory():
    """A matrix of 2,048 intervals has 34 MB."""
    grid = SplineGrid(2048, 5.0, torch.float64)
    assert sum(buffer.nbytes for buffer in grid.buffers()) < 2.5e6


@pytest.mark.parametrize("intervals", [16, 300])
def test_it_can_be_differentiated_and_traced(intervals: int):
    grid = SplineGrid(intervals, 5.0, torch.float64)
    values = torch.randn(intervals - 1, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def points(values: torch.Tensor) -> torch.Tensor:
        return grid.control_points(values)

    def slopes(values: torch.Tensor) -> torch.Tensor:
        values = values.detach().requires_grad_(True)
        return torch.autograd.grad(grid.control_points(values).square().sum(), values)[0]

    for function in (points, slopes):
        expected = function(values)
        assert torch.equal(make_fx(function)(values)(values), expected)
    with FakeTensorMode():
        fake = SplineGrid(intervals, 5.0, torch.float32).control_points(torch.empty(intervals - 1, 3))
        assert fake.shape == (intervals + 3, 3)
    rough = values.requires_grad_(True)
    assert torch.autograd.gradcheck(points, rough, fast_mode=True)
    assert torch.autograd.gradgradcheck(points, rough, fast_mode=True)


def test_too_few_intervals():
    with pytest.raises(ConfigError, match="spline_intervals: expected at least 8, got 4"):
        SplineGrid(4, 5.0, torch.float64)
