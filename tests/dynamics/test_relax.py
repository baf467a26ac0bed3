"""Relaxation: forces and stresses that vanish, and saying so when they do not."""

from __future__ import annotations

from io import StringIO

import numpy as np
import pytest
import torch
from ase import Atoms, units
from ase.build import bulk, molecule
from ase.constraints import FixAtoms
from rich.console import Console

import clebsch
from clebsch import Potential
from clebsch.errors import ConfigError, DataError


@pytest.fixture(scope="module")
def potential() -> Potential:
    return clebsch.load("ethanol", dtype=torch.float64)


@pytest.mark.parametrize("optimizer", ["bfgs", "lbfgs", "fire"])
def test_a_molecule(potential: Potential, optimizer: str):
    start = molecule("CH3CH2OH")
    start.rattle(0.05, seed=0)
    before = start.positions.copy()
    found = clebsch.relax(potential, start, optimizer=optimizer, fmax=0.005)
    assert found.converged and found.fmax <= 0.005 and 0 < found.steps < 300
    assert np.linalg.norm(found.atoms.get_forces(), axis=1).max() == found.fmax
    assert found.energies[1] < found.energies[0] - 0.05
    assert found.atoms.get_distance(2, 3) == pytest.approx(0.97, abs=0.01)
    np.testing.assert_array_equal(start.positions, before)
    assert start.calc is None


def test_not_converged(potential: Potential):
    found = clebsch.relax(potential, molecule("CH3CH2OH"), fmax=1e-6, steps=2)
    assert not found.converged and found.steps == 2 and found.fmax > 1e-6


def test_held_atoms(potential: Potential):
    start = molecule("CH3CH2OH")
    start.rattle(0.05, seed=0)
    start.set_constraint(FixAtoms([0, 4]))
    found = clebsch.relax(potential, start)
    assert found.converged
    moved = np.linalg.norm(found.atoms.positions - start.positions, axis=1)
    assert not moved[[0, 4]].any() and np.delete(moved, [0, 4]).all()


def test_a_cell(alloy_potential: Potential):
    start = bulk("Cu", cubic=True)
    start.set_cell(start.cell.array @ np.array([[1.03, 0.02, 0], [0, 0.98, 0], [0, 0, 1.0]]), scale_atoms=True)
    free = clebsch.relax(alloy_potential, start, cell=True, fmax=1e-3)
    assert free.converged
    assert np.abs(free.atoms.get_stress()).max() * free.atoms.get_volume() / len(start) < 1e-3
    pressed = clebsch.relax(alloy_potential, start, cell=True, fmax=1e-3, pressure=5.0)
    assert pressed.converged and pressed.atoms.get_volume() < free.atoms.get_volume()
    assert -pressed.atoms.get_stress()[:3].mean() / units.GPa == pytest.approx(5.0, abs=0.02)
    held = clebsch.relax(alloy_potential, start, fmax=1e-3)
    np.testing.assert_array_equal(held.atoms.cell.array, start.cell.array)


def test_progress_is_told(potential: Potential, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("clebsch.dynamics.relaxation.FIRST", 0.0)
    out = StringIO()
    clebsch.relax(potential, molecule("CH3CH2OH"), console=Console(file=out, width=200))
    assert "of at most 500" in out.getvalue() and "eV/Å (wanted 0.01)" in out.getvalue()


def test_what_is_refused(potential: Potential):
    with pytest.raises(DataError, match="Relaxation of the cell needs a cell with a volume"):
        clebsch.relax(potential, molecule("CH3CH2OH"), cell=True)
    with pytest.raises(ConfigError, match="fmax"):
        clebsch.relax(potential, molecule("CH3CH2OH"), fmax=0.0)
    with pytest.raises(ConfigError, match="optimizer"):
        clebsch.relax(potential, molecule("CH3CH2OH"), optimizer="newton")
    with pytest.raises(DataError, match="atom 0 is Au"):
        clebsch.relax(potential, Atoms("Au"))
    with pytest.raises(ConfigError, match="neither a file"):
        clebsch.relax("nothing", Atoms("H"))
