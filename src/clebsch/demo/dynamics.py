"""Molecular dynamics with a trained potential: does it conserve energy?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import Atoms, units
from ase.md.verlet import VelocityVerlet
from jaxtyping import Float

from clebsch.demo.sampling import thermalize
from clebsch.deploy.ase import Calculator
from clebsch.models import Potential

TIMESTEP = 0.5  # fs
TEMPERATURE = 300.0  # K, of the first velocities
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


def run_nve(potential: Potential, start: Atoms, *, steps: int, seed: int) -> EnergyTrace:
    """Integrate Newton's equations by velocity Verlet, 0.5 fs a step, from ``start`` with velocities at 300 K."""
    atoms = Atoms(start.numbers, start.positions)
    thermalize(atoms, TEMPERATURE, np.random.default_rng(seed))
    atoms.calc = Calculator(potential)
    dynamics = VelocityVerlet(atoms, TIMESTEP * units.fs)
    energies = []
    dynamics.attach(lambda: energies.append(atoms.get_total_energy()))
    dynamics.run(steps)
    per_atom = MILLI * (np.array(energies) - energies[0]) / len(atoms)
    times = np.arange(len(per_atom)) * TIMESTEP / MILLI
    slope, intercept = np.polyfit(times, per_atom, 1)
    return EnergyTrace(times, per_atom, float(slope), float(np.std(per_atom - slope * times - intercept)))
