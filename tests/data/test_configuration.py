"""Configuration: what it accepts, what it refuses, and the way from and to ASE."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from frames import WATER, water

from clebsch.data import Configuration, LabelKeys, find_elements
from clebsch.errors import DataError

REF = LabelKeys(energy="REF_energy", forces="REF_forces")
STRESS = np.array([[1.0, 0.6, 0.5], [0.6, 2.0, 0.4], [0.5, 0.4, 3.0]])
VOIGT = [1.0, 2.0, 3.0, 0.4, 0.5, 0.6]


def test_from_atoms_and_back():
    configuration = Configuration.from_atoms(water(config_type="gas"), REF, "here")
    assert configuration.labels["energy"] == -10.5
    assert configuration.config_type == "gas"
    assert configuration.origin == "here"
    assert configuration.symbols == ("O", "H", "H")
    assert not configuration.pbc.any()
    assert not configuration.cell.any()
    again = Configuration.from_atoms(configuration.to_atoms(), LabelKeys())
    assert again.labels["energy"] == configuration.labels["energy"]
    np.testing.assert_array_equal(again.labels["forces"], configuration.labels["forces"])
    np.testing.assert_array_equal(again.positions, configuration.positions)
    assert again.config_type == "gas"


def test_no_keys_no_labels():
    configuration = Configuration.from_atoms(water())
    assert configuration.labels == {}
    assert configuration.to_atoms().calc is None


@pytest.mark.parametrize("value", [VOIGT, STRESS, STRESS.reshape(9)], ids=["voigt", "3x3", "nine"])
def test_stress_of_every_shape(value: np.ndarray):
    atoms = water(REF_stress=value)
    atoms.set_cell([10.0, 10.0, 10.0])
    atoms.pbc = True
    keys = LabelKeys(energy=None, forces=None, stress="REF_stress")
    configuration = Configuration.from_atoms(atoms, keys)
    np.testing.assert_allclose(configuration.labels["stress"], STRESS)
    np.testing.assert_allclose(configuration.to_atoms().get_stress(), VOIGT)


def test_stress_has_the_sign_of_ase():
    """A stretched crystal pulls inward: +(1/V) dE/dstrain is positive."""
    atoms = Atoms("Cu", cell=1.05 * np.array([[0, 1.8, 1.8], [1.8, 0, 1.8], [1.8, 1.8, 0]]), pbc=True)
    atoms.calc = EMT()
    energy, stress = atoms.get_potential_energy(), atoms.get_stress()
    keys = LabelKeys(forces=None, stress="stress")
    configuration = Configuration.from_atoms(atoms, keys)
    assert configuration.labels["energy"] == energy
    assert np.trace(configuration.labels["stress"]) > 0.0
    np.testing.assert_allclose(configuration.labels["stress"][0, 0], stress[0])


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("REF_stress", np.zeros(3), "six numbers"),
        ("REF_stress", np.zeros((3, 6)), "six numbers"),
        ("REF_stress", [[0.0, 1.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]], "symmetric"),
        ("REF_stress", [-251.0, 0.0, 0.0, 0.0, 0.0, 0.0], "kbar"),
        ("REF_virial", np.eye(3), "-virial / volume"),
        ("virials", np.eye(3), "-virial / volume"),
        ("REF_stress", "unknown", "must be numbers"),
        ("REF_stress", [np.nan, 0.0, 0.0, 0.0, 0.0, 0.0], "finite"),
    ],
)
def test_what_is_no_stress(name: str, value: Any, message: str):
    atoms = water(**{name: value})
    atoms.set_cell([10.0, 10.0, 10.0])
    atoms.pbc = True
    with pytest.raises(DataError, match=message):
        Configuration.from_atoms(atoms, LabelKeys(energy=None, forces=None, stress=name))


def test_a_system_that_is_not_periodic_has_no_stress():
    """Zeros are what codes write for a molecule in a box; a slab has a stress."""
    keys, atoms = LabelKeys.only(stress="s"), water(s=np.zeros(6))
    atoms.set_cell([10.0, 10.0, 10.0])
    assert not Configuration.from_atoms(atoms, keys).labels
    atoms.pbc = (True, True, False)
    assert not Configuration.from_atoms(atoms, keys).labels["stress"].any()
    atoms.pbc, atoms.info["s"] = False, np.ones(6)
    with pytest.raises(
        DataError, match=r"'s' belongs to a frame that is not periodic.* Set pbc .* or set the stress key"
    ):
        Configuration.from_atoms(atoms, keys)


def test_weights_of_a_frame():
    atoms = water(config_weight=2, energy_weight=0.0, config_forces_weight=1.5)
    found = Configuration.from_atoms(atoms, LabelKeys()).weights
    assert found == {"energy": 0.0, "forces": 3.0, "stress": 2.0, "dipole": 2.0}
    assert Configuration.from_atoms(water(), LabelKeys()).weights == {}


@pytest.mark.parametrize("bad", [-1.0, np.nan, np.inf, "high", [1.0, 2.0]])
def test_a_weight_is_one_number(bad: Any):
    with pytest.raises(DataError, match="here: forces_weight must be one number, 0 or more, got"):
        Configuration.from_atoms(water(forces_weight=bad), LabelKeys(), "here")


@pytest.mark.parametrize(
    ("label", "key", "value", "message"),
    [
        ("energy", "E", [1.0, 2.0], r"must be one number \(eV\), got shape \(2,\)"),
        ("energy", "E", "high", "must be numbers, got 'high'"),
        ("energy", "E", np.nan, "energy must be a finite number, got nan"),
        ("forces", "F", np.zeros(3), r"must be shape \(3, 3\) \(eV/Å\), got shape \(3,\)"),
        ("forces", "F", [[0, 0, 0], [0, np.inf, 0], [0, 0, 0]], "forces must be finite.* for atom 1"),
    ],
)
def test_wrong_labels_name_origin_key_and_expectation(label: str, key: str, value: Any, message: str):
    keys = LabelKeys(**{"energy": None, "forces": None, label: key})
    with pytest.raises(DataError, match=message) as caught:
        Configuration.from_atoms(water(**{key: value}), keys, "set.xyz, frame 4")
    assert str(caught.value).startswith("set.xyz, frame 4: ")


def test_two_places_that_differ():
    atoms = water("energy")
    atoms.calc = SinglePointCalculator(atoms, energy=-10.5)
    assert Configuration.from_atoms(atoms, LabelKeys(forces=None)).labels["energy"] == -10.5
    atoms.calc = SinglePointCalculator(atoms, energy=-9.0)
    with pytest.raises(DataError, match=r"attached calculator and in Atoms.info .*difference 1.5"):
        Configuration.from_atoms(atoms, LabelKeys(forces=None))


def test_two_places_may_differ_in_the_digits_they_are_written_with():
    atoms = water("energy")
    for difference in (5e-6, -5e-6):
        atoms.calc = SinglePointCalculator(atoms, energy=-10.5 + difference)
        Configuration.from_atoms(atoms, LabelKeys(forces=None))
    atoms.calc = SinglePointCalculator(atoms, energy=-10.5 + 2e-5)
    with pytest.raises(DataError, match="with different values"):
        Configuration.from_atoms(atoms, LabelKeys(forces=None))


def test_labels_of_other_positions():
    atoms = water()
    atoms.calc = SinglePointCalculator(atoms, energy=1.0)
    atoms.positions[0] += 0.1
    with pytest.raises(DataError, match="computed before positions"):
        Configuration.from_atoms(atoms, LabelKeys(forces=None))


def test_a_single_atom_has_no_force():
    atoms = Atoms("Cu", cell=[2.5, 2.5, 2.5], pbc=True, info={"energy": -3.0})
    configuration = Configuration.from_atoms(atoms, LabelKeys())
    np.testing.assert_array_equal(configuration.labels["forces"], np.zeros((1, 3)))
    assert not configuration.is_isolated_atom


@pytest.mark.parametrize(
    ("atoms", "isolated"),
    [
        (Atoms("H"), True),
        (Atoms("H", cell=[50.0] * 3), True),
        (Atoms("H", cell=[50.0] * 3, pbc=True), True),
        (Atoms("H", cell=[50.0, 50.0, 4.0], pbc=True), False),
        (Atoms("H", cell=[50.0, 50.0, 4.0], pbc=(True, True, False)), True),
        (Atoms("H", cell=[50.0] * 3, pbc=True, info={"config_type": "IsolatedAtom"}), True),
        (Atoms("H", cell=[50.0] * 3, pbc=True, info={"config_type": "isolated_atom"}), True),
        (Atoms("H2", [[0, 0, 0], [0, 0, 0.74]], info={"config_type": "isolated_atom"}), False),
    ],
)
def test_isolated_atoms(atoms: Atoms, isolated: bool):
    assert Configuration.from_atoms(atoms).is_isolated_atom is isolated


def test_atoms_too_close():
    with pytest.raises(DataError, match=r"atoms 0 and 2 are 0.0500 Å apart"):
        Configuration.from_atoms(Atoms("H3", [[0, 0, 0], [1, 0, 0], [0, 0.05, 0]]))
    with pytest.raises(DataError, match=r"atoms 0 and 1 \(periodic image \[-1, 0, 0\]\) are 0.0500 Å apart"):
        Configuration.from_atoms(Atoms("H2", [[0, 0, 0], [3.95, 0, 0]], cell=[4, 4, 4], pbc=True))
    with pytest.raises(DataError, match=r"atoms 0 and 0 \(periodic image .* are 0.0900 Å apart"):
        Configuration.from_atoms(Atoms("H", cell=[0.09, 4, 4], pbc=True))
    Configuration.from_atoms(Atoms("H2", [[0, 0, 0], [3.95, 0, 0]], cell=[4, 4, 4]))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"positions": WATER[:2]}, r"positions must have shape \(3, 3\), got \(2, 3\)"),
        ({"positions": np.where(WATER > 0.9, np.nan, WATER)}, "positions must be finite numbers"),
        ({"cell": np.full((3, 3), np.inf)}, "cell must be finite numbers.*row 0"),
        ({"labels": {"forces": np.zeros(3)}}, "forces must have shape"),
        ({"labels": {"force": np.zeros((3, 3))}}, r"'force' is no quantity. Did you mean 'forces'\?"),
        ({"labels": {"energy": None}}, "energy must be a finite number, got nan"),
        ({"numbers": np.array([8, 1, 0])}, "atom 2 has atomic number 0"),
        ({"numbers": np.array([8, 1, 400])}, "atom 2 has atomic number 400"),
        ({"numbers": np.zeros(0, dtype=int), "positions": np.zeros((0, 3))}, "at least one atom"),
        ({"pbc": np.ones(3, dtype=bool)}, "span no volume"),
        ({"pbc": np.array([True, True, False]), "cell": np.diag([1.0, 0.0, 1.0])}, "span no volume"),
        ({"pbc": np.ones(3, dtype=bool), "cell": np.ones((3, 3))}, "span no volume"),
    ],
)
def test_what_no_configuration_is(changes: dict[str, np.ndarray], message: str):
    fields = {"numbers": np.array([8, 1, 1]), "positions": WATER, "origin": "a.xyz, frame 7", **changes}
    with pytest.raises(DataError, match=message) as caught:
        Configuration(**fields)
    assert str(caught.value).startswith("a.xyz, frame 7: ")


def test_elements_in_order_of_atomic_number():
    first = Configuration.from_atoms(water())
    second = dataclasses.replace(first, numbers=np.array([6, 1, 1]))
    assert find_elements([first, second]) == ("H", "C", "O")


def test_a_dipole_is_a_label():
    keys = LabelKeys.only(dipole="mu")
    configuration = Configuration.from_atoms(water(mu=[0.1, 0.2, 0.3]), keys)
    assert list(configuration.labels) == ["dipole"]
    np.testing.assert_array_equal(configuration.to_atoms().get_dipole_moment(), [0.1, 0.2, 0.3])
    with pytest.raises(DataError, match=r"the dipole label 'mu' must be shape \(3,\) \(e Å\), got shape \(2,\)"):
        Configuration.from_atoms(water(mu=[0.1, 0.2]), keys)
    assert not Configuration.from_atoms(Atoms("H"), keys).labels["dipole"].any(), "zero by symmetry"


def test_atoms_that_move_on_leave_the_configuration_as_it_was():
    atoms = Atoms("H2", [[0, 0, 0], [0, 0, 0.8]])
    configuration = Configuration.from_atoms(atoms)
    atoms.positions += 1.0
    atoms.set_atomic_numbers([6, 6])
    assert configuration.positions[0].tolist() == [0, 0, 0] and configuration.symbols == ("H", "H")
