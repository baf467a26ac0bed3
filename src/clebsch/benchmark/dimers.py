"""Energies of two atoms against their distance: a repulsive wall, and no minimum but the bond."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations_with_replacement

import numpy as np
from jaxtyping import Float

from clebsch.benchmark.scans import MILLI, PROMINENCE, find_minima
from clebsch.models import Potential
from clebsch.training.dimers import dimer

SHORTEST, POINTS = 0.5, 181  # Å, and the number of distances up to the cutoff


@dataclass(frozen=True)
class DimerCurve:
    """Energy (eV) of a pair of atoms above the two alone, by distance (Å)."""

    pair: str
    distances: Float[np.ndarray, " points"]
    energies: Float[np.ndarray, " points"]


def dimer_curves(potential: Potential, shortest: float = SHORTEST) -> list[DimerCurve]:
    """Return the curve of every pair of elements, from ``shortest`` to the cutoff."""
    distances = np.linspace(shortest, potential.r_max, POINTS)
    curves = []
    for a, b in combinations_with_replacement(potential.elements, 2):
        batch = potential.batch(dimer((a, b), r) for r in distances.tolist())
        energies = potential(batch).energy.cpu().numpy()
        curves.append(DimerCurve(a + b, distances, energies - energies[-1]))
    return curves


def judge_dimer(curve: DimerCurve) -> dict[str, float | int | bool]:
    """Return the minima beyond one, and whether the wall rises all the way from the bond to the shortest distance.

    The bond is the outermost minimum at least 1 meV deep; without one, the wall is the whole curve.
    """
    energies = MILLI * curve.energies
    minima = find_minima(energies)
    wall = np.diff(energies[: minima[-1] + 1 if minima else len(energies)])
    return {
        "spurious_minima": max(0, len(minima) - 1),
        "repulsive": bool((wall < PROMINENCE).all()),
        "well_meV": float(energies.min()),
        "wall_meV": float(energies[0]),
    }
