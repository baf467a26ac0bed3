"""A potential of copper and gold that is good enough for crystals."""

from __future__ import annotations

from pathlib import Path

import ase.io
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT

import clebsch
from clebsch import Potential


@pytest.fixture(scope="session")
def alloy_potential(tmp_path_factory: pytest.TempPathFactory) -> Potential:
    """Linear ACE, fitted in a second to copper in ASE's effective-medium potential."""
    folder, frames = tmp_path_factory.mktemp("copper"), []
    for seed in range(24):
        atoms = bulk("Cu", cubic=True)
        atoms.set_cell(atoms.cell.array * (0.96 + 0.004 * seed), scale_atoms=True)
        atoms.rattle(0.1, seed=seed)
        atoms.calc = EMT()
        atoms.get_stress()
        frames.append(atoms)
    path = Path(folder) / "train.xyz"
    ase.io.write(path, frames)
    recipe = {
        "output": str(folder / "run"),
        "dtype": "float64",
        "data": {"train": str(path), "valid": 2},
        "model": {"preset": "linear_ace", "r_max": 4.5, "num_channels": 6, "l_max": 2, "correlation": 2},
        "energy": {"e0": {"Cu": 3.5}},
        "train": {"method": "least_squares"},
    }
    clebsch.train(recipe)
    return clebsch.load(folder / "run")
