"""What a potential was trained on: ranges of distances and of environments, which show if it extrapolates."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement

import numpy as np
import torch
from ase.data import atomic_numbers
from jaxtyping import Float, Int

from clebsch.data import Batch, Graph
from clebsch.errors import DataError

NUM_RADIAL = 6
SIZE = 4 * NUM_RADIAL  # of a descriptor
FIRST_CENTRE = 0.7  # Å
SMALLEST_VARIANCE = 1e-4  # relative to the largest: what hardly varies in training may vary a little
FLOOR = 1e-8
EXTRAPOLATION = 1.5  # grade; configurations drawn as the training set was stay below
CLOSER = 0.95  # of the shortest distance in training


@dataclass(frozen=True)
class Domain:
    r"""Environments and distances of a training set.

    The environment of an atom is a descriptor D of sums over neighbours of Gaussians of the distance, with and without
    a weight by element, and of squares of such sums of unit vectors. Its extrapolation grade is

    .. math:: \gamma_i = \frac{\sqrt{(D_i - \mu_z)^T C_z^{-1} (D_i - \mu_z)}}{\max_\mathrm{training} (\ldots)}

    with mean and covariance over the training atoms of element z: 1 for the farthest of them.

    Args:
        elements: chemical symbols.
        r_max: cutoff in Å.
        shortest: [elements, elements], shortest distance in Å; infinite for pairs that never come within r_max.
        mean: [elements, size].
        whitening: [elements, size, size], W with C^-1 = W W^T over the square of the largest distance.
    """

    elements: tuple[str, ...]
    r_max: float
    shortest: Float[np.ndarray, "elements elements"]
    mean: Float[np.ndarray, "elements size"]
    whitening: Float[np.ndarray, "elements size size"]

    @classmethod
    def of(cls, graphs: Iterable[Graph], elements: Sequence[str], r_max: float) -> Domain:
        """Return the domain of a training set."""
        count = len(elements)
        shortest = np.full((count, count), np.inf)
        found: list[list[np.ndarray]] = [[] for _ in elements]
        for graph in graphs:
            vectors, pairs = _edges(graph)
            species = graph.species.numpy()
            np.minimum.at(shortest, (species[pairs[0]], species[pairs[1]]), np.linalg.norm(vectors, axis=1))
            descriptors = _descriptors(vectors, pairs, species, elements, r_max)
            for index in np.unique(species):
                found[index].append(descriptors[species == index])
        mean, whitening = np.zeros((count, SIZE)), np.zeros((count, SIZE, SIZE))
        for index, parts in enumerate(found):
            if parts:
                mean[index], whitening[index] = _whitening(np.concatenate(parts))
        return cls(tuple(elements), r_max, np.minimum(shortest, shortest.T), mean, whitening)

    def grades(self, batch: Batch) -> Float[np.ndarray, " atoms"]:
        """Return the extrapolation grade of every atom; above 1.5 it is unlike what the potential was trained on."""
        vectors, pairs = _edges(batch)
        species = batch.species.cpu().numpy()
        off = _descriptors(vectors, pairs, species, self.elements, self.r_max) - self.mean[species]
        found = np.linalg.norm(np.einsum("ad,ade->ae", off, self.whitening[species]), axis=1)
        never_seen = ~self.whitening.any(axis=(1, 2))
        return np.where(np.asarray(never_seen)[species], np.inf, found)

    def leaves(self, batch: Batch) -> str | None:
        """Return in what way the atoms of ``batch`` are unlike the training set; None if they are not."""
        vectors, (centers, neighbors) = _edges(batch)
        species = batch.species.cpu().numpy()
        r = np.linalg.norm(vectors, axis=1)
        known = self.shortest[species[centers], species[neighbors]]
        found = []
        if len(r) and (r / known).min() < CLOSER:
            edge = int((r / known).argmin())
            pair = "-".join(self.elements[species[atom]] for atom in (centers[edge], neighbors[edge]))
            never = not np.isfinite(known[edge])
            training = "never neighbours" if never else f"at least {known[edge]:.2f} Å"
            found.append(
                f"{pair} (atoms {centers[edge]}, {neighbors[edge]}) {r[edge]:.2f} Å apart; training: {training}"
            )
        grades = self.grades(batch)
        if grades.max(initial=0.0) > EXTRAPOLATION:
            atom = int(grades.argmax())
            found.append(
                f"atom {atom} ({self.elements[species[atom]]}) has extrapolation grade {grades[atom]:.1f}; training: "
                f"up to 1, usual below {EXTRAPOLATION}"
            )
        return "; ".join(found) or None

    def shortest_distances(self) -> dict[str, float]:
        """Return the shortest distance (Å) of every pair of elements, such as "C-H", that has edges in training."""
        pairs = combinations_with_replacement(range(len(self.elements)), 2)
        return {
            f"{self.elements[i]}-{self.elements[j]}": float(self.shortest[i, j])
            for i, j in pairs
            if np.isfinite(self.shortest[i, j])
        }

    def as_tensors(self) -> dict[str, torch.Tensor]:
        """Return what is saved with a potential."""
        arrays = {"shortest": self.shortest, "mean": self.mean, "whitening": self.whitening}
        return {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, torch.Tensor], elements: Sequence[str], r_max: float) -> Domain | None:
        """Return the domain that was saved, None if there is none; raises DataError for other shapes."""
        if not tensors:
            return None
        count = len(elements)
        shapes = {"shortest": (count, count), "mean": (count, SIZE), "whitening": (count, SIZE, SIZE)}
        found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        if found != shapes:
            raise DataError(f"domain: expected tensors of shapes {shapes}, got {found}. Copy the file again.")
        return cls(tuple(elements), r_max, **{name: tensor.double().numpy() for name, tensor in tensors.items()})


def _edges(graph: Graph | Batch) -> tuple[np.ndarray, Int[np.ndarray, "2 edges"]]:
    """Vectors [edges, 3] in Å, and centres and neighbours."""
    centers, neighbors = graph.centers, graph.neighbors
    if isinstance(graph, Batch):
        shifts = torch.einsum("ei,eij->ej", graph.shifts, graph.cell[graph.graph_index[centers]])
    else:
        shifts = graph.shifts @ graph.cell
    vectors = graph.positions[neighbors] - graph.positions[centers] + shifts
    return vectors.detach().cpu().numpy(), torch.stack([centers, neighbors]).cpu().numpy()


def _descriptors(
    vectors: np.ndarray, pairs: np.ndarray, species: np.ndarray, elements: Sequence[str], r_max: float
) -> Float[np.ndarray, "atoms size"]:
    """Descriptors of all atoms; those without neighbours have zeros."""
    centers, neighbors = pairs
    r = np.maximum(np.linalg.norm(vectors, axis=1), 1e-12)
    centres = np.linspace(FIRST_CENTRE, r_max, NUM_RADIAL)
    radial = np.exp(-(((r[:, None] - centres) / (centres[1] - centres[0])) ** 2))
    radial *= ((1.0 - np.minimum(r / r_max, 1.0) ** 2) ** 2)[:, None]
    by_element = np.cos(2.4 * np.array([atomic_numbers[symbol] for symbol in elements]) + 1.0)
    weighted = radial * by_element[species[neighbors]][:, None]
    directed = np.concatenate([radial, weighted], axis=1)[:, :, None] * (vectors / r[:, None])[:, None, :]
    per_edge = np.concatenate([radial, weighted, directed.reshape(len(r), 6 * NUM_RADIAL)], axis=1)
    sums = np.zeros((len(species), per_edge.shape[1]))
    if len(r):
        starts = np.flatnonzero(np.r_[True, np.diff(centers) > 0])
        sums[centers[starts]] = np.add.reduceat(per_edge, starts, axis=0)
    scalars, directions = np.split(sums, [2 * NUM_RADIAL], axis=1)
    plain, marked = directions.reshape(len(species), 2, NUM_RADIAL, 3).transpose(1, 0, 2, 3)
    return np.concatenate([scalars, (plain**2).sum(-1), (plain * marked).sum(-1)], axis=1)


def _whitening(descriptors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean, and W such that |W^T (D - mean)| is 1 for the farthest of ``descriptors``."""
    mean = descriptors.mean(axis=0)
    off = descriptors - mean
    variances, axes = np.linalg.eigh(off.T @ off / len(off))
    whitening = axes / np.sqrt(variances + SMALLEST_VARIANCE * variances.max() + FLOOR)
    return mean, whitening / max(float(np.linalg.norm(off @ whitening, axis=1).max()), 1e-3)
