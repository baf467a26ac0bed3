"""Second derivatives against differences of forces, and what symmetry says of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ase import Atoms, units
from ase.build import bulk, molecule
from ase.optimize import BFGS
from ase.thermochemistry import IdealGasThermo
from ase.vibrations import Vibrations

import clebsch
from clebsch import Calculator, Potential, PotentialConfig, hessian, hessian_vector_product, presets, vibrations
from clebsch.errors import DataError

E0 = {"H": -13.0, "C": -1030.0, "O": -2040.0, "Cu": -1.0}
STEP = 1e-4


@pytest.fixture(scope="module")
def potential() -> Potential:
    model = presets.pace(elements=tuple(E0), r_max=3.5, num_channels=4, l_max=2, L_max=1, correlation=2)
    model = model.model_copy(update={"avg_num_neighbors": 8.0})
    return Potential(PotentialConfig(model=model), e0=E0, scale=20.0, dtype=torch.float64, seed=1)


@pytest.fixture(scope="module")
def trained() -> Potential:
    return clebsch.load("ethanol", dtype=torch.float64)


@pytest.fixture
def ethanol() -> Atoms:
    atoms = molecule("CH3CH2OH")
    atoms.rattle(0.05, seed=1)
    return atoms


@pytest.fixture
def copper() -> Atoms:
    """A cell smaller than the cutoff, so that atoms have several images of each other."""
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.05, seed=2)
    return atoms


def by_differences(potential: Potential, atoms: Atoms) -> np.ndarray:
    rows, atoms = [], atoms.copy()
    atoms.calc = Calculator(potential, warn=False)
    for atom, direction in np.ndindex(len(atoms), 3):
        forces = []
        for step in (STEP, -2 * STEP):
            atoms.positions[atom, direction] += step
            forces.append(atoms.get_forces())
        atoms.positions[atom, direction] += STEP
        rows.append((forces[1] - forces[0]).ravel() / (2 * STEP))
    return np.array(rows)


def test_against_differences_of_forces(potential: Potential, trained: Potential, ethanol: Atoms, copper: Atoms):
    for model, atoms in ((potential, ethanol), (potential, copper), (trained, ethanol)):
        found = hessian(model, atoms)
        assert found.shape == (3 * len(atoms), 3 * len(atoms))
        np.testing.assert_allclose(found, by_differences(model, atoms), atol=2e-5 * np.abs(found).max())
        np.testing.assert_allclose(found, found.T, atol=1e-11 * np.abs(found).max())


def test_every_backend(potential: Potential, copper: Atoms, backend: str):
    np.testing.assert_allclose(hessian(potential.copy(backend=backend), copper), hessian(potential, copper), atol=1e-9)


def test_moving_all_atoms_together_costs_nothing(potential: Potential, ethanol: Atoms, copper: Atoms):
    """The acoustic sum rule, to rounding."""
    for atoms in (ethanol, copper):
        found = hessian(potential, atoms).reshape(len(atoms), 3, len(atoms), 3)
        assert np.abs(found).max() > 0.1
        assert np.abs(found.sum(axis=2)).max() < 1e-10


def test_a_relaxed_molecule_has_six_modes_without_restoring_force(trained: Potential, ethanol: Atoms):
    ethanol.calc = Calculator(trained)
    assert BFGS(ethanol, logfile=None).run(fmax=1e-5, steps=200)
    values = np.sort(np.abs(np.linalg.eigvalsh(hessian(trained, ethanol))))
    assert values[5] < 1e-5 and values[6] > 1e-2


def test_products_are_those_of_the_matrix(potential: Potential, ethanol: Atoms, rng: np.random.Generator):
    matrix, vectors = hessian(potential, ethanol), rng.normal(size=(2, 5, 9, 3))
    expected = vectors.reshape(2, 5, 27) @ matrix
    np.testing.assert_allclose(
        hessian_vector_product(potential, ethanol, vectors), expected.reshape(vectors.shape), atol=1e-10
    )
    alone = hessian_vector_product(potential, ethanol, vectors[1, 3])
    np.testing.assert_allclose(alone, expected[1, 3].reshape(9, 3), atol=1e-10)


def test_parts_and_calls(potential: Potential, ethanol: Atoms):
    whole = hessian(potential, ethanol)
    np.testing.assert_allclose(hessian(potential, ethanol, atoms_per_call=1), whole, atol=1e-11)
    rows = np.array([15, 16, 17, 0, 1, 2])
    np.testing.assert_allclose(hessian(potential, ethanol, [5, 0]), whole[np.ix_(rows, rows)], atol=1e-11)
    with torch.inference_mode():
        np.testing.assert_array_equal(hessian(potential, ethanol), whole)
    np.testing.assert_array_equal(hessian(potential.frozen(), ethanol), whole)


def test_vibrations_are_those_by_differences(trained: Potential, ethanol: Atoms, tmp_path):
    ethanol.calc = Calculator(trained)
    BFGS(ethanol, logfile=None).run(fmax=1e-4, steps=200)
    data = vibrations(trained, ethanol)
    numerical = Vibrations(ethanol, name=str(tmp_path / "vib"), delta=0.002)
    numerical.run()
    expected = numerical.get_frequencies()
    np.testing.assert_allclose(data.get_frequencies()[6:].real, expected[6:].real, atol=1.0)
    assert 3000 < data.get_frequencies()[-1].real < 4000  # O-H, 1/cm
    gas = IdealGasThermo(data.get_energies(), "nonlinear", atoms=ethanol, symmetrynumber=1, spin=0)
    entropy = gas.get_entropy(298.15, 1e5, verbose=False)
    # Measured: 282.7 J/mol/K with its free rotor and conformers (NIST WebBook, 64-17-5); one rigid conformer has less.
    assert entropy * units.mol / units.J == pytest.approx(275, abs=15)
    held = vibrations(trained, ethanol, [3, 8])
    assert held.get_energies().shape == (6,)


def test_far_atoms(potential: Potential):
    assert not hessian(potential, Atoms("H")).any()
    assert not hessian(potential, Atoms("HO", positions=[[0, 0, 0], [0, 0, 50.0]])).any()


def test_what_is_refused(potential: Potential, ethanol: Atoms):
    for indices in ([9], [-1], [0, 0], []):
        with pytest.raises(DataError, match=r"indices: expected different atoms from 0 to 8"):
            hessian(potential, ethanol, indices)
    with pytest.raises(DataError, match=r"vectors: .*\[..., 9, 3\].*got shape \[9\]"):
        hessian_vector_product(potential, ethanol, np.ones(9))
    with pytest.raises(DataError, match="not finite"):
        hessian_vector_product(potential, ethanol, np.full((9, 3), np.nan))
    with pytest.raises(DataError, match="atom 0 is Au"):
        hessian(potential, Atoms("Au"))
