"""Potentials at work: molecular dynamics, relaxation, phonons, from a structure to files that say what was done."""

from __future__ import annotations

from clebsch.dynamics.config import MDConfig
from clebsch.dynamics.phonons import PhononConfig, Phonons, phonons
from clebsch.dynamics.relaxation import Relaxation, RelaxConfig, relax
from clebsch.dynamics.trajectory import Trajectory, md

__all__ = [
    "MDConfig",
    "PhononConfig",
    "Phonons",
    "RelaxConfig",
    "Relaxation",
    "Trajectory",
    "md",
    "phonons",
    "relax",
]
