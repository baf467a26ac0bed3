"""Small clusters and boxes as batches."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from clebsch.data import Batch, Configuration, build_graphs, collate

ELEMENTS = ("H", "C", "O")


def configuration(atoms: int, seed: int, *, periodic: bool = False) -> Configuration:
    """Atoms about 1.2 Å apart, in a tilted box if periodic."""
    rng = np.random.default_rng(seed)
    grid = 1.2 * np.array(np.unravel_index(rng.permutation(27)[:atoms], (3, 3, 3))).T
    positions = grid + 0.1 * rng.normal(size=(atoms, 3))
    cell = 4.0 * np.eye(3) + 0.3 * rng.normal(size=(3, 3)) if periodic else np.zeros((3, 3))
    return Configuration(rng.choice([1, 6, 8], atoms), positions, cell, np.full(3, periodic))


@pytest.fixture
def make_batch() -> Callable[..., Batch]:
    """Batch of random configurations, one for every number of atoms."""

    def make(*atoms: int, r_max: float = 3.0, periodic: bool = False, seed: int = 0) -> Batch:
        frames = [configuration(n, seed + index, periodic=periodic) for index, n in enumerate(atoms)]
        return collate(build_graphs(frames, ELEMENTS, r_max))

    return make


@pytest.fixture
def generator() -> torch.Generator:
    """Source of random weights."""
    return torch.Generator().manual_seed(0)
