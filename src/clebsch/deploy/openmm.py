"""OpenMM: a part of a system by a potential, within a classical force field (mechanical embedding)."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import ase.units
import numpy as np
from ase import Atoms

from clebsch.deploy.ase import Calculator
from clebsch.deploy.packages import require
from clebsch.errors import ConfigError
from clebsch.models import Potential

openmm = require("openmm", "openmm")

KJ_PER_MOL = ase.units.kJ / ase.units.mol  # eV
NM = ase.units.nm  # Å

# How many particles a term of a bonded force has, and which of its parameters is its strength.
_BONDED = {
    "HarmonicBondForce": (2, "Bond", -1),
    "HarmonicAngleForce": (3, "Angle", -1),
    "PeriodicTorsionForce": (4, "Torsion", -1),
}
_LEFT_ALONE = ("CMMotionRemover", "MonteCarloBarostat", "MonteCarloAnisotropicBarostat", "AndersenThermostat")


class _Computation:
    """What OpenMM calls with positions."""

    def __init__(self, calculator: Calculator, symbols: Sequence[str], periodic: bool) -> None:
        self.atoms = Atoms(symbols, pbc=periodic)
        self.atoms.calc = calculator
        self.periodic = periodic

    def __call__(self, state: Any) -> tuple[float, np.ndarray]:
        """Energy in kJ/mol and forces in kJ/mol/nm of a State."""
        self.atoms.positions = NM * state.getPositions(asNumpy=True).value_in_unit(openmm.unit.nanometer)
        if self.periodic:
            box = state.getPeriodicBoxVectors(asNumpy=True)
            self.atoms.set_cell(NM * box.value_in_unit(openmm.unit.nanometer))
        return self.atoms.get_potential_energy() / KJ_PER_MOL, self.atoms.get_forces() * NM / KJ_PER_MOL


def openmm_force(
    potential: Potential | str | Path,
    symbols: Sequence[str],
    *,
    particles: Sequence[int] | None = None,
    periodic: bool = False,
    **options: Any,
) -> Any:
    """Return an ``openmm.PythonForce`` of a potential.

    Args:
        potential: a potential, the path of a saved one, or a compiled library.
        symbols: elements of the particles it acts on.
        particles: their indices; None for all particles of the system.
        periodic: whether they have periodic images.
        options: of `Calculator`.

    Raises:
        ConfigError: the package openmm is missing, or numbers of elements and particles differ.
    """
    if particles is not None and len(particles) != len(symbols):
        raise ConfigError(f"particles: expected one index per element, got {len(particles)} and {len(symbols)}")
    force = openmm.PythonForce(_Computation(Calculator(potential, **options), symbols, periodic))
    force.setUsesPeriodicBoundaryConditions(periodic)
    if particles is not None:
        force.setParticles(list(particles))
    return force


def mechanical_embedding(
    system: Any, potential: Potential | str | Path, symbols: Sequence[str], particles: Sequence[int], **options: Any
) -> Any:
    """Return a copy of a classical ``openmm.System`` in which a potential describes some particles.

    .. math:: E = E_\\mathrm{classical} - E_\\mathrm{classical, within} + E_\\mathrm{potential}

    Bonded terms of these particles alone are switched off, and so are non-bonded ones between two of them; all others
    stay as they are. No constraint may hold between them.

    Args:
        system: with bonds, angles and torsions of harmonic and periodic form and a NonbondedForce.
        potential: of the particles.
        symbols: their elements.
        particles: their indices.
        options: of `openmm_force` and `Calculator`.

    Raises:
        ConfigError: the system has a force whose part within cannot be switched off, or a constraint.
    """
    within, embedded = set(particles), copy.deepcopy(system)
    for index in range(embedded.getNumConstraints()):
        one, other, _ = embedded.getConstraintParameters(index)
        if {one, other} <= within:
            raise ConfigError(f"constraint: the particles {one} and {other} are those of the potential; remove it")
    for force in embedded.getForces():
        name = force.getName() if type(force).__name__ == "Force" else type(force).__name__
        if name in _BONDED:
            _switch_off_bonded(force, within, *_BONDED[name])
        elif name == "NonbondedForce":
            for one, other in combinations(sorted(within), 2):
                force.addException(one, other, 0.0, 1.0, 0.0, True)
        elif name not in _LEFT_ALONE:
            raise ConfigError(
                f"{name}: its part within the particles of the potential cannot be switched off; expected "
                f"{', '.join((*_BONDED, 'NonbondedForce', *_LEFT_ALONE))}. Switch it off yourself and use openmm_force."
            )
    embedded.addForce(openmm_force(potential, symbols, particles=particles, **options))
    return embedded


def _switch_off_bonded(force: Any, within: set[int], count: int, kind: str, strength: int) -> None:
    """Set the strength of terms of particles within to zero."""
    read, write = getattr(force, f"get{kind}Parameters"), getattr(force, f"set{kind}Parameters")
    for index in range(getattr(force, f"getNum{kind}s")()):
        parameters = list(read(index))
        if set(parameters[:count]) <= within:
            parameters[strength] = 0.0 * parameters[strength]
            write(index, *parameters)
