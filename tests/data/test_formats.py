"""Formats beside extended XYZ: LAMMPS dumps, NumPy archives, output of VASP; and units."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import ase.units
import numpy as np
import pytest
from frames import WATER, xyz_frame

from clebsch.data import LabelKeys, read_configurations
from clebsch.data.reading import read_source
from clebsch.errors import ConfigError, DataError
from data.frames import vasprun

Write = Callable[..., Path]
FORCES = LabelKeys.only(forces="forces")


def dump(*shifts: float, columns: str = "id type x y z fx fy fz", units: str = "") -> str:
    """Frames of two atoms of types 1 and 2, the second atom first and moved by a shift."""
    text = ""
    for step, shift in enumerate(shifts):
        rows = [f"2 2 {1.5 + shift} 0 0 4 5 6", "1 1 0 0 0 1 2 3"]
        rows = [" ".join((*row.split(), *columns.split()[8:])) for row in rows]
        text += f"{units}ITEM: TIMESTEP\n{step}\nITEM: NUMBER OF ATOMS\n2\nITEM: BOX BOUNDS pp pp ff\n0 7\n0 8\n0 9\n"
        text += "\n".join([f"ITEM: ATOMS {columns}", *rows]) + "\n"
    return text


def test_dump_with_types(write: Write):
    """Elements come from the map, in the order of the identifiers; there are no energies, whatever ASE sets."""
    path = write(dump(0.0, 0.1, 0.2), name="dump.lammpstrj")
    frames = read_configurations(path, types={1: "Cu", 2: "Au"})
    assert [frame.symbols for frame in frames] == [("Cu", "Au")] * 3
    assert all(set(frame.labels) == {"forces"} for frame in frames)
    np.testing.assert_array_equal(frames[2].positions, [[0, 0, 0], [1.7, 0, 0]])
    np.testing.assert_array_equal(frames[2].labels["forces"], [[1, 2, 3], [4, 5, 6]])
    assert frames[0].pbc.tolist() == [True, True, False]
    with pytest.raises(DataError, match="has the energy label 'energy'"):
        read_configurations(path, LabelKeys.only(energy="energy"), types={1: "Cu", 2: "Au"})


@pytest.mark.parametrize(
    ("text", "types", "message"),
    [
        (dump(0.0), None, r"frame 0: a LAMMPS dump has types of atoms.*data.types: \{1: Cu, 2: Au\}.*clebsch.read"),
        (dump(0.0), {1: "Cu"}, "frame 0: the dump has type 2, but types names 1 only"),
        (dump(0.0), {1: "Cu", 2: "Ax"}, "'Ax' is no element"),
        (dump(0.0, 0.1)[:-30], {1: "Cu", 2: "Au"}, "frame 1.*(truncated: 2 atoms are promised|columns)"),
        (dump(0.0).replace("\n2\nITEM: BOX", "\n999999999\nITEM: BOX"), {1: "Cu", 2: "Au"}, "truncated"),
        (dump(0.0) + "ITEM: TIMESTEP\n1\n", {1: "Cu", 2: "Au"}, "frame 1: the file is truncated"),
        (dump(0.0).replace("1.5 0 0", "1.5 0"), {1: "Cu", 2: "Au"}, "line 10: the row has 7 columns, expected 8"),
        (dump(0.0, columns="id type x y z fx fy fx"), {1: "Cu", 2: "Au"}, "a column stands twice"),
        (dump(0.0, units="ITEM: UNITS\nreal\n"), {1: "Cu", 2: "Au"}, "LAMMPS's units 'real'.*data.units"),
    ],
)
def test_dumps_that_are_refused(write: Write, text: str, types: dict[int, str] | None, message: str):
    with pytest.raises(DataError, match=message):
        read_configurations(write(text, name="dump.any"), types=types)


def test_dump_with_elements(write: Write):
    text = dump(0.0, columns="id type x y z fx fy fz element").replace("6 element", "6 Au").replace("3 element", "3 Cu")
    assert read_configurations(write(text, name="dump"))[0].symbols == ("Cu", "Au")


def test_types_are_of_dumps_only(write: Write):
    with pytest.raises(DataError, match="types are given, but this is no LAMMPS dump"):
        read_configurations(write(xyz_frame()), types={1: "Cu"})


def archive(path: Path, **changes: Any) -> Path:
    geometries = np.stack([WATER, WATER + 0.1 * np.eye(3)])
    arrays = {"z": np.array([8, 1, 1], np.uint8), "R": geometries, "E": np.array([[-23.0], [-46.0]]), "F": geometries}
    np.savez(path, **{name: array for name, array in {**arrays, **changes}.items() if array is not None})
    return path


@pytest.mark.parametrize("revised", [False, True])
def test_archive_of_md17(tmp_path: Path, revised: bool):
    path = archive(tmp_path / "md17.npz")
    if revised:
        names = {"z": "nuclear_charges", "R": "coords", "E": "energies", "F": "forces"}
        with np.load(path) as old:
            np.savez(path.with_name("rmd17.npz"), **{names[name]: old[name] for name in names})
        path = path.with_name("rmd17.npz")
    reading = read_source(path)
    assert any("kcal/mol" in fact for fact in reading.facts)
    first, second = reading.configurations
    assert first.symbols == ("O", "H", "H") and not first.pbc.any()
    assert second.labels["energy"] == pytest.approx(-46.0 * 0.0433641, rel=1e-6)
    np.testing.assert_allclose(first.labels["forces"], WATER * 0.0433641, rtol=1e-6)
    (first, _) = read_configurations(path, units={"energy": "eV"})
    assert first.labels["energy"] == -23.0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"z": None}, "has no array z or nuclear_charges"),
        ({"R": None}, "has no array R or coords"),
        ({"energies": np.zeros(2)}, "has both E and energies"),
        ({"F": np.zeros((2, 3))}, r"forces must have shape \(2, 3, 3\)"),
        ({"E": np.zeros(3)}, r"energy must have shape \(2,\) or \(2, 1\)"),
        ({"z": np.array(["O", "H", "H"])}, "array z must be numbers"),
        ({"z": np.array([{}, 1, 1], dtype=object)}, "cannot be read"),
    ],
)
def test_archives_that_are_refused(tmp_path: Path, changes: dict[str, Any], message: str):
    with pytest.raises(DataError, match=message):
        read_configurations(archive(tmp_path / "a.npz", **changes))


def test_the_energy_of_vasp_is_the_free_energy(write: Write):
    path = write(vasprun((-7.0, -6.75), (-8.0, -7.75)), name="vasprun.xml")
    reading = read_source(path)
    assert [float(frame.labels["energy"]) for frame in reading.configurations] == [-7.0, -8.0]
    assert not reading.doubts and len(reading.facts) == 1
    assert "free energy" in reading.facts[0] and "up to 0.25 eV" in reading.facts[0]
    zero = read_configurations(path, LabelKeys(energy="energy_zero_smearing"))
    assert [float(frame.labels["energy"]) for frame in zero] == [-6.75, -7.75]
    with pytest.raises(DataError, match="has its own units, which are converted"):
        read_configurations(path, units={"energy": "Ry"})


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("vasprun.xml", vasprun((-7.0, -6.75), (-8.0, -7.75))[:-300]),
        ("vasprun.xml", vasprun((-7.0, -6.75)).replace("</modeling>", "")),
        ("OUTCAR", " vasp.6.3.0\n POTCAR:    PAW_PBE Cu\n"),
    ],
)
def test_output_of_vasp_that_is_cut_off(write: Write, name: str, text: str):
    with pytest.raises(DataError, match=rf"{name}: is cut off: .* is missing at its end. Get the whole file again"):
        read_configurations(write(text, name=name))


def test_units_of_this_library_are_one():
    """The CODATA values of the others are those of ASE, 2014."""
    from clebsch.data.units import TABLES

    assert TABLES["dipole"]["e Å"] == TABLES["length"]["Å"] == TABLES["energy"]["eV"] == 1.0
    assert TABLES["dipole"]["Debye"] == pytest.approx(0.2081943, rel=1e-6)
    assert TABLES["energy"]["kcal/mol"] == pytest.approx(0.0433641, rel=1e-5)
    assert TABLES["stress"]["GPa"] == pytest.approx(1 / 160.21766, rel=1e-6)


def test_units_of_a_file(write: Write):
    """Every length, energy and label is converted, wherever it stands, and no other number."""
    extra = 'Lattice="20 0 0 0 20 0 0 0 20" pbc="T T T" stress="1 0 0 0 1 0 0 0 1" other=3.0'
    path = write(xyz_frame(energy=-1.0, extra=extra, energy_key="REF_energy"))
    keys = LabelKeys(energy="REF_energy", stress="stress")
    units = {"energy": "Ha", "length": "Bohr", "stress": "GPa"}
    (frame,) = read_configurations(path, keys, units=units)
    plain = read_configurations(path, keys)[0]
    np.testing.assert_allclose(frame.positions, plain.positions * ase.units.Bohr)
    np.testing.assert_allclose(frame.cell, 20 * ase.units.Bohr * np.eye(3))
    assert frame.labels["energy"] == pytest.approx(-ase.units.Hartree)
    np.testing.assert_allclose(frame.labels["forces"], plain.labels["forces"] * ase.units.Hartree / ase.units.Bohr)
    np.testing.assert_allclose(frame.labels["stress"], np.eye(3) / 160.21766, rtol=1e-6)
    (frame,) = read_configurations(path, keys, units={"forces": "meV/A"})
    np.testing.assert_allclose(frame.labels["forces"], plain.labels["forces"] / 1000)
    np.testing.assert_array_equal(frame.positions, plain.positions)


@pytest.mark.parametrize(
    ("units", "factor"),
    [
        ({"stress": "kbar"}, 1 / 1602.1766),
        ({"stress": "eV/Å³"}, 1.0),
        ({"energy": "kJ/mol"}, 0.0103643),
        ({"length": "nm"}, 1e-3),
    ],
)
def test_units_of_stress(write: Write, units: dict[str, str], factor: float):
    extra = 'Lattice="9 0 0 0 9 0 0 0 9" pbc="T T T" stress="1 0 0 0 1 0 0 0 1"'
    (frame,) = read_configurations(write(xyz_frame(extra=extra)), units=units)
    np.testing.assert_allclose(frame.labels["stress"], factor * np.eye(3), rtol=1e-5)


@pytest.mark.parametrize(
    ("units", "message"),
    [
        ({"energy": "MeV"}, "'energy': no such unit of energy; known: eV, meV, kcal/mol, kJ/mol, Hartree, Ry"),
        ({"energy": "kcal"}, "Did you mean 'kcal/mol'"),
        ({"length": "pm"}, "known: Å, bohr, nm"),
        ({"stress": "Pa"}, "known: GPa, kbar, bar, and an energy by a length"),
        ({"forces": "eV"}, "known: an energy by a length"),
        ({"enregy": "eV"}, "unknown key 'enregy'. Did you mean 'energy'"),
    ],
)
def test_unknown_units(write: Write, units: dict[str, str], message: str):
    with pytest.raises(ConfigError, match=message):
        read_configurations(write(xyz_frame()), units=units)
