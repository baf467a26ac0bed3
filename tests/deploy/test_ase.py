"""The ASE calculator: physics by finite differences, ASE's conventions, and who owns the potential."""

from __future__ import annotations

import copy
import multiprocessing
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms, units
from ase.build import bulk, molecule
from ase.calculators.calculator import PropertyNotImplementedError
from ase.calculators.fd import calculate_numerical_forces, calculate_numerical_stress
from ase.md.verlet import VelocityVerlet

import clebsch
from clebsch import Calculator, Potential, PotentialConfig, presets
from clebsch.errors import ClebschError, DataError

E0 = {"H": -13.0, "C": -1030.0, "O": -2040.0, "Cu": -1.0}


@pytest.fixture(scope="module")
def potential() -> Potential:
    model = presets.pace(elements=tuple(E0), r_max=3.5, num_channels=4, l_max=2, L_max=1, correlation=2)
    model = model.model_copy(update={"avg_num_neighbors": 8.0})
    return Potential(PotentialConfig(model=model), e0=E0, scale=20.0, dtype=torch.float64, seed=1)


@pytest.fixture
def ethanol(potential: Potential) -> Atoms:
    atoms = molecule("CH3CH2OH")
    atoms.rattle(0.05, seed=1)
    atoms.calc = Calculator(potential)
    return atoms


@pytest.fixture
def copper(potential: Potential) -> Atoms:
    """A cell smaller than the cutoff, sheared, so that atoms have several images of each other."""
    atoms = bulk("Cu", cubic=True)
    atoms.set_cell(atoms.cell.array @ np.array([[1, 0.05, 0], [0, 0.97, 0.02], [0, 0, 1.03]]), scale_atoms=True)
    atoms.rattle(0.05, seed=2)
    atoms.calc = Calculator(potential)
    return atoms


def test_results(ethanol: Atoms):
    assert ethanol.get_potential_energy() == pytest.approx(ethanol.get_potential_energies().sum())
    assert ethanol.get_potential_energy(force_consistent=True) == ethanol.get_potential_energy()
    assert ethanol.get_forces().shape == (9, 3)
    assert np.abs(ethanol.get_forces().sum(axis=0)).max() < 1e-9


def test_forces_by_finite_differences(ethanol: Atoms, copper: Atoms):
    for atoms in (ethanol, copper):
        assert np.allclose(atoms.get_forces(), calculate_numerical_forces(atoms, 1e-4), atol=1e-6)


def test_stress_by_finite_differences(copper: Atoms):
    assert np.abs(copper.get_stress()).max() > 5e-3
    assert np.allclose(copper.get_stress(), calculate_numerical_stress(copper, 1e-5), atol=1e-6)
    assert copper.get_stress(voigt=False).shape == (3, 3)


def test_no_stress_without_a_periodic_direction(ethanol: Atoms, copper: Atoms):
    copper.pbc = False
    for atoms in (ethanol, copper):
        with pytest.raises(PropertyNotImplementedError, match="a periodic direction and a cell with a volume"):
            atoms.get_stress()
        assert np.isfinite(atoms.get_forces()).all()


def test_stress_of_a_slab_lies_in_its_plane(copper: Atoms):
    """The plane is any: here it is turned out of the axes, and strains within it give the stress."""
    copper.pbc = (True, True, False)
    copper.rotate(30, (1, 1, 0), rotate_cell=True)
    normal = np.cross(*copper.cell.array[:2])
    stress = copper.get_stress(voigt=False)
    assert np.abs(stress).max() > 5e-3 and np.abs(stress @ normal).max() < 1e-12
    direction = copper.cell.array[0] / np.linalg.norm(copper.cell.array[0])
    energies = []
    for strain in (-1e-5, 1e-5):
        strained = copper.copy()
        strained.calc = copper.calc
        strained.set_cell(copper.cell.array @ (np.eye(3) + strain * np.outer(direction, direction)), scale_atoms=True)
        energies.append(strained.get_potential_energy())
    slope = (energies[1] - energies[0]) / 2e-5 / copper.get_volume()
    assert direction @ stress @ direction == pytest.approx(slope, abs=1e-6)


def test_neighbours_are_rebuilt(copper: Atoms):
    """A repeated cell is the same crystal, an atom moved by a lattice vector the same atom, a far atom alone."""
    energy, forces = copper.get_potential_energy(), copper.get_forces()
    copper.positions[0] += copper.cell[1]
    assert copper.get_potential_energy() == pytest.approx(energy, abs=1e-9)
    twice = copper.repeat((2, 1, 1))
    twice.calc = copper.calc
    assert twice.get_potential_energy() == pytest.approx(2 * energy, abs=1e-8)
    assert np.allclose(twice.get_forces()[:4], forces, atol=1e-9)


def test_a_cell_that_changes_alone_gives_other_results(copper: Atoms):
    before = [copper.get_potential_energy(), copper.get_stress()]
    copper.set_cell(copper.cell.array * [[1.02], [1.0], [1.0]])
    found = [copper.get_potential_energy(), copper.get_stress()]
    fresh = copper.copy()
    fresh.calc = Calculator(copper.calc.potential)
    for value, other, old in zip(found, [fresh.get_potential_energy(), fresh.get_stress()], before, strict=True):
        np.testing.assert_allclose(value, other, atol=1e-10)
        assert np.abs(value - old).max() > 1e-4


def test_far_atoms_do_not_interact(potential: Potential):
    calculator = Calculator(potential)
    alone = [Atoms(symbol, calculator=calculator).get_potential_energy() for symbol in "HO"]
    atoms = Atoms("HO", positions=[[0, 0, 0], [0, 0, 50.0]], calculator=calculator)
    assert atoms.get_potential_energies() == pytest.approx(alone)
    assert not atoms.get_forces().any()


def test_unknown_element(potential: Potential):
    atoms = Atoms("Au", calculator=Calculator(potential))
    with pytest.raises(DataError, match=r"atom 0 is Au.*H, C, O, Cu"):
        atoms.get_potential_energy()


def test_atoms_on_top_of_each_other(potential: Potential):
    atoms = Atoms("H2", positions=[[0, 0, 0], [0, 0, 0.01]], calculator=Calculator(potential))
    with pytest.raises(DataError, match="atoms 0 and 1 are"):
        atoms.get_potential_energy()


def test_dtype_is_the_callers_choice(potential: Potential, ethanol: Atoms):
    exact = ethanol.get_potential_energy()
    ethanol.calc = Calculator(potential, dtype=torch.float32)
    assert ethanol.calc.potential.dtype == torch.float32
    assert potential.dtype == torch.float64
    single = ethanol.get_potential_energy()
    assert single != exact
    assert single == pytest.approx(exact, abs=1e-4)


def test_saved_potential(potential: Potential, ethanol: Atoms, tmp_path: Path):
    path = tmp_path / "potential.safetensors"
    clebsch.save(potential, path)
    energy, forces = ethanol.get_potential_energy(), ethanol.get_forces()
    ethanol.calc = Calculator(path)
    assert ethanol.get_potential_energy() == pytest.approx(energy, abs=1e-10)
    assert np.allclose(ethanol.get_forces(), forces, atol=1e-10)
    ethanol.calc = Calculator(str(path), dtype=torch.float32)
    assert ethanol.calc.potential.dtype == torch.float32


def test_backend_that_is_missing(potential: Potential):
    with pytest.raises(ClebschError, match="abacus"):
        Calculator(potential, backend="abacus")


def test_later_training_does_not_reach_the_calculator(potential: Potential, ethanol: Atoms):
    before = ethanol.get_potential_energy()
    with torch.no_grad():
        potential.model.embedding.mul_(2.0)
    try:
        ethanol.rattle(0.0)
        ethanol.calc.reset()
        assert ethanol.get_potential_energy() == before
    finally:
        with torch.no_grad():
            potential.model.embedding.div_(2.0)


def test_dynamics_conserves_energy(ethanol: Atoms):
    ethanol.set_velocities(np.random.default_rng(0).normal(scale=0.005, size=(9, 3)))
    start = ethanol.get_total_energy()
    VelocityVerlet(ethanol, timestep=0.1 * units.fs).run(50)
    assert ethanol.get_total_energy() == pytest.approx(start, abs=2e-3)


def results(atoms: Atoms) -> tuple[float, np.ndarray]:
    return atoms.get_potential_energy(), atoms.get_forces()


def test_a_deep_copy_is_independent(ethanol: Atoms):
    energy, forces = results(ethanol)
    twin = copy.deepcopy(ethanol)
    assert twin.calc is not ethanol.calc and twin.calc.potential is not ethanol.calc.potential
    twin.calc.reset()
    assert twin.get_potential_energy() == energy
    np.testing.assert_array_equal(twin.get_forces(), forces)
    twin.rattle(0.05, seed=9)
    assert twin.get_potential_energy() != energy
    assert ethanol.get_potential_energy() == energy and ethanol.calc.check_state(ethanol) == []


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")  # Python 3.12
def test_in_other_processes(ethanol: Atoms, method: str):
    """As in a pool over frames: atoms with their calculator are sent there and computed."""
    energy, forces = results(ethanol)
    moved = ethanol.copy()
    moved.rattle(0.05, seed=5)
    moved.calc = ethanol.calc
    ethanol.calc.reset()
    with multiprocessing.get_context(method).Pool(1) as pool:
        (first, other) = pool.map(results, [ethanol, moved])
    assert first[0] == pytest.approx(energy, abs=1e-9)
    np.testing.assert_allclose(first[1], forces, atol=1e-9)
    assert other[0] == pytest.approx(moved.get_potential_energy(), abs=1e-9) != pytest.approx(energy, abs=1e-3)


def test_no_stresses_of_atoms(copper: Atoms):
    """They are not defined uniquely by a many-body energy: ASE says that the calculator has none."""
    assert "stresses" not in copper.calc.implemented_properties
    with pytest.raises(PropertyNotImplementedError):
        copper.get_stresses()
