"""Labels that are not what they seem: placeholders, and a second set beside the one that is read."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from frames import WATER, xyz_frame

from clebsch.data import LabelKeys, read_configurations
from clebsch.errors import DataError

Write = Callable[..., Path]


def moved(amount: float, energy: float = 0.0, **changes: str) -> str:
    positions = [*map(tuple, WATER[:2].tolist()), (*WATER[2, :2].tolist(), amount)]
    return xyz_frame(energy=energy, positions=positions, **changes)


def test_energies_that_are_one_number(write: Write):
    with pytest.raises(
        DataError, match=r"all 3 frames have the energy 0 \('energy'\).*placeholder.*set the energy key"
    ):
        read_configurations(write(*map(moved, (0.0, 0.1, 0.2))))
    assert len(read_configurations(write(*map(moved, (0.0, 0.1, 0.2))), LabelKeys(energy=None))) == 3
    assert len(read_configurations(write(*map(moved, (0.0, 0.1))))) == 2  # two may be a coincidence
    assert len(read_configurations(write(moved(0.0), moved(0.1), moved(0.2, 1e-6)))) == 3


def test_copies_of_one_configuration_have_one_energy(write: Write):
    turned = WATER @ np.array([[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]) + 0.5
    frames = [xyz_frame(), xyz_frame(positions=turned.tolist()), xyz_frame(positions=(WATER - 3.0).tolist())]
    assert len(read_configurations(write(*frames))) == 3


def test_a_second_set_of_labels(write: Write):
    path = write(xyz_frame(extra="REF_energy=-11.0"))
    with pytest.warns(
        UserWarning, match=r"frames.xyz: reads 'energy', but 'REF_energy' \(differs by up to 0.5 eV\)"
    ) as seen:
        read_configurations(path)
    assert "To read the other: keys: {energy: REF_energy}" in str(seen[0].message)
    forces = write(xyz_frame().replace("forces:R:3", "forces:R:3:dft_forces:R:3").replace(" 3\n", " 3 1 2 4\n")
                   .replace(" 6\n", " 6 4 5 6\n").replace(" 9\n", " 9 7 8 9\n"))  # fmt: skip
    with pytest.warns(UserWarning, match=r"reads 'forces', but 'dft_forces' \(differs by up to 1 eV/Å\)"):
        read_configurations(forces)
    with pytest.warns(UserWarning, match=r"'free_energy' \(differs by up to 0.25 eV\)"):
        read_configurations(write(xyz_frame(extra="free_energy=-10.75")))


def test_a_second_set_differs_by_more_than_digits(write: Write):
    with pytest.warns(UserWarning, match=r"'REF_energy' \(differs by up to 2e-05 eV\)"):
        read_configurations(write(xyz_frame(extra="REF_energy=-10.50002")))


@pytest.mark.parametrize(
    "extra",
    [
        "REF_energy=-10.5",
        "REF_energy=-10.500005",
        "free_energy=-10.500001",
        "energy_weight=2",
        "kinetic_energy=1.0",
        "energy_per_atom=-3.5",
    ],
)
def test_labels_that_are_no_second_set(write: Write, extra: str):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_configurations(write(xyz_frame(extra=extra)))


def test_a_choice_is_not_questioned(write: Write):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_configurations(write(xyz_frame(extra="REF_energy=-11.0")), LabelKeys(energy="REF_energy"))


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ("charge=-1", r"'charge' \(-1\) is not read.*one charge and spin"),
        ("multiplicity=3", r"'multiplicity' \(3\) is not read"),
        ("force_weight=2", r"'force_weight' is no weight that is read. Did you mean 'forces_weight'\?"),
    ],
)
def test_what_a_potential_does_not_see_is_said(write: Write, extra: str, message: str):
    with pytest.warns(UserWarning, match=message):
        read_configurations(write(xyz_frame(extra=extra)))


@pytest.mark.parametrize("extra", ["charge=0", "multiplicity=1", "config_forces_weight=2", "charge=neutral"])
def test_neutral_closed_shells_are_nothing_to_say(write: Write, extra: str):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_configurations(write(xyz_frame(extra=extra)))
