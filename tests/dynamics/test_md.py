"""Molecular dynamics: the physics of every ensemble, exact restarts, and what is said when it goes wrong."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.constraints import FixAtoms, FixBondLength
from ase.data import atomic_numbers

import clebsch
from clebsch import Potential
from clebsch.dynamics import MDConfig
from clebsch.dynamics.pictures import radial_distribution
from clebsch.dynamics.recording import Recorder, State
from clebsch.errors import ConfigError, DataError, ExplodedError, ExtrapolationWarning, FolderInUseError
from clebsch.models.serialization import save_potential
from clebsch.run.lock import hold


@pytest.fixture(scope="module")
def ethanol_potential() -> Potential:
    return clebsch.load("ethanol")


@pytest.fixture(scope="module")
def ethanol(ethanol_potential: Potential) -> Atoms:
    return clebsch.relax(ethanol_potential, molecule("CH3CH2OH"), fmax=0.02).atoms


@pytest.fixture
def copper() -> Atoms:
    return bulk("Cu", cubic=True).repeat((2, 2, 1))


def contents(folder: Path) -> list[Any]:
    """The files of a trajectory; the metadata of the state are in no order."""
    state = vars(State.read(folder))
    arrays = {name: array.tobytes() for name, array in state.pop("arrays").items()}
    return [(folder / "trajectory.xyz").read_bytes(), (folder / "log.csv").read_bytes(), arrays, state]


def test_constant_energy(ethanol_potential: Potential, ethanol: Atoms, tmp_path: Path):
    found = clebsch.md(ethanol_potential, ethanol, tmp_path, ensemble="nve", steps=400, timestep=0.25, temperature=100)
    energy = found.log["total_energy_eV"]
    assert np.ptp(energy) < 3e-3 < np.ptp(found.log["potential_energy_eV"])
    np.testing.assert_allclose(found.log["time_ps"], found.log["step"] * 0.25e-3)
    momentum = found.atoms.get_momenta().sum(axis=0)
    assert np.abs(momentum).max() < 1e-9
    # Half of the kinetic energy goes into the bonds, which were relaxed.
    assert found.log["temperature_K"][20:].mean() == pytest.approx(50, abs=25)
    assert (tmp_path / "md.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("ensemble", ["langevin", "bussi"])
def test_constant_temperature(alloy_potential: Potential, copper: Atoms, tmp_path: Path, ensemble: str):
    """The mean of T is that of the thermostat; its variance is canonical, 2 T² / (degrees of freedom)."""
    found = clebsch.md(
        alloy_potential,
        copper,
        tmp_path,
        ensemble=ensemble,
        temperature=300,
        timestep=4,
        steps=1000,
        thermostat_time=40,
        every=5,
    )
    kelvin = found.log["temperature_K"][40:]
    freedom = 3 * len(copper) - (3 if ensemble == "bussi" else 0)
    assert kelvin.mean() == pytest.approx(300, rel=0.06)
    assert kelvin.var() == pytest.approx(2 * 300**2 / freedom, rel=0.4)
    moved = (found.atoms.get_momenta().sum(axis=0) ** 2).sum()
    assert (moved < 1e-18) == (ensemble == "bussi")


@pytest.mark.parametrize("ensemble", ["npt", "npt-cell"])
def test_constant_pressure(alloy_potential: Potential, copper: Atoms, tmp_path: Path, ensemble: str):
    """The pressure is that of the barostat, and the volume that of the relaxed cell but for thermal expansion."""
    pressure = 5.0
    start = clebsch.relax(alloy_potential, copper, cell=True, pressure=pressure).atoms
    found = clebsch.md(
        alloy_potential,
        start,
        tmp_path,
        ensemble=ensemble,
        temperature=200,
        pressure=pressure,
        timestep=4,
        steps=600,
        thermostat_time=50,
        barostat_time=200,
        every=5,
    )
    assert found.log["pressure_GPa"][50:].mean() == pytest.approx(pressure, abs=0.5)
    volume = found.log["volume_A3"][50:]
    assert volume.mean() == pytest.approx(start.get_volume(), rel=0.03)
    assert 0.002 < volume.std() / volume.mean() < 0.03
    before, after = (atoms.cell.array / atoms.get_volume() ** (1 / 3) for atoms in (start, found.atoms))
    assert np.allclose(before, after, atol=1e-9) == (ensemble == "npt")


def test_held_atoms_stay(ethanol_potential: Potential, ethanol: Atoms, tmp_path: Path):
    for ensemble in ("nve", "langevin", "bussi"):
        atoms = ethanol.copy()
        atoms.set_constraint(FixAtoms([0, 1]))
        found = clebsch.md(ethanol_potential, atoms, tmp_path / ensemble, ensemble=ensemble, steps=10).atoms
        moved = np.linalg.norm(found.positions - atoms.positions, axis=1)
        assert not moved[:2].any() and moved[2:].all()
        frames = ase.io.read(tmp_path / ensemble / "trajectory.xyz", ":")
        assert all(frame.constraints[0].index.tolist() == [0, 1] for frame in frames)


def test_what_is_written(ethanol_potential: Potential, ethanol: Atoms, tmp_path: Path):
    """Frames are data again: energy and forces are those of the potential, and nothing of the start is carried on."""
    start = ethanol.copy()
    start.info["energy"] = -1.0
    start.arrays["REF_forces"] = np.ones((9, 3))
    found = clebsch.md(ethanol_potential, start, tmp_path, steps=20, every=5)
    frames = ase.io.read(tmp_path / "trajectory.xyz", ":")
    assert [frame.info["step"] for frame in frames] == [0, 5, 10, 15, 20] == found.log["step"].tolist()
    assert {frame.info["potential_sha256"] for frame in frames} == {ethanol_potential.fingerprint()}
    assert not any(frame.has("REF_forces") for frame in frames)
    (frame, other) = frames[2], frames[2].copy()
    other.calc = clebsch.Calculator(ethanol_potential)
    np.testing.assert_allclose(frame.get_forces(), other.get_forces(), atol=1e-4)
    assert frame.get_potential_energy() == pytest.approx(found.log["potential_energy_eV"][2], abs=1e-6)
    assert frame.get_kinetic_energy() == pytest.approx(found.log["kinetic_energy_eV"][2], rel=1e-4)
    assert len(clebsch.read(tmp_path / "trajectory.xyz")) == 5


@pytest.mark.parametrize("ensemble", ["nve", "langevin", "bussi", "npt", "npt-cell"])
def test_going_on_is_exact(alloy_potential: Potential, copper: Atoms, tmp_path: Path, ensemble: str):
    copper.rattle(0.05, seed=3)
    choices = {"ensemble": ensemble, "every": 3, "barostat_time": 100.0, "thermostat_time": 20.0, "temperature": 900}
    clebsch.md(alloy_potential, copper, tmp_path / "whole", steps=30, **choices)
    for steps in (1, 13, 30):
        found = clebsch.md(alloy_potential, copper, tmp_path / "parts", steps=steps, **choices)
    assert found.began == 13
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")
    again = clebsch.md(alloy_potential, copper, tmp_path / "parts", steps=30, **choices)
    assert again.began == 30 and contents(tmp_path / "parts") == contents(tmp_path / "whole")


SCRIPT = """
import sys, clebsch
clebsch.md("ethanol", sys.argv[1], sys.argv[2], steps=150, every=2, save_seconds=0.02, seed=5)
"""


def test_a_killed_run_goes_on_as_if_nothing_had_happened(ethanol: Atoms, tmp_path: Path):
    """Killed at a moment of no one's choosing: the files are those of a run left alone, byte for byte."""
    ase.io.write(tmp_path / "start.xyz", ethanol)
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "start.xyz"), str(tmp_path / "killed")]
    process, path = subprocess.Popen(command), tmp_path / "killed" / "trajectory.xyz"
    while process.poll() is None and (not path.exists() or path.stat().st_size < 40_000):
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    done = State.read(tmp_path / "killed").step
    assert 0 < done < 150
    for output in ("killed", "whole"):
        found = clebsch.md("ethanol", tmp_path / "start.xyz", tmp_path / output, steps=150, every=2, seed=5)
        assert found.began == (done if output == "killed" else 0)
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")


def test_a_signal_stops_after_the_step(alloy_potential: Potential, copper: Atoms, tmp_path: Path, monkeypatch):
    """As a queue sends it at the end of a job's time: the state is saved, and the status says which signal it was."""
    whole = tmp_path / "whole"
    clebsch.md(alloy_potential, copper, whole, steps=12, every=4)
    record = Recorder.record

    def interrupted(self: Recorder, atoms: Atoms, step: int, picoseconds: float) -> None:
        record(self, atoms, step, picoseconds)
        if step == 4:
            signal.raise_signal(signal.SIGTERM)

    with monkeypatch.context() as patched, pytest.raises(SystemExit) as stopped:
        patched.setattr(Recorder, "record", interrupted)
        clebsch.md(alloy_potential, copper, tmp_path / "stopped", steps=12, every=4)
    assert stopped.value.code == 128 + signal.SIGTERM
    assert State.read(tmp_path / "stopped").step == 4
    assert clebsch.md(alloy_potential, copper, tmp_path / "stopped", steps=12, every=4).began == 4
    assert contents(tmp_path / "stopped") == contents(whole)


def test_a_trajectory_that_explodes(ethanol_potential: Potential, ethanol: Atoms, tmp_path: Path):
    """The offending frame is kept, and the frames up to it."""
    with warnings.catch_warnings(), pytest.raises(ExplodedError) as stopped:
        warnings.simplefilter("ignore", ExtrapolationWarning)
        clebsch.md(ethanol_potential, ethanol, tmp_path, timestep=8.0, temperature=600, every=1)
    assert re.search(r"near step \d+ .*: the temperature is \d+ K.*exploded\.xyz.*time step", str(stopped.value))
    last, offending = ase.io.read(tmp_path / "exploded.xyz", ":")
    assert last.get_temperature() < 6000 < offending.get_temperature()
    assert len(ase.io.read(tmp_path / "trajectory.xyz", ":")) == offending.info["step"]


def test_energy_that_is_not_conserved(ethanol_potential: Potential, ethanol: Atoms, tmp_path: Path):
    with warnings.catch_warnings(), pytest.raises(ExplodedError, match="total energy, which should"):
        warnings.simplefilter("ignore", ExtrapolationWarning)
        clebsch.md(
            ethanol_potential, ethanol, tmp_path, ensemble="nve", timestep=3.0, temperature=300, hottest=1e5, steps=3000
        )


def test_another_run_in_the_folder(alloy_potential: Potential, copper: Atoms, tmp_path: Path):
    clebsch.md(alloy_potential, copper, tmp_path, steps=4)
    with pytest.raises(ConfigError, match=r"differs in temperature \(there 300\.0, now 400\.0\)\. Give another output"):
        clebsch.md(alloy_potential, copper, tmp_path, steps=8, temperature=400)
    copper.positions[0, 0] += 1e-9
    with pytest.raises(ConfigError, match="differs in structure_sha256"):
        clebsch.md(alloy_potential, copper, tmp_path, steps=8)
    copper = bulk("Cu", cubic=True).repeat((2, 2, 1))
    with pytest.raises(ConfigError, match="at step 4 already"):
        clebsch.md(alloy_potential, copper, tmp_path, steps=3)
    with hold(tmp_path), pytest.raises(FolderInUseError, match="works in"):
        clebsch.md(alloy_potential, copper, tmp_path, steps=8)


def test_files_of_somebody_else(alloy_potential: Potential, copper: Atoms, tmp_path: Path):
    (tmp_path / "log.csv").write_text("mine")
    with pytest.raises(ConfigError, match=r"log\.csv' is there, but no state"):
        clebsch.md(alloy_potential, copper, tmp_path, steps=4)
    assert [path.name for path in tmp_path.iterdir()] == ["log.csv"]
    assert (tmp_path / "log.csv").read_text() == "mine"


def test_velocities_of_the_structure(ethanol_potential: Potential, ethanol: Atoms, tmp_path: Path):
    first = clebsch.md(ethanol_potential, ethanol, tmp_path / "a", ensemble="nve", steps=10).atoms
    kept = clebsch.md(ethanol_potential, first, tmp_path / "b", ensemble="nve", velocities="keep", steps=10)
    assert kept.log["kinetic_energy_eV"][0] == pytest.approx(first.get_kinetic_energy())
    drawn = clebsch.md(ethanol_potential, first, tmp_path / "c", ensemble="nve", steps=10)
    assert drawn.log["kinetic_energy_eV"][0] != pytest.approx(first.get_kinetic_energy())
    bare = ethanol.copy()
    with pytest.raises(ConfigError, match="velocities keep: expected a structure with momenta, got none"):
        clebsch.md(ethanol_potential, bare, tmp_path / "d", velocities="keep")


def test_what_is_refused_before_anything_is_written(
    ethanol_potential: Potential, ethanol: Atoms, alloy_potential: Potential, copper: Atoms, tmp_path: Path
):
    def refused(structure: Atoms | Path, kind: type[Exception], match: str, **choices: object) -> None:
        model = alloy_potential if isinstance(structure, Atoms) and "Cu" in structure.symbols else ethanol_potential
        with pytest.raises(kind, match=match):
            clebsch.md(model, structure, tmp_path / "out", **choices)
        assert not (tmp_path / "out").exists()

    refused(ethanol, ConfigError, r"temperature.*greater than 0.*-5", temperature=-5)
    refused(ethanol, ConfigError, r"unknown key 'temperatur'.*mean 'temperature'", temperatur=5)
    refused(ethanol, ConfigError, "ensemble", ensemble="nvt")
    refused(ethanol, ConfigError, "timestep", timestep=0.0)
    refused(ethanol, DataError, "ensemble npt needs a cell with a volume", ensemble="npt")
    copper.set_constraint(FixAtoms([0]))
    refused(copper, DataError, "ensemble npt: a barostat moves all atoms", ensemble="npt")
    refused(Atoms("C"), ConfigError, "ensemble bussi: expected at least two atoms", ensemble="bussi")
    refused(Atoms("Au"), DataError, "atom 0 is Au")
    refused(tmp_path / "no.xyz", DataError, "no such file")
    bound = ethanol.copy()
    bound.set_constraint(FixBondLength(0, 1))
    refused(bound, DataError, "the constraint FixBondLengths is not supported")
    broken = ethanol.copy()
    broken.positions[3, 1] = np.nan
    refused(broken, DataError, "positions must be finite")
    broken = ethanol.copy()
    broken.set_momenta(np.full((9, 3), np.inf))
    refused(broken, DataError, "momenta must be finite")
    with pytest.raises(ConfigError, match=r"is a file\. Give a folder"):
        (tmp_path / "file").touch()
        clebsch.md(ethanol_potential, ethanol, tmp_path / "file")


def test_a_potential_by_path(alloy_potential: Potential, copper: Atoms, tmp_path: Path):
    save_potential(alloy_potential, tmp_path / "copper.safetensors")
    ase.io.write(tmp_path / "start.cif", copper)
    path = tmp_path / "copper.safetensors"
    found = clebsch.md(path, tmp_path / "start.cif", tmp_path / "run", MDConfig(steps=4), every=2)
    assert found.log["step"].tolist() == [0, 2, 4]
    assert found.atoms.info["potential"] == str(path)


def test_distances_of_a_crystal():
    """Shells of fcc copper: 12 neighbours, then 6."""
    atoms = bulk("Cu", cubic=True)
    radii, g, crystal = radial_distribution([atoms] * 2)
    assert crystal
    density, width = len(atoms) / atoms.get_volume(), radii[1] - radii[0]
    shell = g * density * 4 * np.pi * radii**2 * width
    assert [shell[abs(radii - r) < 0.1].sum() for r in (3.61 / 2**0.5, 3.61)] == pytest.approx([12, 6])
    radii, pairs, crystal = radial_distribution([molecule("H2O")])
    assert not crystal and atomic_numbers["O"] == 8
    assert pairs.sum() * (radii[1] - radii[0]) == pytest.approx(2.0)
