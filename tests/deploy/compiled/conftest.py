"""Compiled libraries that several tests use."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from clebsch.deploy.compiled import CompiledPotential, compile_potential
from clebsch.models import CoreConfig, Potential, PotentialConfig
from clebsch.models.presets import mace

WATER = ("H", "O")
E0 = {"H": -13.6, "O": -2042.1}


def water_potential(dtype: str = "float64", seed: int = 0, **sizes: int) -> Potential:
    """Three layers with messages of vectors, and a core."""
    model = mace(elements=WATER, **{"r_max": 4.0, "num_channels": 8, "l_max": 2, "L_max": 1, "num_layers": 3, **sizes})
    model = model.model_copy(update={"avg_num_neighbors": 10.0})
    return Potential(PotentialConfig(model=model, terms=(CoreConfig(),)), e0=E0, dtype=dtype, seed=seed)


@pytest.fixture(scope="session")
def potential() -> Potential:
    """The potential of the library."""
    return water_potential()


@pytest.fixture(scope="session")
def library_file(potential: Potential, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library on the disk."""
    return compile_potential(potential, tmp_path_factory.mktemp("compiled") / "water.so").path


@pytest.fixture
def library(library_file: Path) -> CompiledPotential:
    """The library, opened."""
    return CompiledPotential(library_file)


@pytest.fixture(scope="session")
def single_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same in float32."""
    made = compile_potential(water_potential("float32"), tmp_path_factory.mktemp("compiled") / "single.so")
    assert torch.float32.itemsize == 4
    return made.path
