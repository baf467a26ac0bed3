"""Neighbour lists with a skin: at every step of a walk, the edges and numbers of a fresh search."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, fcc111, molecule

from clebsch import Calculator, Potential, PotentialConfig
from clebsch.data import Batch, Configuration, build_graph, collate
from clebsch.deploy.neighbors import SkinList
from clebsch.errors import DataError
from clebsch.models.presets import mace

ELEMENTS, R_MAX = ("H", "C", "O", "Cu"), 3.2


@pytest.fixture(scope="module")
def potential() -> Potential:
    model = mace(elements=ELEMENTS, r_max=R_MAX, num_channels=4, l_max=2, L_max=1, correlation=2)
    return Potential(PotentialConfig(model=model), e0=dict.fromkeys(ELEMENTS, -1.0), dtype="float64", seed=1)


def fresh(atoms: Atoms) -> Batch:
    return collate([build_graph(Configuration.from_atoms(atoms), ELEMENTS, R_MAX)])


def tensors_of(batch: Batch) -> dict[str, torch.Tensor]:
    edges, elements = batch.edges, batch.edges.elements
    parts = {"": batch, "edges.": edges, "elements.": elements}
    found = {prefix + item.name: getattr(part, item.name) for prefix, part in parts.items() for item in fields(part)}
    return {name: value for name, value in found.items() if isinstance(value, torch.Tensor)}


def assert_fresh(neighbors: SkinList, atoms: Atoms, potential: Potential | None = None) -> None:
    """The batch is that of a fresh search, edge for edge and bit for bit; so are energies and forces."""
    found, expected = neighbors.batch(atoms), fresh(atoms)
    values, others = tensors_of(found), tensors_of(expected)
    assert values.keys() == others.keys() and len(values) == 14
    for name, value in values.items():
        assert value.dtype == others[name].dtype and torch.equal(value, others[name]), name
    if potential is not None:
        stress = bool(atoms.pbc.all())
        one, other = (potential(batch, stress=stress) for batch in (found, expected))
        assert torch.equal(one.energy, other.energy) and torch.equal(one.forces, other.forces)


def ethanol() -> Atoms:
    return molecule("CH3CH2OH")


def sheared() -> Atoms:
    """A cell smaller than the cutoff: atoms have several images of each other and of themselves."""
    atoms = bulk("Cu", cubic=True)
    atoms.set_cell(atoms.cell.array @ np.array([[0.8, 0.3, 0], [0, 0.9, -0.4], [0, 0, 1]]), scale_atoms=True)
    return atoms


def slab() -> Atoms:
    atoms = fcc111("Cu", (2, 2, 2), vacuum=None)
    assert atoms.pbc.tolist() == [True, True, False]
    return atoms


def lonely() -> Atoms:
    """Atoms that come within reach of each other now and then."""
    return Atoms("HOC", [[0, 0, 0], [3.15, 0, 0], [0, 3.4, 0]])


SYSTEMS = {"ethanol": ethanol, "sheared": sheared, "slab": slab, "lonely": lonely}


@pytest.mark.parametrize("skin", [0.0, 0.3, 1.5])
@pytest.mark.parametrize("name", SYSTEMS)
def test_a_random_walk(name: str, skin: float, potential: Potential):
    """Atoms move in place, as they do in dynamics; pairs cross the cutoff on the way."""
    atoms, neighbors = SYSTEMS[name](), SkinList(ELEMENTS, R_MAX, skin)
    rng, counts = np.random.default_rng(0), set()
    for step in range(25):
        assert_fresh(neighbors, atoms, potential if step % 8 == 0 else None)
        counts.add(neighbors.batch(atoms).num_edges)
        atoms.positions += rng.normal(scale=0.04, size=(len(atoms), 3))
    assert len(counts) > 1, "no pair has crossed the cutoff: the walk tests nothing"
    assert neighbors.num_searches == 25 if skin == 0.0 else neighbors.num_searches < 25
    if skin == 1.5:
        assert neighbors.num_searches == 1


def test_few_searches_while_atoms_move_little():
    atoms, neighbors = ethanol(), SkinList(ELEMENTS, R_MAX, 0.5)
    start = atoms.positions.copy()
    for step in range(40):  # to and fro, 0.24 Å at most
        atoms.positions[:] = start + 0.24 * np.sin(step) * np.array([0.6, 0.0, 0.8])
        assert_fresh(neighbors, atoms)
    assert neighbors.num_searches == 1
    atoms.positions[3] = start[3] + [0.26, 0.0, 0.0]  # one atom is enough
    assert_fresh(neighbors, atoms)
    assert neighbors.num_searches == 2


def test_two_atoms_that_approach_each_other():
    """Each by half the skin: together they have crossed it."""
    atoms, neighbors = Atoms("HO", [[0, 0, 0], [R_MAX + 0.499, 0, 0]]), SkinList(ELEMENTS, R_MAX, 0.5)
    assert neighbors.batch(atoms).num_edges == 0
    atoms.positions += [[0.2499, 0, 0], [-0.2499, 0, 0]]
    assert neighbors.batch(atoms).num_edges == 2 and neighbors.num_searches == 1
    assert_fresh(neighbors, atoms)


def wrapped(atoms: Atoms) -> None:
    atoms.positions[1] += atoms.cell[0] - 2 * atoms.cell[2]


def strained(atoms: Atoms) -> None:
    atoms.set_cell(atoms.cell.array * [[1.001], [1.0], [0.999]], scale_atoms=True)


def cell_in_place(atoms: Atoms) -> None:
    atoms.cell[0, 0] += 0.01


def cell_alone(atoms: Atoms) -> None:
    atoms.set_cell(atoms.cell.array * 1.02)


def without_pbc(atoms: Atoms) -> None:
    atoms.pbc = [True, False, True]


def pbc_in_place(atoms: Atoms) -> None:
    atoms.pbc[2] = False


def added(atoms: Atoms) -> None:
    atoms += Atoms("H", [np.add(atoms.positions.mean(0), [0.6, 0.7, 0.1])])


def removed(atoms: Atoms) -> None:
    del atoms[2]


def swapped(atoms: Atoms) -> None:
    atoms.numbers[0] = 6


def reordered(atoms: Atoms) -> None:
    atoms.positions[:] = atoms.positions[[1, 0, *range(2, len(atoms))]]


CHANGES = [
    wrapped, strained, cell_in_place, cell_alone, without_pbc, pbc_in_place, added, removed, swapped, reordered,
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_what_else_may_change(change: Callable[[Atoms], None], potential: Potential):
    """Even in place, where the list could not tell an old array from the new one."""
    atoms, neighbors = sheared(), SkinList(ELEMENTS, R_MAX, 0.5)
    atoms.rattle(0.05, seed=1)
    assert_fresh(neighbors, atoms, potential)
    before = potential(neighbors.batch(atoms)).energy
    change(atoms)
    assert_fresh(neighbors, atoms, potential)
    assert neighbors.num_searches == 2
    same = change in (wrapped, reordered)
    assert torch.allclose(potential(neighbors.batch(atoms)).energy, before, rtol=1e-12) == same


def test_batches_are_independent(potential: Potential):
    """An earlier batch keeps its positions when the atoms move on."""
    atoms, neighbors = ethanol(), SkinList(ELEMENTS, R_MAX, 0.5)
    first = neighbors.batch(atoms)
    energy = potential(first).energy
    atoms.positions += 0.1 * np.random.default_rng(0).random((9, 3))
    assert not torch.equal(neighbors.batch(atoms).positions, first.positions)
    assert torch.equal(potential(first).energy, energy)


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_positions_that_are_not_numbers(number: float):
    for searched in (False, True):
        atoms, neighbors = ethanol(), SkinList(ELEMENTS, R_MAX, 0.5)
        if searched:
            neighbors.batch(atoms)
        atoms.positions[4, 1] = number
        with pytest.raises(DataError, match=r"ASE atoms: positions must be finite numbers, got \[.*\] for atom 4"):
            neighbors.batch(atoms)
        atoms.positions[4, 1] = 0.3
        assert_fresh(neighbors, atoms)


def test_a_cell_that_is_not_numbers():
    atoms, neighbors = sheared(), SkinList(ELEMENTS, R_MAX, 0.5)
    neighbors.batch(atoms)
    atoms.cell[1, 1] = np.nan
    with pytest.raises(DataError, match="ASE atoms: cell must be finite numbers"):
        neighbors.batch(atoms)


def test_atoms_that_are_too_close_are_named():
    """At the search and between searches."""
    for start in (0.05, 0.25):
        atoms, neighbors = Atoms("CHH", [[0, 0, 9], [0, 0, 0], [0, 0, start]]), SkinList(ELEMENTS, R_MAX, 0.5)
        if start > 0.1:
            assert_fresh(neighbors, atoms)
            atoms.positions[2, 2] = 0.05
        with pytest.raises(DataError, match="atoms 1 and 2 are"):
            neighbors.batch(atoms)
        assert neighbors.num_searches == (start > 0.1)


def test_elements_must_be_known():
    with pytest.raises(DataError, match=r"ASE atoms: atom 0 is Au, .*\(H, C, O, Cu\)"):
        SkinList(ELEMENTS, R_MAX, 0.5).batch(Atoms("Au"))


@pytest.mark.parametrize("skin", [-0.1, np.nan, np.inf])
def test_a_skin_is_a_length(skin: float, potential: Potential):
    with pytest.raises(DataError, match=f"skin: expected a length in Å, 0 or more, got {skin}; 0.5 is usual"):
        Calculator(potential, skin=skin)


@pytest.mark.parametrize("skin", [0.0, 0.5])
def test_calculators_with_any_skin_agree(skin: float, potential: Potential):
    found, frozen, atoms = Calculator(potential, skin=skin), potential.frozen(), sheared()
    for step in range(4):
        atoms.rattle(0.03, seed=step)
        expected = frozen(fresh(atoms), stress=True)
        atoms.calc = found
        assert atoms.get_potential_energy() == expected.energy.item()
        assert np.array_equal(atoms.get_forces(), expected.forces.numpy())
    assert found.neighbors.num_searches == (4 if skin == 0.0 else 1)
