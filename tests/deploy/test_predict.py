"""Many configurations at once: what the calculator gives, frame by frame."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule

import clebsch
from clebsch.data import Configuration
from clebsch.errors import DataError
from clebsch.models import MultiACEConfig, Potential, PotentialConfig

E0 = {"H": -13.6, "C": -1029.4, "O": -2042.1}


@pytest.fixture(scope="module")
def potential() -> Potential:
    layers = [{"hidden_irreps": "0e+1o", "readout": "linear"}, {"hidden_irreps": "0e", "readout": "mlp"}]
    model = MultiACEConfig(elements=tuple(E0), r_max=3.0, num_channels=4, layers=layers)
    return Potential(PotentialConfig(model=model), e0=E0, scale=20.0, dtype=torch.float64, seed=1)


@pytest.fixture
def frames() -> list[Atoms]:
    crystal = bulk("C", cubic=True)
    crystal.rattle(0.05, seed=0)
    slab = crystal.copy()
    slab.pbc = (True, True, False)
    return [molecule("CH3CH2OH"), crystal, molecule("H2O"), slab, Atoms("H"), crystal.repeat((2, 1, 1))]


@pytest.mark.parametrize("batch_size", [1, 2, 16])
def test_equal_to_the_calculator(potential: Potential, frames: list[Atoms], batch_size: int):
    results = clebsch.predict(potential, frames, batch_size=batch_size)
    assert ["stress" in result for result in results] == [bool(frame.pbc.any()) for frame in frames]
    calculator = clebsch.Calculator(potential)
    for frame, result in zip(frames, results, strict=True):
        calculator.calculate(frame)
        for name, values in result.items():
            np.testing.assert_allclose(values, calculator.results[name], rtol=1e-12, atol=1e-12)


def test_labels_play_no_part(potential: Potential, frames: list[Atoms]):
    labelled = Configuration(frames[0].numbers, frames[0].positions, labels={"energy": 1.0})
    found = clebsch.predict(potential, [labelled, frames[2]])
    assert [result["energy"] for result in found] == [
        result["energy"] for result in clebsch.predict(potential, [frames[0], frames[2]])
    ]


def test_nothing_and_errors(potential: Potential, frames: list[Atoms]):
    assert clebsch.predict(potential, []) == []
    with pytest.raises(DataError, match="frame 1: atom 0 is Cu"):
        clebsch.predict(potential, [frames[0], Atoms("Cu")])
