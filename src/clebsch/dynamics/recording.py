"""The files of a trajectory: frames, a log, and the state from which a killed run goes on bit for bit."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import torch
from ase import Atoms, units
from ase.calculators.singlepoint import SinglePointCalculator

from clebsch.files import explained
from clebsch.models.tensor_file import FileFormat, read_tensor_file, write_tensor_file
from clebsch.models.tensor_file import explained as explained_content

TRAJECTORY_NAME, LOG_NAME, STATE_NAME = "trajectory.xyz", "log.csv", "state.safetensors"
STATE = FileFormat("state of molecular dynamics", 1)


@dataclass(frozen=True)
class State:
    """What a trajectory goes on from.

    Attributes:
        step: steps that were done.
        arrays: positions (Å), momenta and cell, and what the integrator carries.
        rng: state of the random generator.
        sizes: bytes of the trajectory and of the log up to this step.
        identity: of the run, to which it belongs.
        threads: of the arithmetic, on whose number rounding depends.
    """

    step: int
    arrays: dict[str, np.ndarray]
    rng: dict[str, Any]
    sizes: dict[str, int]
    identity: dict[str, Any]
    threads: int

    def write(self, directory: Path) -> None:
        """Write it in place of the former one, whole or not at all."""
        tensors = {name: torch.from_numpy(np.array(array)) for name, array in self.arrays.items()}
        header = {name: getattr(self, name) for name in ("step", "rng", "sizes", "identity", "threads")}
        write_tensor_file(directory / STATE_NAME, tensors, header, STATE)

    @classmethod
    def read(cls, directory: Path) -> State | None:
        """Return the state that was saved last, None if there is none; raises DamagedFileError for a damaged one."""
        path = directory / STATE_NAME
        if not path.exists():
            return None
        tensors, header = read_tensor_file(path, STATE)
        with explained_content(path, STATE):
            arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
            known = {name: header[name] for name in ("step", "rng", "sizes", "identity", "threads")}
            return cls(arrays=arrays, **known)


class Recorder:
    """Frames and lines of a log, appended to files that are cut first to what a state knows of them.

    Args:
        directory: where the files are.
        provenance: what every frame says of its potential.
        sizes: bytes of the files that are kept; none for a new trajectory.
    """

    def __init__(self, directory: Path, provenance: Mapping[str, str], sizes: Mapping[str, int] | None = None) -> None:
        self.provenance = dict(provenance)
        self._files = {}
        for name in (TRAJECTORY_NAME, LOG_NAME):
            with explained(directory / name):
                self._files[name] = open(directory / name, "ab")  # noqa: SIM115
                self._files[name].truncate(sizes[name] if sizes else 0)
                self._files[name].seek(0, os.SEEK_END)

    def record(self, atoms: Atoms, step: int, picoseconds: float) -> None:
        """Append a frame and a line for ``atoms``, whose energy and forces are known."""
        row = observables(atoms)
        if not self._files[LOG_NAME].tell():
            self._append(LOG_NAME, ",".join(["step", "time_ps", *row]) + "\n")
        self._append(TRAJECTORY_NAME, as_text(snapshot(atoms, step, picoseconds, self.provenance)))
        self._append(LOG_NAME, ",".join([str(step), repr(picoseconds), *map(repr, row.values())]) + "\n")

    def sync(self) -> dict[str, int]:
        """Bring the files to disk and return their sizes."""
        for file in self._files.values():
            os.fsync(file.fileno())
        return {name: file.tell() for name, file in self._files.items()}

    def close(self) -> None:
        """Close the files."""
        for file in self._files.values():
            file.close()

    def _append(self, name: str, text: str) -> None:
        file = self._files[name]
        with explained(Path(file.name)):
            file.write(text.encode())
            file.flush()


def observables(atoms: Atoms) -> dict[str, float]:
    """Return energies (eV), temperature (K) and, for crystals, pressure (GPa, kinetic part included) and volume."""
    potential, kinetic = float(atoms.get_potential_energy()), float(atoms.get_kinetic_energy())
    found = {
        "potential_energy_eV": potential,
        "kinetic_energy_eV": kinetic,
        "total_energy_eV": potential + kinetic,
        "temperature_K": temperature(atoms),
    }
    if atoms.pbc.all() and atoms.cell.rank == 3:
        stress = atoms.get_stress(include_ideal_gas=True)
        found |= {"pressure_GPa": float(-stress[:3].mean() / units.GPa), "volume_A3": float(atoms.get_volume())}
    return found


def temperature(atoms: Atoms) -> float:
    """Return the temperature of the motion in K; zero where nothing can move."""
    freedom = atoms.get_number_of_degrees_of_freedom()
    return float(2 * atoms.get_kinetic_energy() / (freedom * units.kB)) if freedom else 0.0


def snapshot(atoms: Atoms, step: int, picoseconds: float, provenance: Mapping[str, str]) -> Atoms:
    """Return a copy with the results of the potential and with what it is a frame of."""
    frame = atoms.copy()
    frame.set_constraint([item for item in atoms.constraints if type(item).__name__ == "FixAtoms"])
    frame.info = {"step": step, "time_ps": picoseconds, **provenance}
    results = getattr(atoms.calc, "results", {})
    known = {name: results[name] for name in ("energy", "forces", "stress") if name in results}
    if known:
        frame.calc = SinglePointCalculator(frame, **known)
    return frame


def as_text(frame: Atoms) -> str:
    """Return a frame in extended XYZ."""
    text = StringIO()
    ase.io.write(text, frame, format="extxyz")
    return text.getvalue()


def read_log(path: str | Path) -> dict[str, np.ndarray]:
    """Return the columns of a log by name."""
    table = np.genfromtxt(path, delimiter=",", names=True, deletechars="", encoding="utf-8", ndmin=1)
    return {name: table[name] for name in table.dtype.names or ()}
