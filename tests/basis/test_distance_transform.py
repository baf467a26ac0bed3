"""Transformed distances: their formulas, their classes, and what happens at r = 0."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ase.data import atomic_numbers, covalent_radii

from clebsch.basis import AgnesiTransform, DistanceTransform, SoftTransform

ELEMENTS = ("H", "C", "O")
RADII = np.array([covalent_radii[atomic_numbers[symbol]] for symbol in ELEMENTS])
R = np.linspace(0.2, 6.0, 30)


def pairs_of(i: int, j: int) -> torch.Tensor:
    return torch.full((len(R),), 3 * i + j)


def test_agnesi():
    transform = DistanceTransform(AgnesiTransform(), ELEMENTS, torch.float64)
    for i in range(3):
        for j in range(3):
            x = R / (0.5 * (RADII[i] + RADII[j]))
            expected = 1 / (1 + 1.0805 * x**0.9183 / (1 + x ** (0.9183 - 4.5791)))
            found = transform(torch.from_numpy(R), pairs_of(i, j))
            np.testing.assert_allclose(found, expected, rtol=1e-13)


def test_soft():
    transform = DistanceTransform(SoftTransform(alpha=3.0), ELEMENTS, torch.float64)
    size = RADII[0] + RADII[2]
    low, high = 0.75 * size, 4 / 3 * size
    expected = low + (R - low) * 0.5 * (1 + np.tanh(3.0 / (high - low) * (R - 0.5 * (low + high))))
    np.testing.assert_allclose(transform(torch.from_numpy(R), pairs_of(0, 2)), expected, rtol=1e-13)


@pytest.mark.parametrize("config", [AgnesiTransform(), SoftTransform()])
def test_the_nodes_of_every_class_are_those_of_its_pairs(config):
    transform = DistanceTransform(config, ELEMENTS, torch.float64)
    assert len(transform.sizes) == 6
    found = transform.on_nodes(torch.from_numpy(R))
    for pair in range(9):
        expected = transform(torch.from_numpy(R), torch.full((len(R),), pair))
        torch.testing.assert_close(found[transform.classes[pair]], expected)


def test_radii_that_are_given():
    wide = DistanceTransform(AgnesiTransform(radii={"H": 1.0}), ELEMENTS, torch.float64)
    assert wide.sizes[wide.classes[0]] == 2.0 and wide.sizes[wide.classes[4]] == 2 * RADII[1]


def test_zero_distance_is_no_exception():
    r = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    value = DistanceTransform(AgnesiTransform(), ELEMENTS, torch.float64)(r, torch.zeros(1, dtype=torch.long))
    (slope,) = torch.autograd.grad(value.sum(), r)
    assert value.item() == 1 and slope.item() == 0
