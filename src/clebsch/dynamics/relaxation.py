"""Relaxation of a structure, and of its cell."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from ase import Atoms, units
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS, FIRE, LBFGS
from pydantic import Field

from clebsch.config import StrictConfig, parse_config
from clebsch.deploy.ase import Calculator
from clebsch.dynamics.start import Structure, open_potential, read_structure, require_crystal, require_elements
from clebsch.models import Potential
from clebsch.progress import EVERY, FIRST, say

if TYPE_CHECKING:
    from rich.console import Console

OPTIMIZERS = {"bfgs": BFGS, "lbfgs": LBFGS, "fire": FIRE}


class RelaxConfig(StrictConfig):
    """Relaxation.

    Attributes:
        optimizer: "bfgs", which keeps a matrix of 9 N² numbers, "lbfgs" for large systems, or "fire", which is slower
            and hard to upset.
        fmax: eV/Å; it ends where no force is larger and, with the cell, no row of V σ / N (eV, N atoms).
        steps: steps at most.
        cell: whether the cell is relaxed too.
        pressure: GPa, on the cell.
    """

    optimizer: Literal["bfgs", "lbfgs", "fire"] = "bfgs"
    fmax: float = Field(default=0.01, gt=0, allow_inf_nan=False)
    steps: int = Field(default=500, ge=0)
    cell: bool = False
    pressure: float = Field(default=0.0, allow_inf_nan=False)


@dataclass(frozen=True)
class Relaxation:
    """The end of a relaxation.

    Attributes:
        atoms: with energy, forces and, of crystals, stress.
        converged: whether the forces fell below ``fmax``.
        steps: how many were taken.
        fmax: largest force that is left, eV/Å; of atoms that are not held.
        energies: eV, before and after.
    """

    atoms: Atoms
    converged: bool
    steps: int
    fmax: float
    energies: tuple[float, float]


def relax(
    potential: Potential | str | Path,
    structure: Structure,
    config: RelaxConfig | None = None,
    *,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
    console: Console | None = None,
    **choices: Any,
) -> Relaxation:
    """Return the structure at the minimum of energy, or of enthalpy with the cell, and whether it was reached.

    Args:
        potential: a potential, the path of a saved one or the name of one that comes with the library.
        structure: atoms, or a file of which the last frame is taken; what is given is not changed.
        config: choices, of which ``choices`` changes some, as in ``fmax=0.001, cell=True``.
        dtype: of the network; None keeps that of the potential. Forces in float32 have an error of about 1e-4 eV/Å.
        device: torch device of the network; None keeps that of the potential, and is the CPU for a saved one.
        console: where progress is told.

    Raises:
        ConfigError: a choice is unknown or out of range.
        DataError: the structure cannot be computed, or has no cell that could be relaxed.
        ExplodedError: atoms were driven where nothing can be computed.
    """
    given = {} if config is None else config.model_dump()
    config = parse_config(RelaxConfig, {**given, **choices}, "Relaxation")
    atoms = read_structure(structure)
    if config.cell:
        require_crystal(atoms, "Relaxation of the cell")
    model, _ = open_potential(potential, dtype=dtype, device=device)
    require_elements(model, atoms)
    atoms.calc = Calculator(model)
    before = float(atoms.get_potential_energy())
    moving = FrechetCellFilter(atoms, scalar_pressure=config.pressure * units.GPa) if config.cell else atoms
    optimizer = OPTIMIZERS[config.optimizer](moving, logfile=None)  # type: ignore[arg-type]
    _tell(console, optimizer, atoms, config)
    converged = bool(optimizer.run(fmax=config.fmax, steps=config.steps))
    return Relaxation(
        atoms, converged, optimizer.nsteps, _largest(atoms), (before, float(atoms.get_potential_energy()))
    )


def _tell(console: Console | None, optimizer: Any, atoms: Atoms, config: RelaxConfig) -> None:
    """Say every few seconds how far it is."""
    due = time.monotonic() + FIRST

    def line() -> None:
        nonlocal due
        if console is not None and time.monotonic() >= due:
            energy = atoms.get_potential_energy()
            say(
                console,
                f"step {optimizer.nsteps:,} of at most {config.steps:,}: {energy:.6f} eV, forces up to "
                f"{_largest(atoms):.3g} eV/Å (wanted {config.fmax:g})",
            )
            due = time.monotonic() + EVERY

    optimizer.attach(line)


def _largest(atoms: Atoms) -> float:
    return float(np.linalg.norm(atoms.get_forces(), axis=1).max())
