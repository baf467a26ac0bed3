"""Neighbour lists: every pair of atoms, and every periodic image, nearer than r_max."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int
from vesin import NeighborList

from clebsch.errors import DataError

# The search sorts atoms into bins as wide as its radius. Small bins are many and mostly empty, so the radius is at
# least this (Å), and at least such that a periodic cell has no more than this number of bins per atom.
SMALLEST_SEARCH = 1.5
BINS_PER_ATOM = 64
# Below this many atoms, starting threads costs more than the search.
THREADED_ATOMS = 5000
# A cell vector counts as dependent on the others below this height (Å).
SMALLEST_HEIGHT = 1e-6


def neighbor_list(
    positions: Float[np.ndarray, "atoms 3"],
    cell: Float[np.ndarray, "3 3"],
    pbc: Bool[np.ndarray, " 3"],
    r_max: float,
) -> tuple[Int[np.ndarray, " edges"], Int[np.ndarray, " edges"], Int[np.ndarray, "edges 3"]]:
    """Return (centers, neighbors, shifts) of the full list of pairs with |r_ij| < r_max.

    r_ij = r_j - r_i + S @ cell, with integer shifts S that are zero along non-periodic directions; atoms may lie
    outside the cell. Edges are sorted by (center, neighbor, shift).

    Args:
        positions: [atoms, 3], Å.
        cell: [3, 3], cell vectors as rows, Å; rows of non-periodic directions are not used.
        pbc: [3], which directions are periodic.
        r_max: cutoff radius, Å.

    Raises:
        DataError: positions are not finite, r_max is not positive and finite, or periodic cell vectors span no volume.
    """
    positions = np.ascontiguousarray(positions, dtype=np.float64)
    periodic = np.asarray(pbc, dtype=bool)
    if not 0.0 < r_max < np.inf:
        raise DataError(f"r_max must be positive and finite (Å), got {r_max}.")
    if not np.isfinite(positions).all():
        atom = int(np.argwhere(~np.isfinite(positions))[0, 0])
        raise DataError(f"Positions must be finite numbers, got {positions[atom].tolist()} for atom {atom}.")
    box = complete_cell(cell, periodic)
    # The list is made longer than asked for, then cut by the distance computed here, so that "<" is exact.
    sparse = (abs(np.linalg.det(box)) / (BINS_PER_ATOM * max(len(positions), 1))) ** (1 / 3)
    cutoff = max(r_max * (1.0 + 1e-9), SMALLEST_SEARCH, sparse)
    points = positions + _closing_up(positions @ box[~periodic].T, 2.0 * cutoff) @ box[~periodic]
    search = NeighborList(cutoff=cutoff, full_list=True, n_threads=1 if len(positions) < THREADED_ATOMS else 0)
    found = search.compute(points=points, box=box, periodic=periodic, quantities="ijS")
    centers, neighbors, shifts = (np.asarray(array, dtype=np.int64) for array in found)
    vectors = positions[neighbors] - positions[centers] + shifts @ box
    near = np.flatnonzero(np.einsum("ed,ed->e", vectors, vectors) < r_max * r_max)
    keys = (neighbors[near], centers[near])
    if periodic.any():
        keys = (*shifts[near].T[::-1], *keys)
    order = near[np.lexsort(keys)]
    return centers[order], neighbors[order], shifts[order]


def _closing_up(coordinates: Float[np.ndarray, "atoms axes"], gap: float) -> Float[np.ndarray, "atoms axes"]:
    """Return displacements that make empty slabs across an axis that are wider than ``gap`` (Å) that wide.

    Pairs within half of it keep their vectors and others stay farther apart, so that fragments may lie anywhere: the
    search counts its bins in 32 bits. ``coordinates`` are those along the directions that are not periodic.
    """
    order = np.argsort(coordinates, axis=0)
    ascending = np.take_along_axis(coordinates, order, axis=0)
    steps = np.minimum(np.diff(ascending, axis=0, prepend=ascending[:1]), gap)
    closed = np.empty_like(coordinates)
    np.put_along_axis(closed, order, np.cumsum(steps, axis=0), axis=0)
    return closed - coordinates


def complete_cell(cell: Float[np.ndarray, "3 3"], pbc: Bool[np.ndarray, " 3"]) -> Float[np.ndarray, "3 3"]:
    """Return ``cell`` with unit vectors orthogonal to the periodic ones in place of the non-periodic rows.

    Raises DataError where the periodic rows are not finite or linearly dependent.
    """
    cell = np.array(cell, dtype=np.float64)
    periodic = np.asarray(pbc, dtype=bool)
    rows = cell[periodic]
    if not len(rows):
        return np.eye(3)
    if not np.isfinite(rows).all():
        raise DataError(f"The cell must be finite numbers, got {cell.tolist()}.")
    _, heights, directions = np.linalg.svd(rows)
    if heights.min() < SMALLEST_HEIGHT:
        raise DataError(
            f"pbc is {periodic.tolist()} but the periodic cell vectors {rows.tolist()} span no volume. "
            "Give a cell (Å) with independent vectors, or set pbc to false."
        )
    cell[~periodic] = directions[len(rows) :]
    return cell
