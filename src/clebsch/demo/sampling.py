"""Configurations of acetylacetone with energies and forces, made on the spot: Langevin dynamics on GFN2-xTB."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import numpy as np
from ase import Atoms, units
from ase.calculators.calculator import Calculator
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from ase.md.langevin import Langevin

from clebsch.benchmark.dynamics import thermalize
from clebsch.errors import ClebschError
from clebsch.files import write_file

# The enol form C5H8O2 with its O–H···O bridge, relaxed with GFN2-xTB; Å.
SYMBOLS = "CCCCCOOHHHHHHHH"
POSITIONS = (
    (-2.507, -0.845, 0.001),
    (-1.195, -0.129, -0.001),
    (0.004, -0.772, -0.001),
    (1.241, -0.035, 0.000),
    (2.505, -0.855, 0.001),
    (-1.289, 1.190, 0.000),
    (1.278, 1.197, 0.000),
    (-0.356, 1.554, 0.000),
    (0.042, -1.847, -0.002),
    (-2.367, -1.921, 0.007),
    (-3.081, -0.544, 0.876),
    (-3.078, -0.555, -0.879),
    (3.373, -0.201, 0.010),
    (2.524, -1.499, 0.877),
    (2.533, -1.486, -0.885),
)

# Masses do not enter the distribution of positions, and with heavy hydrogens a step of 2 fs is short enough.
HYDROGEN_MASS = 4.0
TIMESTEP = 2.0 * units.fs
FRICTION = 0.02 / units.fs
STEPS_BEFORE = 250
STEPS_BETWEEN = 20


@dataclass(frozen=True)
class Trajectory:
    """A trajectory to be run.

    Attributes:
        path: extended XYZ file to write.
        temperature: K.
        configurations: how many to keep, 40 fs apart.
        seed: of the velocities and the random forces.
        isolated_atoms: whether the file begins with the free atoms.
    """

    path: Path
    temperature: float
    configurations: int
    seed: int
    isolated_atoms: bool = False


def acetylacetone() -> Atoms:
    """Return the relaxed molecule with its natural masses."""
    return Atoms(SYMBOLS, POSITIONS)


def gfn2_xtb() -> Calculator:
    """Return the reference method; raises ClebschError where the package tblite is missing."""
    try:
        from tblite.ase import TBLite
    except ImportError as error:
        raise ClebschError(
            f"The demo computes its reference energies with GFN2-xTB, which needs the package tblite ({error}). "
            "Install it: pip install clebsch[demo]"
        ) from None
    return TBLite(method="GFN2-xTB", verbosity=0)


def sample_all(trajectories: Sequence[Trajectory]) -> None:
    """Run every trajectory in a process of its own, at the same time.

    One thread each: sums are then added up in one order, and a seed gives the same configurations every time.

    Raises:
        ClebschError: tblite is missing, or a trajectory failed.
    """
    gfn2_xtb()
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "clebsch.demo.sampling"]
    running = [
        subprocess.Popen([*command, *_as_arguments(item)], env=environment, stderr=subprocess.PIPE)
        for item in trajectories
    ]
    try:
        for item, process in zip(trajectories, running, strict=True):
            _, message = process.communicate()
            if process.returncode:
                raise ClebschError(f"Sampling '{item.path}' failed:\n{message.decode(errors='replace')}")
    finally:
        for process in running:
            process.kill()
            process.wait()


def sample(trajectory: Trajectory) -> list[Atoms]:
    """Run Langevin dynamics from the relaxed molecule and return what is kept of it, with energies and forces."""
    atoms, rng = acetylacetone(), np.random.default_rng(trajectory.seed)
    atoms.set_array("masses", np.where(atoms.numbers == 1, HYDROGEN_MASS, atoms.get_masses()))
    thermalize(atoms, trajectory.temperature, rng)
    atoms.calc = gfn2_xtb()
    dynamics = Langevin(atoms, TIMESTEP, temperature_K=trajectory.temperature, friction=FRICTION, fixcm=False, rng=rng)
    dynamics.run(STEPS_BEFORE)
    kept = []
    for _ in range(trajectory.configurations):
        dynamics.run(STEPS_BETWEEN)
        kept.append(_labelled(atoms))
    return kept


def isolated_atoms() -> list[Atoms]:
    """Return the free atoms with their energies."""
    atoms = []
    for symbol in sorted(set(SYMBOLS)):
        atom = Atoms(symbol, info={"config_type": "IsolatedAtom"})
        atom.calc = gfn2_xtb()
        atoms.append(_labelled(atom))
    return atoms


def _labelled(atoms: Atoms) -> Atoms:
    """The elements, positions and labels of ``atoms``, and nothing else; the centre of mass at the origin."""
    frame = Atoms(atoms.numbers, atoms.positions - atoms.get_center_of_mass(), info=dict(atoms.info))
    frame.calc = SinglePointCalculator(frame, energy=atoms.get_potential_energy(), forces=atoms.get_forces())
    return frame


def _as_arguments(trajectory: Trajectory) -> list[str]:
    numbers = (trajectory.temperature, trajectory.configurations, trajectory.seed, int(trajectory.isolated_atoms))
    return [str(trajectory.path), *map(str, numbers)]


def _from_arguments(arguments: Sequence[str]) -> Trajectory:
    path, temperature, configurations, seed, atoms = arguments
    return Trajectory(Path(path), float(temperature), int(configurations), int(seed), bool(int(atoms)))


if __name__ == "__main__":
    wanted = _from_arguments(sys.argv[1:])
    text = StringIO()
    write(text, (isolated_atoms() if wanted.isolated_atoms else []) + sample(wanted), format="extxyz")
    write_file(wanted.path, text.getvalue())
