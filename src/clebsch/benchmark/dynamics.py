"""Molecular dynamics with a trained potential: does it conserve energy, does the molecule stay whole?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import Atoms, units
from ase.data import covalent_radii
from ase.md.langevin import Langevin
from ase.md.md import MolecularDynamics
from ase.md.verlet import VelocityVerlet
from jaxtyping import Float

from clebsch.deploy.ase import Calculator
from clebsch.errors import ClebschError, DataError
from clebsch.models import Potential

TIMESTEP = 0.5  # fs
TEMPERATURE = 300.0  # K, of the first velocities
FRICTION = 0.01 / units.fs
HOTTEST = 10.0  # times the wanted temperature
# Of the sum of two covalent radii: nearer than the first atoms have collapsed, beyond the second they are not bound.
COLLAPSED, BOUND = 0.5, 1.8
MILLI = 1000.0


@dataclass(frozen=True)
class EnergyTrace:
    """Total energy along a trajectory at constant energy.

    Attributes:
        times: ps.
        energies: potential and kinetic energy together, meV/atom, above the first.
        drift: slope of the line through them by least squares, meV/atom/ps.
        spread: standard deviation from that line, meV/atom.
    """

    times: Float[np.ndarray, "steps"]
    energies: Float[np.ndarray, "steps"]
    drift: float
    spread: float


class DynamicsError(ClebschError):
    """Dynamics broke; the message says how."""


def run_nve(potential: Potential, start: Atoms, *, steps: int, seed: int) -> EnergyTrace:
    """Integrate Newton's equations by velocity Verlet, 0.5 fs a step, from ``start`` with velocities at 300 K.

    Raises:
        DynamicsError: the structure broke, see ``what_broke``.
    """
    atoms = Atoms(start.numbers, start.positions, cell=start.cell, pbc=start.pbc)
    thermalize(atoms, TEMPERATURE, np.random.default_rng(seed))
    atoms.calc = Calculator(potential, warn=False)
    dynamics = VelocityVerlet(atoms, TIMESTEP * units.fs)
    energies = []
    dynamics.attach(lambda: energies.append(atoms.get_total_energy()))
    for step in range(steps):
        if reason := advance(dynamics, atoms, HOTTEST * TEMPERATURE):
            raise DynamicsError(f"after {(step + 1) * TIMESTEP / MILLI:g} ps at constant energy: {reason}")
    per_atom = MILLI * (np.array(energies) - energies[0]) / len(atoms)
    times = np.arange(len(per_atom)) * TIMESTEP / MILLI
    slope, intercept = np.polyfit(times, per_atom, 1)
    return EnergyTrace(times, per_atom, float(slope), float(np.std(per_atom - slope * times - intercept)))


def thermalize(atoms: Atoms, temperature: float, rng: np.random.Generator) -> None:
    """Draw momenta from Maxwell and Boltzmann's distribution at ``temperature`` (K)."""
    width = np.sqrt(atoms.get_masses() * units.kB * temperature)
    atoms.set_momenta(rng.standard_normal((len(atoms), 3)) * width[:, None])


@dataclass(frozen=True)
class Stability:
    """Langevin dynamics until something breaks.

    Attributes:
        temperature: K, of the thermostat.
        picoseconds: how long it stayed whole.
        wanted: how long it was to run, ps.
        reason: what broke; empty where nothing did.
        mean_temperature: K, over the second half.
    """

    temperature: float
    picoseconds: float
    wanted: float
    reason: str
    mean_temperature: float


def run_langevin(potential: Potential, start: Atoms, *, temperature: float, picoseconds: float, seed: int) -> Stability:
    """Run Langevin dynamics at ``temperature`` (K), 0.5 fs a step, until the time is over or the structure breaks.

    It breaks where two atoms come nearer than half the sum of their covalent radii, where a molecule falls apart (an
    atom farther than 1.8 such sums from all that was bound), or where the temperature exceeds ten times the wanted one.
    """
    atoms = Atoms(start.numbers, start.positions, cell=start.cell, pbc=start.pbc)
    rng = np.random.default_rng(seed)
    thermalize(atoms, temperature, rng)
    atoms.calc = Calculator(potential, warn=False)
    dynamics = Langevin(atoms, TIMESTEP * units.fs, temperature_K=temperature, friction=FRICTION, fixcm=False, rng=rng)
    steps, temperatures, reason = round(picoseconds * MILLI / TIMESTEP), [temperature], ""
    while len(temperatures) <= steps and not reason:
        reason = advance(dynamics, atoms, HOTTEST * temperature)
        temperatures.append(temperature if reason else atoms.get_temperature())
    later = temperatures[1 + len(temperatures) // 2 :] or temperatures
    done = (len(temperatures) - 1) * TIMESTEP / MILLI
    return Stability(temperature, done, picoseconds, reason, float(np.mean(later)))


def advance(dynamics: MolecularDynamics, atoms: Atoms, hottest: float) -> str:
    """Take one step and return what broke, or nothing."""
    try:
        dynamics.run(1)
    except DataError as error:  # what the potential refuses: overlapping atoms, positions out of all bounds
        return str(error)
    return what_broke(atoms, hottest)


def what_broke(atoms: Atoms, hottest: float) -> str:
    """Return what is wrong: atoms collapsed, a molecule fallen apart, or hotter than ``hottest``; empty for nothing."""
    if not atoms.get_temperature() < hottest:
        return f"temperature of {atoms.get_temperature():.0f} K"
    radii = covalent_radii[atoms.numbers]
    ratio = atoms.get_all_distances(mic=bool(atoms.pbc.any())) / (radii[:, None] + radii)
    np.fill_diagonal(ratio, np.inf)
    if ratio.min() < COLLAPSED:
        i, j = np.unravel_index(ratio.argmin(), ratio.shape)
        return f"atoms {i} and {j} collapsed"
    if not atoms.pbc.any() and not _connected(ratio < BOUND):
        return "the molecule fell apart"
    return ""


def _connected(bound: np.ndarray) -> bool:
    reached = np.zeros(len(bound), dtype=bool)
    reached[0] = True
    while True:
        further = reached | bound[reached].any(axis=0)
        if further.all() or (further == reached).all():
            return bool(further.all())
        reached = further
