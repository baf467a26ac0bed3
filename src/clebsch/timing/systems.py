"""Atoms to measure on, made without data files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms
from ase.build import bulk

from clebsch.data import Configuration
from clebsch.errors import ConfigError, did_you_mean

# Relaxed with GFN2-xTB; Å.
ACETYLACETONE = "C C C O C O C H H H H H H H H"
ACETYLACETONE_POSITIONS = (
    (-0.324, 1.265, 0.207),
    (0.309, 0.012, -0.102),
    (-0.359, -1.166, 0.051),
    (-1.596, -1.223, 0.507),
    (0.249, -2.489, -0.292),
    (-1.480, 1.330, 0.637),
    (0.490, 2.515, -0.002),
    (1.319, 0.010, -0.470),
    (1.115, -2.682, 0.338),
    (0.578, -2.495, -1.329),
    (-0.486, -3.274, -0.142),
    (-1.886, -0.280, 0.691),
    (-0.169, 3.352, -0.220),
    (1.217, 2.389, -0.798),
    (1.022, 2.736, 0.923),
)
BENZYLOXYPYRIDINAMINE = "C C C H C O N N H H C H H C C H H C C C H C H C H H H"
BENZYLOXYPYRIDINAMINE_POSITIONS = (
    (1.336, -0.765, 0.586), (1.463, 0.573, 0.286), (1.776, -1.225, 1.828),
    (0.896, -1.458, -0.114), (2.035, 1.424, 1.268), (1.076, 1.189, -0.879),
    (2.234, 2.747, 0.989), (2.431, 0.977, 2.447), (1.695, 3.137, 0.236),
    (2.439, 3.336, 1.778), (2.308, -0.318, 2.716), (2.650, -0.617, 3.697),
    (1.688, -2.270, 2.081), (0.425, 0.402, -1.852), (-0.913, -0.137, -1.405),
    (1.077, -0.419, -2.181), (0.283, 1.083, -2.700), (-1.397, -1.333, -1.917),
    (-1.675, 0.564, -0.480), (-2.626, -1.819, -1.510), (-0.806, -1.886, -2.635),
    (-3.379, -1.119, -0.583), (-2.994, -2.753, -1.910), (-2.901, 0.074, -0.067),
    (-4.336, -1.503, -0.262), (-3.481, 0.625, 0.657), (-1.301, 1.493, -0.075),
)  # fmt: skip


def acetylacetone(num_atoms: int | None = None) -> Atoms:
    """One molecule, 15 atoms."""
    return Atoms(ACETYLACETONE.split(), positions=ACETYLACETONE_POSITIONS)


def benzyloxypyridinamine(num_atoms: int | None = None) -> Atoms:
    """One molecule of 3-(benzyloxy)pyridin-2-amine, 27 atoms."""
    return Atoms(BENZYLOXYPYRIDINAMINE.split(), positions=BENZYLOXYPYRIDINAMINE_POSITIONS)


def water(num_atoms: int | None = None) -> Atoms:
    """Molecules of random orientation on a cubic lattice at 0.997 g/cm^3, the nearest cube to ``num_atoms`` (648)."""
    per_side = max(1, round(((num_atoms or 648) / 3) ** (1 / 3)))
    spacing = 3.107  # Å, the cube root of the volume of a molecule
    generator = np.random.default_rng(0)
    molecule = np.array([[0.0, 0.0, 0.0], [0.757, 0.586, 0.0], [-0.757, 0.586, 0.0]])
    positions = []
    for site in np.ndindex(per_side, per_side, per_side):
        rotation, _ = np.linalg.qr(generator.normal(size=(3, 3)))
        positions.append(molecule @ rotation + spacing * np.array(site))
    cell = per_side * spacing * np.eye(3)
    return Atoms("OHH" * per_side**3, positions=np.concatenate(positions), cell=cell, pbc=True)


def silicon(num_atoms: int | None = None) -> Atoms:
    """Diamond, displaced by 0.05 Å, the nearest number of cubic cells to ``num_atoms`` (1,000)."""
    cells = max(1, round((num_atoms or 1000) / 8))
    sides = _factors(cells)
    atoms = bulk("Si", cubic=True).repeat(sides)
    atoms.rattle(0.05, seed=0)
    return atoms


SIZED = ("water", "silicon")
SYSTEMS: dict[str, Callable[[int | None], Atoms]] = {
    "acac": acetylacetone,
    "3bpa": benzyloxypyridinamine,
    "water": water,
    "silicon": silicon,
}


def build_system(name: str, num_atoms: int | None, count: int) -> list[Configuration]:
    """Return ``count`` configurations of a system, displaced by 0.02 Å each, with labels of zero for timing.

    Args:
        name: acac, 3bpa, water, silicon, or a file that ASE reads.
        num_atoms: wanted size of water and silicon; None for the usual one.
        count: number of configurations.

    Raises:
        ConfigError: there is no such system or file, or its size cannot be chosen.
    """
    if num_atoms is not None and name not in SIZED:
        raise ConfigError(f"--atoms: the size of '{name}' is given; only {' and '.join(SIZED)} have one to choose.")
    if name in SYSTEMS:
        atoms = SYSTEMS[name](num_atoms)
        frames = [atoms.copy() for _ in range(count)]
    elif Path(name).is_file():
        frames = _read(name, count)
    else:
        raise ConfigError(
            f"--system: '{name}' is neither a system nor a file.{did_you_mean(name, SYSTEMS)} "
            f"Choose one of {', '.join(SYSTEMS)}, or give the path of a file with atoms."
        )
    for number, frame in enumerate(frames):
        frame.rattle(0.02, seed=number)
    return [_labelled(frame) for frame in frames]


def _read(path: str, count: int) -> list[Atoms]:
    try:
        read = ase.io.read(path, index=":")
    except Exception as error:  # ASE raises whatever its readers meet
        raise ConfigError(f"--system: ASE cannot read '{path}' ({error}). Give a file with atoms.") from None
    found = read if isinstance(read, list) else [read]
    if not found:
        raise ConfigError(f"--system: '{path}' holds no atoms. Give a file with atoms.")
    return [found[number % len(found)].copy() for number in range(count)]


def _labelled(atoms: Atoms) -> Configuration:
    configuration = Configuration.from_atoms(atoms, origin="benchmark")
    return replace(configuration, labels={"energy": np.zeros(()), "forces": np.zeros((len(atoms), 3))})


def _factors(count: int) -> tuple[int, int, int]:
    """Three nearly equal sides of a box of about ``count`` cells."""
    first = max(1, round(count ** (1 / 3)))
    second = max(1, round((count / first) ** 0.5))
    return first, second, max(1, round(count / (first * second)))
