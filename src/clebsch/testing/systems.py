"""Small random systems for tests: clusters, triclinic crystals, dimers, a batch of mixed sizes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from ase.data import atomic_numbers
from jaxtyping import Float, Int

from clebsch.data import Batch, Configuration, Graph, build_graphs, collate, neighbor_list
from clebsch.ops import Edges

MIN_DISTANCE = 0.9  # Å, between any two nuclei
CLUSTER_VOLUME = 9.0  # Å^3 per atom, about that of a molecule
CRYSTAL_VOLUME = 14.0  # Å^3 per atom


def cluster(elements: Sequence[str], rng: np.random.Generator, num_atoms: int = 6) -> Configuration:
    """Return ``num_atoms`` atoms at random in a ball, no two closer than 0.9 Å; elements occur as evenly as they can.

    Args:
        elements: chemical symbols to choose from.
        rng: explicit source of randomness.
        num_atoms: number of atoms.
    """
    radius = (0.75 / np.pi * CLUSTER_VOLUME * num_atoms) ** (1 / 3)
    positions = np.zeros((0, 3))
    while len(positions) < num_atoms:
        trial = rng.uniform(-radius, radius, 3)
        if np.linalg.norm(trial) < radius and (np.linalg.norm(positions - trial, axis=1) > MIN_DISTANCE).all():
            positions = np.vstack([positions, trial])
    return Configuration(_numbers(elements, num_atoms, rng), positions, origin=f"cluster of {num_atoms} atoms")


def crystal(elements: Sequence[str], rng: np.random.Generator, num_atoms: int = 3) -> Configuration:
    """Return a triclinic periodic cell so small that atoms see several images of each other and of themselves.

    Args:
        elements: chemical symbols to choose from.
        rng: explicit source of randomness.
        num_atoms: number of atoms.
    """
    while True:
        cell = (CRYSTAL_VOLUME * num_atoms) ** (1 / 3) * (np.eye(3) + rng.uniform(-0.25, 0.25, (3, 3)))
        positions = rng.uniform(size=(num_atoms, 3)) @ cell
        if not len(neighbor_list(positions, cell, np.ones(3, dtype=bool), MIN_DISTANCE)[0]):
            break
    numbers = _numbers(elements, num_atoms, rng)
    return Configuration(numbers, positions, cell, np.ones(3, dtype=bool), origin=f"crystal of {num_atoms} atoms")


def dimer(elements: Sequence[str], distance: float, rng: np.random.Generator) -> Configuration:
    """Return two atoms, ``distance`` (Å) apart in a random direction: the first two of ``elements``, or one twice."""
    numbers = np.resize([atomic_numbers[symbol] for symbol in elements], 2)
    positions = np.stack([np.zeros(3), distance * direction(rng)])
    return Configuration(numbers, positions, origin=f"dimer at {distance:.3f} Å")


def isolated_atom(element: str, position: Sequence[float] = (0.0, 0.0, 0.0)) -> Configuration:
    """Return one atom of ``element`` at ``position`` (Å)."""
    return Configuration(np.array([atomic_numbers[element]]), np.array([position]), origin=f"one {element} atom")


def mixed_sizes(elements: Sequence[str], r_max: float, rng: np.random.Generator) -> list[Configuration]:
    """Return configurations of 1 to 7 atoms, periodic and not, one of them without an edge.

    Args:
        elements: chemical symbols to choose from.
        r_max: cutoff radius in Å.
        rng: explicit source of randomness.
    """
    return [
        cluster(elements, rng, 3),
        isolated_atom(elements[-1]),
        crystal(elements, rng, 2),
        dimer(elements, 1.2 * r_max, rng),
        cluster(elements, rng, 7),
        dimer(elements, 0.5 * r_max, rng),
    ]


def direction(rng: np.random.Generator) -> Float[np.ndarray, " 3"]:
    """Draw a unit vector uniformly."""
    vector = rng.normal(size=3)
    return vector / np.linalg.norm(vector)


def deformed(configuration: Configuration, matrix: Float[np.ndarray, "3 3"]) -> Configuration:
    """Return ``configuration`` with positions and cell mapped by r -> ``matrix`` r: a rotation, a mirror, a strain."""
    return replace(configuration, positions=configuration.positions @ matrix.T, cell=configuration.cell @ matrix.T)


def displaced(configuration: Configuration, displacement: Float[np.ndarray, "*atoms 3"]) -> Configuration:
    """Return ``configuration`` with ``displacement`` (Å), one vector or one per atom, added to the positions."""
    return replace(configuration, positions=configuration.positions + displacement)


def reordered(configuration: Configuration, order: Int[np.ndarray, " kept"]) -> Configuration:
    """Return the atoms ``order`` of ``configuration``, in that order; atoms not named are left out."""
    return replace(configuration, numbers=configuration.numbers[order], positions=configuration.positions[order])


def repeated(configuration: Configuration, axis: int) -> Configuration:
    """Return the periodic ``configuration`` doubled along cell vector ``axis``: all atoms, then all their images."""
    cell = configuration.cell.copy()
    cell[axis] *= 2
    positions = np.concatenate([configuration.positions, configuration.positions + configuration.cell[axis]])
    return replace(configuration, numbers=np.tile(configuration.numbers, 2), positions=positions, cell=cell)


def batch_of(configurations: Sequence[Configuration], elements: Sequence[str], r_max: float) -> Batch:
    """Return the batch of the graphs of ``configurations`` with the edges shorter than ``r_max`` (Å)."""
    return collate(build_graphs(configurations, elements, r_max))


def empty_graph(num_elements: int) -> Graph:
    """Return a graph without atoms, which padding and domain decomposition produce."""
    index, vectors = torch.zeros(0, dtype=torch.int64), torch.zeros(0, 3, dtype=torch.float64)
    return Graph(
        positions=vectors,
        cell=torch.zeros(3, 3, dtype=torch.float64),
        edges=Edges.of(index, index, index, num_elements),
        shifts=vectors,
        pbc=torch.zeros(3, dtype=torch.bool),
        origin="graph without atoms",
    )


def _numbers(elements: Sequence[str], num_atoms: int, rng: np.random.Generator) -> np.ndarray:
    return rng.permutation(np.resize([atomic_numbers[symbol] for symbol in elements], num_atoms))
