"""Neighbour lists against a brute-force sum over images."""

from __future__ import annotations

import itertools
import time
from collections import Counter

import hypothesis.extra.numpy as arrays
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clebsch.data import neighbor_list
from clebsch.errors import DataError


def brute_force(positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray, r_max: float) -> dict[tuple[int, ...], float]:
    """Every (i, j, S) with |r_j - r_i + S cell| < r_max, and its distance."""
    box = np.where(pbc[:, None], cell, 0.0)
    ranges = [range(1)] * 3
    if pbc.any():
        # |S_k + f_jk - f_ik| <= r_max |b_k| along each periodic direction, with b the dual vectors
        dual = np.linalg.pinv(box)
        fractional = positions @ dual
        spread = np.ptp(fractional, axis=0) if len(positions) else np.zeros(3)
        reach = np.ceil(r_max * np.linalg.norm(dual, axis=0) + spread).astype(int) + 1
        ranges = [range(-n, n + 1) if periodic else range(1) for n, periodic in zip(reach, pbc, strict=True)]
    images = np.array(list(itertools.product(*ranges)))
    vectors = positions[None, :, None] - positions[:, None, None] + (images @ box)[None, None]
    distances = np.linalg.norm(vectors, axis=-1)
    found = {}
    for i, j, s in np.argwhere(distances < r_max + 1e-6):
        if i != j or images[s].any():
            found[(int(i), int(j), *images[s].tolist())] = float(distances[i, j, s])
    return found


def check(positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray, r_max: float) -> int:
    centers, neighbors, shifts = neighbor_list(positions, cell, pbc, r_max)
    edges = list(zip(centers.tolist(), neighbors.tolist(), *shifts.T.tolist(), strict=True))
    assert edges == sorted(edges)
    assert len(set(edges)) == len(edges)
    reference = brute_force(positions, cell, pbc, r_max)
    sure = {edge for edge, distance in reference.items() if distance < r_max - 1e-9}
    possible = {edge for edge, distance in reference.items() if distance < r_max + 1e-9}
    assert sure <= set(edges) <= possible
    vectors = positions[neighbors] - positions[centers] + shifts @ cell
    assert (np.linalg.norm(vectors, axis=1) < r_max).all()
    assert not shifts[:, ~pbc].any()
    return len(edges)


coordinates = st.floats(-12.0, 12.0, allow_nan=False, width=32)


@st.composite
def cells(draw: st.DrawFn) -> np.ndarray:
    """Triclinic cells of either hand, strongly skewed ones too, with vectors in any order."""
    lengths = draw(st.lists(st.floats(1.2, 6.0), min_size=3, max_size=3))
    skew = draw(arrays.arrays(np.float64, (3, 3), elements=st.floats(-2.0, 2.0)))
    signs = draw(st.lists(st.sampled_from([-1.0, 1.0]), min_size=3, max_size=3))
    cell = np.diag(np.array(lengths) * signs) + np.tril(skew, -1)
    return cell[list(draw(st.permutations(range(3))))]


@given(
    cell=cells(),
    positions=arrays.arrays(np.float64, st.tuples(st.integers(0, 5), st.just(3)), elements=coordinates),
    pbc=arrays.arrays(bool, 3),
    r_max=st.floats(0.3, 4.5),
)
@settings(max_examples=150)
def test_brute_force(cell: np.ndarray, positions: np.ndarray, pbc: np.ndarray, r_max: float):
    check(positions, cell, pbc, r_max)


@given(
    positions=arrays.arrays(np.float64, st.tuples(st.integers(0, 8), st.just(3)), elements=coordinates),
    cell=st.sampled_from([np.zeros((3, 3)), np.eye(3), np.ones((3, 3)), 50.0 * np.eye(3)]),
)
@settings(max_examples=40)
def test_a_cell_without_pbc_plays_no_part(positions: np.ndarray, cell: np.ndarray):
    pbc = np.zeros(3, dtype=bool)
    assert not neighbor_list(positions, cell, pbc, 5.0)[2].any()
    check(positions, cell, pbc, 5.0)


@pytest.mark.parametrize("pbc", list(itertools.product([False, True], repeat=3)))
def test_the_cell_of_other_directions_plays_no_part(pbc: tuple[bool, bool, bool], rng: np.random.Generator):
    """Rows of non-periodic directions may be zero, or parallel to the periodic ones."""
    periodic = np.array(pbc)
    positions = rng.normal(scale=4.0, size=(12, 3))
    cell = np.array([[4.0, 0.5, 0.0], [0.3, 5.0, 0.2], [-1.0, 0.4, 6.0]])
    full = check(positions, cell, periodic, 4.5)
    assert check(positions, np.where(periodic[:, None], cell, 0.0), periodic, 4.5) == full
    if periodic.any():
        parallel = np.where(periodic[:, None], cell, cell[periodic][0])
        assert check(positions, parallel, periodic, 4.5) == full


def test_strictly_less():
    """Of the shells of a cubic lattice with constant 1, those at 1, sqrt 2 and sqrt 3 are nearer than 2."""
    pbc = np.ones(3, dtype=bool)
    centers, _, shifts = neighbor_list(np.zeros((1, 3)), np.eye(3), pbc, 2.0)
    assert Counter((shifts**2).sum(axis=1).tolist()) == {1: 6, 2: 12, 3: 8}
    assert not centers.any()
    assert len(neighbor_list(np.zeros((1, 3)), np.eye(3), pbc, np.nextafter(2.0, 3.0))[0]) == 32


@pytest.mark.parametrize("num_atoms", [0, 1])
@pytest.mark.parametrize("pbc", [False, True])
def test_no_neighbours(num_atoms: int, pbc: bool):
    found = neighbor_list(np.zeros((num_atoms, 3)), 20.0 * np.eye(3), np.full(3, pbc), 5.0)
    assert [array.shape for array in found] == [(0,), (0,), (0, 3)]
    assert all(array.dtype == np.int64 for array in found)


def test_many_images_of_a_small_cell(rng: np.random.Generator):
    cell = np.array([[1.6, 0.0, 0.0], [0.9, 1.5, 0.0], [-0.5, 0.8, 1.7]])
    assert check(rng.normal(size=(2, 3)), cell, np.ones(3, dtype=bool), 6.0) > 400


def test_left_handed_cell_and_atoms_outside(rng: np.random.Generator):
    cell = np.array([[0.0, 3.0, 0.1], [3.5, 0.0, 0.2], [0.3, 0.4, 4.0]])
    assert np.linalg.det(cell) < 0.0
    inside = rng.random((4, 3)) @ cell
    moved = inside + rng.integers(-20, 20, (4, 3)) @ cell
    pbc = np.ones(3, dtype=bool)
    assert check(inside, cell, pbc, 4.0) == check(moved, cell, pbc, 4.0)


def test_every_edge_has_its_reverse(rng: np.random.Generator):
    cell = 5.0 * np.eye(3) + rng.normal(scale=0.5, size=(3, 3))
    centers, neighbors, shifts = neighbor_list(rng.random((6, 3)) @ cell, cell, np.ones(3, dtype=bool), 5.0)
    edges = {(i, j, *s) for i, j, s in zip(centers.tolist(), neighbors.tolist(), shifts.tolist(), strict=True)}
    assert edges == {(j, i, -a, -b, -c) for i, j, a, b, c in edges}


@pytest.mark.parametrize("distance", [4.1e3, 1e6, 1e9])
def test_far_fragments_have_the_edges_of_each(rng: np.random.Generator, distance: float):
    """Molecules that lie apart in several directions, in any order; no pair of two of them is near."""
    fragments = [rng.uniform(0, 4, size=(6, 3)) for _ in range(4)]
    places = distance * np.array([[0, 0, 0], [-1, 0, 0], [0.3, 1, 0], [1, 1, -2]])
    positions = np.concatenate([np.round(fragment + place) for fragment, place in zip(fragments, places, strict=True)])
    for r_max in (0.1, 3.0):
        centers, neighbors, _ = neighbor_list(positions, np.zeros((3, 3)), np.zeros(3, bool), r_max)
        r = np.linalg.norm(positions[:, None] - positions, axis=2)
        expected = np.argwhere((r < r_max) & ~np.eye(len(r), dtype=bool))
        assert np.array_equal(np.stack([centers, neighbors], axis=1), expected)


@pytest.mark.parametrize("pbc", [(True, False, False), (True, False, True), (False, True, False)])
def test_far_fragments_of_slabs_and_wires(rng: np.random.Generator, pbc: tuple[bool, bool, bool]):
    """An atom that has left a slab far behind changes nothing there."""
    cell = np.array([[5.0, 0.3, 0.0], [0.2, 6.0, 0.4], [0.0, -0.5, 5.5]])
    positions, periodic = rng.uniform(0, 5, size=(6, 3)), np.array(pbc)
    axes = np.linalg.svd(cell[periodic])[2][periodic.sum() :]
    far = np.concatenate([positions, positions[:1] + 1e6 * axes.sum(0)])
    found = [np.column_stack(neighbor_list(given, cell, periodic, 3.0)) for given in (positions, far)]
    inside = found[1][(found[1][:, 0] < 6) & (found[1][:, 1] < 6)]
    assert np.array_equal(found[0], inside) and len(found[0])


@pytest.mark.parametrize("length", [50.0, 5e3, 1e6])
def test_sparse_periodic_box(rng: np.random.Generator, length: float):
    """A molecule in a large periodic box has the edges it has without the box, and empty space takes no time."""
    positions = rng.normal(scale=2.0, size=(10, 3)) - 60.0
    cell = length * np.eye(3)
    free = neighbor_list(positions, cell, np.zeros(3, dtype=bool), 5.0)
    start = time.process_time()
    for _ in range(20):
        boxed = neighbor_list(positions, cell, np.ones(3, dtype=bool), 5.0)
    assert time.process_time() - start < 0.15  # 5 ms; with as many bins as there may be, 280
    for first, second in zip(free, boxed, strict=True):
        np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize(
    ("positions", "cell", "pbc", "r_max", "message"),
    [
        (np.full((2, 3), np.nan), np.eye(3), False, 5.0, "Positions must be finite numbers.*atom 0"),
        (np.zeros((1, 3)), np.eye(3), False, 0.0, "r_max must be positive"),
        (np.zeros((1, 3)), np.eye(3), False, np.nan, "r_max must be positive"),
        (np.zeros((1, 3)), np.eye(3), False, np.inf, "r_max must be positive"),
        (np.zeros((1, 3)), np.zeros((3, 3)), True, 5.0, "span no volume"),
        (np.zeros((1, 3)), np.ones((3, 3)), True, 5.0, "span no volume"),
        (np.zeros((1, 3)), np.full((3, 3), np.nan), True, 5.0, "cell must be finite"),
    ],
)
def test_errors(positions: np.ndarray, cell: np.ndarray, pbc: bool, r_max: float, message: str):
    with pytest.raises(DataError, match=message):
        neighbor_list(positions, cell, np.full(3, pbc), r_max)
