"""Phonons: by exact second derivatives, by known limits, and crystals that are not stable."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk, molecule

import clebsch
from clebsch import Potential, hessian
from clebsch.cli import main
from clebsch.dynamics import PhononConfig, Phonons
from clebsch.errors import BackendError, ConfigError, DataError

pytest.importorskip("phonopy", reason="phonopy is not installed")

TERAHERTZ = 1e12 / units.s  # in ASE's unit of frequency


@pytest.fixture(scope="module")
def copper(alloy_potential: Potential) -> Atoms:
    """The primitive cell, relaxed."""
    return clebsch.relax(alloy_potential, bulk("Cu"), cell=True, fmax=1e-4).atoms


@pytest.fixture(scope="module")
def found(alloy_potential: Potential, copper: Atoms) -> Phonons:
    return clebsch.phonons(alloy_potential, copper, supercell=(4, 4, 4))


def test_bands_of_copper(found: Phonons):
    """Three acoustic bands, zero at Γ; one displacement is enough by symmetry."""
    assert found.supercell == (4, 4, 4) and found.displacements == 1
    assert found.frequencies.shape == (200, 3) == (len(found.path), 3)
    gamma = np.abs(found.qpoints).sum(axis=1) == 0
    assert gamma.any() and np.abs(found.frequencies[gamma]).max() < 1e-3
    assert found.stable and 5 < found.frequencies.max() < 10  # measured: 7.4 THz
    names = [name for name, _ in found.labels]
    assert names[:3] == ["Γ", "X", "W"] and "K|U" in names


def test_frequencies_are_those_of_exact_second_derivatives(alloy_potential: Potential, copper: Atoms, found: Phonons):
    """Of the modes that fit the supercell, which the Hessian of the supercell has all."""
    supercell = copper.repeat((4, 4, 4))
    eigenvalues = np.linalg.eigvalsh(hessian(alloy_potential, supercell)) / copper.get_masses()[0]
    expected = np.sort(np.sign(eigenvalues) * np.sqrt(np.abs(eigenvalues)) / (2 * np.pi) / TERAHERTZ)
    points = np.array(list(np.ndindex(4, 4, 4))) / 4
    frequencies = np.sort(found.phonopy.run_qpoints(points).frequencies.ravel())
    np.testing.assert_allclose(frequencies[3:], expected[3:], atol=5e-3)
    assert np.abs(frequencies[:3]).max() < 1e-3 and expected[3] > 1


def test_thermal_properties(found: Phonons):
    """Zero at rest; at high temperature the heat capacity is 3 kB per atom, and S = -dF/dT throughout."""
    thermal = found.thermal
    assert thermal["entropy_eV_K"][0] == 0 and thermal["free_energy_eV"][0] > 0.02  # zero-point motion
    assert thermal["heat_capacity_eV_K"][-1] == pytest.approx(3 * units.kB, rel=0.01)
    slope = -np.gradient(thermal["free_energy_eV"], thermal["temperature_K"])
    np.testing.assert_allclose(slope[6:-1], thermal["entropy_eV_K"][6:-1], rtol=0.02, atol=2e-7)


def test_a_crystal_that_is_not_stable(alloy_potential: Potential, copper: Atoms):
    stretched = copper.copy()
    stretched.set_cell(copper.cell.array * 1.12, scale_atoms=True)
    found = clebsch.phonons(alloy_potential, stretched, supercell=(2, 2, 2))
    assert not found.stable and found.lowest < -0.5


def test_files_and_command(copper: Atoms, alloy_potential: Potential, tmp_path: Path, capsys):
    clebsch.save(alloy_potential, tmp_path / "copper.safetensors")
    copper.write(tmp_path / "copper.xyz")
    command = ["phonons", tmp_path / "copper.safetensors", tmp_path / "copper.xyz", "--output", tmp_path / "out"]
    with pytest.raises(SystemExit) as stopped:
        main([*map(str, command), "--supercell", "2", "2", "2", "--symprec", "1e-4"])
    printed = capsys.readouterr().out
    assert not stopped.value.code and "supercell 2 × 2 × 2, 1 displaced" in printed and "all real" in printed
    bands = np.genfromtxt(tmp_path / "out" / "bands.csv", delimiter=",", names=True)
    assert bands.dtype.names == ("path_1_A", "q1", "q2", "q3", "band_1_THz", "band_2_THz", "band_3_THz")
    assert len(bands) == 200 and np.isfinite(bands["band_3_THz"]).all()
    assert np.genfromtxt(tmp_path / "out" / "thermal.csv", delimiter=",", names=True)["temperature_K"][-1] == 1000
    assert (tmp_path / "out" / "bands.png").read_bytes().startswith(b"\x89PNG")
    import phonopy

    again = phonopy.load(tmp_path / "out" / "phonopy_params.yaml", log_level=0)
    assert again.run_qpoints([[0, 0, 0.5]]).frequencies.min() > 1


def test_length_of_the_supercell(alloy_potential: Potential):
    """Between opposite faces, of a cell that is no box; forces that are left are said."""
    flat = bulk("Cu", cubic=True)
    flat.set_cell(flat.cell.array * [[1], [1], [1.02]], scale_atoms=True)
    flat.positions[0, 0] += 0.05
    with pytest.warns(UserWarning, match=r"forces of up to .* eV/Å\. Relax it first"):
        found = clebsch.phonons(alloy_potential, flat, PhononConfig(length=4.0, points=2))
    assert found.supercell == (2, 2, 2)


def test_what_is_refused(alloy_potential: Potential, copper: Atoms, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(DataError, match="A calculation of phonons needs a cell with a volume"):
        clebsch.phonons("ethanol", molecule("CH3CH2OH"))
    with pytest.raises(ConfigError, match="supercell"):
        clebsch.phonons(alloy_potential, copper, supercell=(0, 1, 1))
    with pytest.raises(DataError, match="atom 0 is Au"):
        clebsch.phonons(alloy_potential, bulk("Au"))
    monkeypatch.setitem(sys.modules, "phonopy", None)
    with pytest.raises(BackendError, match=r"need phonopy: pip install 'clebsch\[phonons\]'"):
        clebsch.phonons(alloy_potential, copper)
