"""A small labelled data set with a known pair energy, and a small potential to fit it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from clebsch.data import Configuration, Graph, build_graphs
from clebsch.models import Potential, PotentialConfig
from clebsch.models.presets import mace
from clebsch.training import TrainConfig

ELEMENTS = ("H", "C", "O")
R_MAX = 3.0
E0 = {"H": -13.6, "C": -1030.5, "O": -2042.25}


def morse(configuration: Configuration) -> tuple[float, np.ndarray]:
    """Energy and forces of a Morse pair energy with its minimum at 1.5 Å, on top of E0."""
    vectors = configuration.positions[None] - configuration.positions[:, None]
    distances = np.linalg.norm(vectors, axis=-1) + 100 * np.eye(configuration.num_atoms)
    decay = np.exp(-(distances - 1.5))
    slope = 2 * decay * (1 - decay)
    forces = (slope / distances)[..., None] * vectors
    energy = 0.5 * ((1 - decay) ** 2 - 1).sum() + sum(E0[symbol] for symbol in configuration.symbols)
    return float(energy), forces.sum(1)


def make_configurations(count: int, seed: int, *, periodic: bool = False) -> list[Configuration]:
    rng = np.random.default_rng(seed)
    frames = []
    for index in range(count):
        atoms = int(rng.integers(3, 6))
        grid = 1.6 * np.array(np.unravel_index(rng.permutation(8)[:atoms], (2, 2, 2))).T
        positions = grid + 0.15 * rng.normal(size=(atoms, 3))
        numbers = rng.choice([1, 6, 8], atoms)
        cell = 4.5 * np.eye(3) if periodic else np.zeros((3, 3))
        bare = Configuration(numbers, positions, cell, np.full(3, periodic), origin=f"train.xyz, frame {index}")
        energy, forces = morse(bare)
        labels = {"energy": energy, "forces": forces, **({"stress": 0.01 * np.eye(3)} if periodic else {})}
        frames.append(Configuration(numbers, positions, cell, bare.pbc, labels, origin=bare.origin))
    return frames


@pytest.fixture(scope="session")
def train_graphs() -> list[Graph]:
    return build_graphs(make_configurations(10, 0), ELEMENTS, R_MAX)


@pytest.fixture(scope="session")
def valid_graphs() -> list[Graph]:
    return build_graphs(make_configurations(4, 1), ELEMENTS, R_MAX)


@pytest.fixture(scope="session")
def periodic_graphs() -> list[Graph]:
    return build_graphs(make_configurations(4, 2, periodic=True), ELEMENTS, R_MAX)


@pytest.fixture
def make_potential() -> Callable[..., Potential]:
    def make(*, num_channels: int = 4, seed: int = 0, dtype: torch.dtype = torch.float32) -> Potential:
        model = mace(elements=ELEMENTS, r_max=R_MAX, num_channels=num_channels, l_max=1, correlation=2, num_layers=1)
        return Potential(PotentialConfig(model=model), e0=E0, seed=seed, dtype=dtype)

    return make


@pytest.fixture
def make_config() -> Callable[..., TrainConfig]:
    def make(**changes: object) -> TrainConfig:
        return TrainConfig.model_validate({"batch_size": 4, "max_epochs": 2, "checkpoint_seconds": 0.0, **changes})

    return make
