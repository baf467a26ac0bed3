"""Edges and element groups: the orders that kernels walk in, against sorting by brute force."""

from __future__ import annotations

from dataclasses import fields

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from clebsch.errors import DataError
from clebsch.o3 import Irreps
from clebsch.ops import Edges, ElementGroups, LinearDescriptor, get_backend

ATOMS = st.lists(st.integers(0, 3), max_size=7)  # elements; some of five never occur
NUM_ELEMENTS = 5


def species_of(elements: list[int]) -> torch.Tensor:
    return torch.tensor(elements, dtype=torch.long)


def tensors_of(edges: Edges) -> dict[str, torch.Tensor]:
    own = {item.name: getattr(edges, item.name) for item in fields(edges) if item.name != "elements"}
    return own | {f"elements.{name}": getattr(edges.elements, name) for name in ("species", "order", "start")}


def random_edges(elements: list[int], seed: int, count: int = 12) -> Edges:
    """Edges between atoms, none where there are no atoms."""
    generator, atoms = torch.Generator().manual_seed(seed), len(elements)
    ends = (torch.randint(0, max(atoms, 1), (count if atoms else 0,), generator=generator) for _ in range(2))
    centers, neighbors = ends
    return Edges.of(centers.sort()[0], neighbors, species_of(elements), NUM_ELEMENTS)


@given(ATOMS)
def test_atoms_by_element(elements: list[int]):
    groups = ElementGroups.of(species_of(elements), NUM_ELEMENTS)
    assert groups.start.tolist() == [sum(z < bound for z in elements) for bound in range(NUM_ELEMENTS + 1)]
    assert groups.order.tolist() == sorted(range(len(elements)), key=lambda atom: (elements[atom], atom))


@given(st.lists(st.tuples(ATOMS, st.integers(0, 99)), min_size=1, max_size=4))
def test_joined_edges_are_those_of_the_joined_system(systems: list[tuple[list[int], int]]):
    parts = [random_edges(*system) for system in systems]
    first = [0]
    for part in parts:
        first.append(first[-1] + part.num_sources)
    expected = Edges.of(
        torch.cat([part.centers + offset for part, offset in zip(parts, first, strict=False)]),
        torch.cat([part.neighbors + offset for part, offset in zip(parts, first, strict=False)]),
        torch.cat([part.species for part in parts]),
        NUM_ELEMENTS,
    )
    found, others = tensors_of(Edges.join(parts)), tensors_of(expected)
    assert all(torch.equal(value, others[name]) for name, value in found.items())
    assert Edges.join(parts).num_elements == NUM_ELEMENTS


@given(ATOMS, st.integers(0, 7), st.integers(0, 99))
def test_ghosts_are_sources_and_no_targets(elements: list[int], owned: int, seed: int):
    whole, owned = random_edges(elements, seed), min(owned, len(elements))
    kept = whole.centers < owned
    edges = Edges.of(whole.centers[kept], whole.neighbors[kept], whole.species, NUM_ELEMENTS, num_targets=owned)
    assert (edges.num_targets, edges.num_sources) == (owned, len(elements))
    assert edges.elements.species.tolist() == elements[:owned]
    for target in range(owned):
        begin, end = edges.center_start[target : target + 2].tolist()
        assert range(begin, end) == range(*_span(edges.centers.tolist(), target))
    for source in range(len(elements)):
        begin, end = edges.neighbor_start[source : source + 2].tolist()
        found = edges.by_neighbor[begin:end].tolist()
        assert found == [edge for edge, j in enumerate(edges.neighbors.tolist()) if j == source]


def _span(centers: list[int], target: int) -> tuple[int, int]:
    before = sum(center < target for center in centers)
    return before, before + centers.count(target)


def test_pairs_of_elements():
    edges = Edges.of(torch.tensor([0, 0, 2]), torch.tensor([1, 2, 0]), torch.tensor([2, 0, 1]), 3)
    assert edges.pairs().tolist() == [6, 7, 5]


def test_centers_must_ascend():
    with pytest.raises(DataError, match="centers: expected ascending indices, got unsorted ones; sort the edges"):
        Edges.of(torch.tensor([1, 0]), torch.tensor([0, 1]), torch.tensor([0, 0]), 1)


def test_one_map_per_element_takes_the_rows_of_its_own_irreps():
    """Two maps of one group of atoms, with other irreps: the rows of one are not those of the other."""
    groups, generator = ElementGroups.of(torch.tensor([1, 0, 1, 2]), 3), torch.Generator().manual_seed(0)
    for irreps in ("0e+1o", "1o+0e", "0e+1o"):
        descriptor = LinearDescriptor(Irreps(irreps), (2, 2), Irreps("0e+1o"), 3, by_element=True)
        x = torch.randn(4, 4, 2, generator=generator, dtype=torch.float64)
        weights = [torch.randn(3, 2, 3, generator=generator, dtype=torch.float64) for _ in range(2)]
        found, expected = (
            get_backend(name).linear(descriptor, torch.float64)(x, weights, groups) for name in ("cpu", "reference")
        )
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-14)
