"""A potential that leaves what it was trained on says so, once; a trajectory that explodes is called that."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import ase.io
import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from ase.io.trajectory import Trajectory

from clebsch import Calculator, Potential, PotentialConfig, presets
from clebsch.data import Configuration, build_graph, build_graphs, collate
from clebsch.errors import DataError, ExplodedError, ExtrapolationWarning
from clebsch.models import Domain, load_potential, save_potential
from clebsch.models.domain import SIZE

ELEMENTS = ("Cu", "Au")
R_MAX = 3.5


def alloy(seed: int, rattle: float = 0.1, repeat: int = 1) -> Atoms:
    atoms = bulk("Cu", cubic=True) * (repeat, 1, 1)
    atoms.symbols[0] = "Au"
    atoms.rattle(rattle, seed=seed)
    return atoms


def graphs_of(*frames: Atoms) -> list:
    return build_graphs([Configuration.from_atoms(atoms) for atoms in frames], ELEMENTS, R_MAX)


@pytest.fixture(scope="module")
def domain() -> Domain:
    return Domain.of(graphs_of(*map(alloy, range(40))), ELEMENTS, R_MAX)


@pytest.fixture
def potential(domain: Domain) -> Potential:
    model = presets.mace(elements=ELEMENTS, r_max=R_MAX, num_channels=4, l_max=1, L_max=1, correlation=2, num_radial=4)
    potential = Potential(PotentialConfig(model=model), e0={"Cu": 0.0, "Au": 0.0}, dtype=torch.float64)
    potential.domain = domain
    return potential


def test_grade_of_training_atoms_is_at_most_one(domain: Domain):
    grades = np.concatenate([domain.grades(collate([graph])) for graph in graphs_of(*map(alloy, range(40)))])
    assert grades.max() == pytest.approx(1.0)
    assert domain.leaves(collate(graphs_of(alloy(3)))) is None


def test_atoms_like_those_of_training_are_inside_and_others_outside(domain: Domain):
    """Twice the thermal motion is outside, a copy of a cell and atoms far from the origin are where they were."""
    inside = [domain.grades(collate(graphs_of(alloy(seed)))).max() for seed in range(100, 140)]
    outside = [domain.grades(collate(graphs_of(alloy(seed, 0.3)))).max() for seed in range(100, 140)]
    assert max(inside) < 1.5 < np.median(outside)
    one, two = (domain.grades(collate(graphs_of(atoms))) for atoms in (alloy(5), alloy(5) * (2, 1, 1)))
    assert np.allclose(two, np.tile(one, 2))
    both = domain.grades(collate(graphs_of(alloy(5), alloy(6))))
    assert np.allclose(both[:4], one)


def test_grades_do_not_depend_on_the_frame(domain: Domain):
    atoms = alloy(7)
    turned = atoms.copy()
    turned.rotate(30, (1, 2, 3), rotate_cell=True)
    turned.positions += 5.0
    assert np.allclose(*(domain.grades(collate(graphs_of(frame))) for frame in (atoms, turned)))


def test_close_pairs_are_named(domain: Domain):
    atoms = alloy(1, 0.0)
    vector = atoms.positions[1] - atoms.positions[0]
    atoms.positions[1] = atoms.positions[0] + 0.7 * vector
    found = domain.leaves(collate(graphs_of(atoms)))
    assert found is not None
    assert re.match(r"(Au-Cu|Cu-Au) \(atoms (0, 1|1, 0)\) 1.79 Å apart; training: at least 2\.\d\d Å", found)
    assert "Cu-Au" in domain.shortest_distances()


def test_of_close_pairs_the_most_unusual_is_named():
    """Not the shortest, which may be usual: H-H at 0.72 Å and C-C at 1.2 Å."""
    shortest, nothing = np.array([[0.7, 1.0], [1.0, 1.4]]), np.zeros((2, SIZE))
    domain = Domain(("H", "C"), 4.0, shortest, nothing, np.stack([np.eye(SIZE)] * 2) * 1e-9)
    atoms = Atoms("H2C2", [[0, 0, 0], [0.72, 0, 0], [3, 0, 0], [4.2, 0, 0]])
    found = domain.leaves(collate([build_graph(Configuration.from_atoms(atoms), ("H", "C"), 4.0)]))
    assert found is not None and found.startswith("C-C (atoms 2, 3) 1.20 Å apart; training: at least 1.40 Å")


def test_the_calculator_warns_once(potential: Potential):
    atoms = alloy(1)
    atoms.calc = Calculator(potential)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        atoms.get_forces()
    atoms.calc = Calculator(potential)
    atoms.rattle(0.4, seed=3)
    with pytest.warns(ExtrapolationWarning, match="unlike what the potential was trained on"):
        atoms.get_forces()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for seed in range(12):
            atoms.rattle(0.01, seed=seed)
            atoms.get_forces()
    assert atoms.calc.grades(atoms).max() > 1.5


def test_the_domain_is_saved_and_copied(potential: Potential, domain: Domain, tmp_path: Path):
    save_potential(potential, tmp_path / "p.safetensors")
    for found in (load_potential(tmp_path / "p.safetensors"), potential.copy(dtype="float32"), potential.frozen()):
        assert found.domain is not None
        batch = collate(graphs_of(alloy(2, 0.3)))
        assert np.array_equal(found.domain.grades(batch), domain.grades(batch))
    potential.domain = None
    with pytest.raises(DataError, match="train it again"):
        Calculator(potential).grades(alloy(0))


def test_an_exploded_trajectory_is_called_that(potential: Potential):
    atoms = alloy(1)
    atoms.calc = Calculator(potential)
    atoms.get_forces()
    good = atoms.positions.copy()
    atoms.positions[1] = np.nan
    with pytest.raises(ExplodedError, match=r"exploded after 1 evaluations: .*finite.*last_good"):
        atoms.get_forces()
    assert np.array_equal(atoms.calc.last_good.positions, good)
    atoms.positions[:] = good
    atoms.positions[1] = atoms.positions[0] + 0.05
    with pytest.raises(ExplodedError, match="exploded"):
        atoms.get_forces()
    other = Atoms("Cu2", [[0, 0, 0], [0, 0, 0.01]], calculator=atoms.calc)
    with pytest.raises(DataError, match=r"are 0\.0100 Å apart"):
        other.get_forces()


def test_forces_that_are_not_finite_are_no_result(potential: Potential):
    atoms = alloy(1)
    atoms.calc = Calculator(potential)
    atoms.get_forces()
    atoms.calc.potential.scale.fill_(torch.nan)
    atoms.rattle(0.01)
    with pytest.raises(ExplodedError, match="forces are not finite"):
        atoms.get_forces()


def test_trajectories_know_their_potential(potential: Potential, tmp_path: Path):
    atoms = alloy(1)
    atoms.calc = Calculator(potential)
    atoms.get_forces()
    with Trajectory(str(tmp_path / "md.traj"), "w") as trajectory:
        trajectory.write(atoms)
    found = ase.io.read(tmp_path / "md.traj").calc  # type: ignore[union-attr]
    assert found.name == "clebsch" and found.parameters["sha256"] == potential.fingerprint()
    assert potential.copy().fingerprint() == potential.fingerprint()
    assert "sha256" not in Calculator(potential.frozen()).parameters
    with torch.no_grad():
        next(potential.parameters()).mul_(1.001)
    assert potential.fingerprint() != found.parameters["sha256"]


def test_atoms_alone_and_elements_never_seen(potential: Potential):
    """No edges at all, in training and in use; an element without training atoms is never inside."""
    alone = Domain.of(graphs_of(Atoms("Cu"), alloy(0), Atoms("Cu2", [[0, 0, 0], [0, 0, 9]])), ELEMENTS, R_MAX)
    assert alone.grades(collate(graphs_of(Atoms("Cu")))).max() <= 1.0
    copper = Domain.of(graphs_of(bulk("Cu", cubic=True)), ELEMENTS, R_MAX)
    assert np.isinf(copper.grades(collate(graphs_of(Atoms("Au2", [[0, 0, 0], [0, 0, 2.5]]))))).all()
    atoms = Atoms("Cu")
    atoms.calc = Calculator(potential, warn=False)
    assert atoms.get_forces().shape == (1, 3)


def test_another_cell_is_no_explosion(potential: Potential):
    atoms = alloy(1)
    atoms.calc = Calculator(potential)
    atoms.get_forces()
    atoms.set_cell(np.zeros((3, 3)))
    with pytest.raises(DataError, match="no volume"):
        atoms.get_forces()
