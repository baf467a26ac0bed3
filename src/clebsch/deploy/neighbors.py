"""Neighbour lists of moving atoms: searched with a skin, and used until an atom may have crossed it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from ase import Atoms
from torch import Tensor

from clebsch.data import Batch, Configuration, neighbor_list
from clebsch.data.configuration import SMALLEST_DISTANCE
from clebsch.data.graph import species_of
from clebsch.errors import DataError
from clebsch.ops import Edges, ElementGroups


class SkinList:
    """The edges of atoms that move: every pair within ``r_max``, found among the pairs within ``r_max + skin``.

    These are searched again when an atom has moved farther than half the skin since, and when anything else has
    changed: elements, cell, periodic directions, number of atoms. The edges are those of a new search, in its order.

    Args:
        elements: chemical symbols that the potential knows, in its order.
        r_max: cutoff in Å.
        skin: Å.
    """

    def __init__(self, elements: Sequence[str], r_max: float, skin: float) -> None:
        self.elements, self.r_max, self.skin = tuple(elements), r_max, skin
        self.num_searches = 0
        self._searched: Configuration | None = None

    @torch.inference_mode(False)  # what is kept for the next call is for inside and outside
    def batch(self, atoms: Atoms) -> Batch:
        """Return ``atoms`` as a batch of one.

        Raises:
            DataError: an element is not known, positions or cell are not finite, or two atoms are closer than 0.1 Å.
        """
        positions, _, squares = self._vectors(atoms)
        edges, shifts = self._within(squares < self.r_max**2)
        return Batch(torch.from_numpy(positions), self._cell, edges, shifts, self._graph_index, self._num_atoms)

    def pairs(self, atoms: Atoms) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Return the elements of ``atoms``, and their pairs as `CompiledPotential.compute` takes them.

        Pairs within the skin are among them. Raises DataError as `batch` does.
        """
        _, vectors, _ = self._vectors(atoms)
        return self._species, (self._first, self._neighbors_small, vectors)

    def _vectors(self, atoms: Atoms) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Positions, r_ij of all pairs, and their squares; the pairs are searched again if need be."""
        positions = atoms.get_positions()
        if not self._holds(atoms, positions):
            self._search(atoms)
        vectors = positions[self._neighbors] - positions[self._centers] + self._shifts_in_cell
        squares = np.einsum("ed,ed->e", vectors, vectors)
        if len(squares) and squares.min() < SMALLEST_DISTANCE**2:
            Configuration.from_atoms(atoms, origin="ASE atoms")  # says which atoms they are
        return positions, vectors, squares

    def _holds(self, atoms: Atoms, positions: np.ndarray) -> bool:
        old = self._searched
        if old is None or len(atoms) != old.num_atoms or not np.array_equal(atoms.numbers, old.numbers):
            return False
        if not (np.array_equal(atoms.pbc, old.pbc) and np.array_equal(atoms.cell.array, old.cell)):
            return False
        moved = positions - old.positions
        # Written so that positions that are not numbers are searched again, which says so.
        return bool(np.einsum("ad,ad->a", moved, moved).max(initial=0.0) <= (self.skin / 2) ** 2)

    def _search(self, atoms: Atoms) -> None:
        self._searched = None
        configuration = Configuration.from_atoms(atoms.copy(), origin="ASE atoms")  # they may move in place
        species = torch.from_numpy(species_of(configuration, self.elements))
        found = neighbor_list(configuration.positions, configuration.cell, configuration.pbc, self.r_max + self.skin)
        self._centers, self._neighbors, shifts = found
        self._shifts, self._shifts_in_cell = torch.from_numpy(shifts.astype(float)), shifts @ configuration.cell
        self._first = np.searchsorted(self._centers, np.arange(configuration.num_atoms + 1))
        self._species, self._neighbors_small = species.numpy().astype(np.int32), self._neighbors.astype(np.int32)
        self._groups = ElementGroups.of(species, len(self.elements))
        self._all: tuple[Edges, Tensor] | None = None
        self._cell = torch.from_numpy(configuration.cell)[None]
        self._graph_index = torch.zeros(configuration.num_atoms, dtype=torch.int64)
        self._num_atoms = torch.tensor([configuration.num_atoms])
        self._searched = configuration
        self.num_searches += 1

    def _within(self, near: np.ndarray) -> tuple[Edges, Tensor]:
        """The edges that are ``near``, and their shifts; where all are, as in small molecules, made once."""
        if not near.all():
            kept = np.flatnonzero(near)
            return self._edges(self._centers[kept], self._neighbors[kept]), self._shifts[torch.from_numpy(kept)]
        if self._all is None:
            self._all = self._edges(self._centers, self._neighbors), self._shifts
        return self._all

    def _edges(self, centers: np.ndarray, neighbors: np.ndarray) -> Edges:
        indices = torch.from_numpy(centers), torch.from_numpy(neighbors)
        return Edges.of(*indices, self._groups.species, len(self.elements), elements=self._groups)


def check_skin(skin: float) -> float:
    """Return ``skin``; raises DataError for one that is negative or not finite."""
    if not 0.0 <= skin < np.inf:
        raise DataError(f"skin: expected a length in Å, 0 or more, got {skin}; 0.5 is usual")
    return skin
