"""Which atoms are connected, and of which elements they are: found once, where edges are made, and passed on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from clebsch.errors import DataError


@dataclass(frozen=True, eq=False)
class ElementGroups:
    """Atoms by element.

    Attributes:
        species: [atoms], int64, element index of every atom.
        order: [atoms], the atoms sorted by element.
        start: [elements + 1], the atoms of element z are order[start[z]] … order[start[z + 1] - 1].
    """

    species: Tensor
    order: Tensor
    start: Tensor

    @classmethod
    def of(cls, species: Tensor, num_elements: int) -> ElementGroups:
        """Return the groups of atoms of the elements ``species`` [atoms], 0 … num_elements - 1."""
        order = torch.argsort(species, stable=True)
        return cls(species, order, starts(species.index_select(0, order), num_elements))

    def map(self, function: Callable[[Tensor], Tensor]) -> ElementGroups:
        """Return the groups with ``function`` of every tensor, such as a copy on another device."""
        return ElementGroups(function(self.species), function(self.order), function(self.start))


@dataclass(frozen=True, eq=False)
class Edges:
    """Directed edges from atom j, the source, to atom i, the target; targets are the first of the sources.

    In one process every atom is both. Where a system is cut into domains, the atoms that a domain owns are its targets,
    and its sources are these and, behind them, the ghosts, copies of atoms that others own.

    Attributes:
        centers: [edges], int64, the target i; ascending.
        neighbors: [edges], int64, the source j.
        center_start: [targets + 1], the edges of target i are center_start[i] … center_start[i + 1] - 1.
        by_neighbor: [edges], the edges sorted by neighbour.
        neighbor_start: [sources + 1], the edges of source j are by_neighbor[neighbor_start[j]] and on.
        species: [sources], int64, element index of every source.
        elements: the targets by element.
    """

    centers: Tensor
    neighbors: Tensor
    center_start: Tensor
    by_neighbor: Tensor
    neighbor_start: Tensor
    species: Tensor
    elements: ElementGroups

    @classmethod
    def of(
        cls,
        centers: Tensor,
        neighbors: Tensor,
        species: Tensor,
        num_elements: int,
        *,
        num_targets: int | None = None,
        elements: ElementGroups | None = None,
    ) -> Edges:
        """Return edges with all that operations need of them.

        Args:
            centers: [edges], int64, ascending, below ``num_targets``.
            neighbors: [edges], int64.
            species: [sources], int64.
            num_elements: number of elements that ``species`` indexes.
            num_targets: number of targets; None where every source is one.
            elements: the targets by element, where they are known already.

        Raises:
            DataError: the centres do not ascend.
        """
        if not bool((centers[1:] >= centers[:-1]).all()):
            raise DataError("centers: expected ascending indices, got unsorted ones; sort the edges by their centre")
        targets = species.shape[0] if num_targets is None else num_targets
        by_neighbor = torch.argsort(neighbors, stable=True)
        return cls(
            centers=centers,
            neighbors=neighbors,
            center_start=starts(centers, targets),
            by_neighbor=by_neighbor,
            neighbor_start=starts(neighbors.index_select(0, by_neighbor), species.shape[0]),
            species=species,
            elements=elements or ElementGroups.of(species[:targets], num_elements),
        )

    @classmethod
    def join(cls, parts: Sequence[Edges]) -> Edges:
        """Return the edges of several systems, in each of which every atom is a target, as those of one."""
        num_atoms = [part.num_targets for part in parts]
        num_edges = [part.centers.shape[0] for part in parts]
        species = torch.cat([part.species for part in parts])
        return cls(
            centers=_joined([part.centers for part in parts], num_atoms),
            neighbors=_joined([part.neighbors for part in parts], num_atoms),
            center_start=_joined_starts([part.center_start for part in parts], num_edges),
            by_neighbor=_joined([part.by_neighbor for part in parts], num_edges),
            neighbor_start=_joined_starts([part.neighbor_start for part in parts], num_edges),
            species=species,
            elements=ElementGroups.of(species, max(part.num_elements for part in parts)),
        )

    @property
    def num_elements(self) -> int:
        """Number of elements that the species index."""
        return self.elements.start.shape[0] - 1

    @property
    def num_targets(self) -> int:
        """Number of targets."""
        return self.center_start.shape[0] - 1

    @property
    def num_sources(self) -> int:
        """Number of sources."""
        return self.species.shape[0]

    def map(self, function: Callable[[Tensor], Tensor]) -> Edges:
        """Return the edges with ``function`` of every tensor, such as a copy on another device."""
        tensors = {item.name: getattr(self, item.name) for item in fields(self) if item.name != "elements"}
        return Edges(**{name: function(x) for name, x in tensors.items()}, elements=self.elements.map(function))

    def pairs(self) -> Tensor:
        """Element pair z_i * Z + z_j of every edge [edges]."""
        centers, neighbors = (self.species.index_select(0, ends) for ends in (self.centers, self.neighbors))
        return centers * self.num_elements + neighbors


for _class in (ElementGroups, Edges):  # so that programs that are exported take them as inputs
    torch.export.register_dataclass(_class)


def starts(ascending: Tensor, count: int) -> Tensor:
    """Where every value 0 … count begins in an ascending list."""
    return torch.searchsorted(ascending, torch.arange(count + 1, device=ascending.device))


def _joined(parts: Sequence[Tensor], sizes: Sequence[int]) -> Tensor:
    """Indices one after another, each part moved by the sizes of those before it."""
    offset, moved = 0, []
    for part, size in zip(parts, sizes, strict=True):
        moved.append(part + offset)
        offset += size
    return torch.cat(moved)


def _joined_starts(parts: Sequence[Tensor], sizes: Sequence[int]) -> Tensor:
    """Likewise of starts, whose last entry is the first of the next part."""
    kept = [part[:-1] for part in parts[:-1]] + [parts[-1]]
    return _joined(kept, sizes)
