"""ASE's integrators, set up for an ensemble, and the numbers that they carry from step to step."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import numpy as np
from ase import Atoms, units
from ase.constraints import FixCom
from ase.md.bussi import Bussi
from ase.md.langevinbaoab import LangevinBAOAB
from ase.md.md import MolecularDynamics
from ase.md.verlet import VelocityVerlet

from clebsch.dynamics.config import MDConfig
from clebsch.dynamics.start import require_crystal
from clebsch.errors import ConfigError, DataError

# What a step takes from the one before, beside positions, momenta, cell and random numbers.
CARRIED = {
    "nve": (),
    "langevin": (),
    "bussi": ("transferred_energy",),
    "npt": ("p_eps", "force_eps"),
    "npt-cell": ("p_eps", "force_eps"),
}


def check_ensemble(atoms: Atoms, config: MDConfig) -> None:
    """Raise DataError or ConfigError where the ensemble makes no sense for ``atoms``."""
    if config.constant_pressure:
        require_crystal(atoms, f"ensemble {config.ensemble}")
        if atoms.constraints:
            raise DataError(
                f"ensemble {config.ensemble}: a barostat moves all atoms, but some are held. Hold none, or take "
                "langevin."
            )
    if config.ensemble == "bussi" and len(atoms) < 2:
        raise ConfigError("ensemble bussi: expected at least two atoms, got one. Take langevin.")
    if config.velocities == "keep" and not atoms.get_momenta().any():
        raise ConfigError(
            "velocities keep: expected a structure with momenta, got none. Take 'draw', or a frame of a trajectory."
        )


def hold_centre_of_mass(atoms: Atoms, config: MDConfig) -> None:
    """Take the motion of the whole out of dynamics that conserves it, and out of the degrees of freedom."""
    if config.ensemble in ("nve", "bussi") and not atoms.constraints and len(atoms) > 1:
        atoms.set_constraint(FixCom())
        atoms.set_momenta(atoms.get_momenta())


def build_integrator(atoms: Atoms, config: MDConfig, rng: np.random.Generator) -> MolecularDynamics:
    """Return the integrator of ``config`` for ``atoms``, which have a calculator and momenta."""
    step, kelvin = config.timestep * units.fs, config.temperature
    if config.ensemble == "nve":
        return VelocityVerlet(atoms, step)
    if config.ensemble == "bussi":
        return Bussi(atoms, step, kelvin, taut=config.thermostat_time * units.fs, rng=rng)
    if config.ensemble == "langevin":
        return LangevinBAOAB(atoms, step, temperature_K=kelvin, T_tau=config.thermostat_time * units.fs, rng=rng)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Using heuristic P_mass", UserWarning)
        return LangevinBAOAB(
            atoms,
            step,
            temperature_K=kelvin,
            externalstress=-config.pressure * units.GPa,
            hydrostatic=config.ensemble == "npt",
            T_tau=config.thermostat_time * units.fs,
            P_tau=config.barostat_time * units.fs,
            rng=rng,
        )


def carried(integrator: MolecularDynamics, config: MDConfig) -> dict[str, np.ndarray]:
    """Return what the next step takes from this one, by name."""
    return {name: np.array(getattr(integrator, name), dtype=np.float64) for name in CARRIED[config.ensemble]}


def carry_on(integrator: MolecularDynamics, config: MDConfig, values: Mapping[str, np.ndarray]) -> None:
    """Put back what `carried` has returned."""
    for name in CARRIED[config.ensemble]:
        setattr(integrator, name, values[name].copy() if values[name].ndim else float(values[name]))
