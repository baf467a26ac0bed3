"""Graph: a configuration with its edges, as tensors; Batch: several graphs as one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields, replace
from functools import lru_cache

import numpy as np
import torch
from ase.data import atomic_numbers, chemical_symbols
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

from clebsch.data.configuration import Configuration
from clebsch.data.neighbors import neighbor_list
from clebsch.errors import DataError, did_you_mean
from clebsch.ops.edges import Edges


class _OfEdges:
    """What graphs and batches say of their edges."""

    edges: Edges

    @property
    def species(self) -> Int64[Tensor, " atoms"]:
        """Element index of every atom."""
        return self.edges.species

    @property
    def centers(self) -> Int64[Tensor, " edges"]:
        """Index of atom i of every edge, ascending."""
        return self.edges.centers

    @property
    def neighbors(self) -> Int64[Tensor, " edges"]:
        """Index of atom j of every edge."""
        return self.edges.neighbors

    @property
    def num_edges(self) -> int:
        """Number of directed edges."""
        return self.edges.centers.shape[0]


@dataclass(eq=False)
class Graph(_OfEdges):
    """One configuration as tensors; r_ij = positions[neighbors] - positions[centers] + shifts @ cell, |r_ij| < r_max.

    Args:
        positions: [atoms, 3], Å.
        cell: [3, 3], Å; zeros where there is none.
        edges: pairs of atoms, and the elements of the atoms as indices into the model's elements.
        shifts: [edges, 3], integers S as float64.
        energy: [], eV, or None.
        forces: [atoms, 3], eV/Å, or None.
        stress: [3, 3], eV/Å^3, or None.
        pbc: [3].
        origin: where the configuration comes from, for messages.
        config_type: the configuration's kind.
    """

    positions: Float64[Tensor, "atoms 3"]
    cell: Float64[Tensor, "3 3"]
    edges: Edges
    shifts: Float64[Tensor, "edges 3"]
    energy: Float64[Tensor, ""] | None
    forces: Float64[Tensor, "atoms 3"] | None
    stress: Float64[Tensor, "3 3"] | None
    pbc: Bool[Tensor, " 3"]
    origin: str = "configuration"
    config_type: str = ""

    @property
    def num_atoms(self) -> int:
        """Number of atoms."""
        return len(self.positions)


@dataclass(eq=False)
class Batch(_OfEdges):
    """Several graphs as one: atoms and edges one after another, edge indices offset, edges sorted by centre.

    Args:
        positions: [atoms, 3], Å. cell: [graphs, 3, 3], Å.
        edges: pairs of atoms and elements. shifts: [edges, 3].
        graph_index: [atoms], the graph of every atom. num_atoms: [graphs].
        energy: [graphs], eV. forces: [atoms, 3], eV/Å. stress: [graphs, 3, 3], eV/Å^3. None where not labelled.
    """

    positions: Float64[Tensor, "atoms 3"]
    cell: Float64[Tensor, "graphs 3 3"]
    edges: Edges
    shifts: Float64[Tensor, "edges 3"]
    graph_index: Int64[Tensor, " atoms"]
    num_atoms: Int64[Tensor, " graphs"]
    energy: Float64[Tensor, " graphs"] | None = None
    forces: Float64[Tensor, "atoms 3"] | None = None
    stress: Float64[Tensor, "graphs 3 3"] | None = None

    @property
    def num_graphs(self) -> int:
        """Number of graphs."""
        return self.num_atoms.shape[0]

    def to(self, device: torch.device | str) -> Batch:
        """Return the batch on ``device``."""
        return self._map(lambda tensor: tensor.to(device))

    def clone(self) -> Batch:
        """Return a copy of all tensors."""
        return self._map(Tensor.clone)

    def _map(self, function: Callable[[Tensor], Tensor]) -> Batch:
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        present = {name: value for name, value in values.items() if value is not None}
        return replace(
            self,
            **{n: x.map(function) if isinstance(x, Edges) else function(x) for n, x in present.items()},
        )


def build_graph(configuration: Configuration, elements: Sequence[str], r_max: float) -> Graph:
    """Return the graph of a configuration: species indices, and every edge with |r_ij| < r_max.

    Args:
        configuration: atoms and labels.
        elements: chemical symbols the model knows, in its order.
        r_max: cutoff radius, Å.

    Raises:
        DataError: the configuration holds an element that the model does not know.
    """
    species = torch.from_numpy(species_of(configuration, elements))
    centers, neighbors, shifts = neighbor_list(configuration.positions, configuration.cell, configuration.pbc, r_max)
    return Graph(
        positions=_float64(configuration.positions),
        cell=_float64(configuration.cell),
        edges=Edges.of(torch.from_numpy(centers), torch.from_numpy(neighbors), species, len(elements)),
        shifts=_float64(shifts),
        energy=None if configuration.energy is None else _float64(configuration.energy),
        forces=None if configuration.forces is None else _float64(configuration.forces),
        stress=None if configuration.stress is None else _float64(configuration.stress),
        pbc=torch.tensor(configuration.pbc),
        origin=configuration.origin,
        config_type=configuration.config_type,
    )


def species_of(configuration: Configuration, elements: Sequence[str]) -> np.ndarray:
    """Return the index into ``elements`` of every atom; raises DataError for an element that is not among them."""
    species = _species_table(tuple(elements))[configuration.numbers]
    if species.min() < 0:
        atom = int(species.argmin())
        raise DataError(
            f"{configuration.origin}: atom {atom} is {configuration.symbols[atom]}, which is not among the model's "
            f"elements ({', '.join(elements)}). Use a model that knows this element, or train one with it."
        )
    return species


def build_graphs(configurations: Iterable[Configuration], elements: Sequence[str], r_max: float) -> list[Graph]:
    """Return ``build_graph`` of every configuration."""
    return [build_graph(configuration, elements, r_max) for configuration in configurations]


def collate(graphs: Sequence[Graph]) -> Batch:
    """Return the graphs as one batch.

    Raises DataError where there is no graph, or where some graphs have a label and others have not.
    """
    if not graphs:
        raise DataError("A batch needs at least one graph, got none.")
    num_atoms = torch.tensor([graph.num_atoms for graph in graphs])
    energy, forces, stress = (_labels(graphs, name) for name in ("energy", "forces", "stress"))
    return Batch(
        positions=torch.cat([graph.positions for graph in graphs]),
        cell=torch.stack([graph.cell for graph in graphs]),
        edges=Edges.join([graph.edges for graph in graphs]),
        shifts=torch.cat([graph.shifts for graph in graphs]),
        graph_index=torch.repeat_interleave(torch.arange(len(graphs)), num_atoms),
        num_atoms=num_atoms,
        energy=None if energy is None else torch.stack(energy),
        forces=None if forces is None else torch.cat(forces),
        stress=None if stress is None else torch.stack(stress),
    )


def _labels(graphs: Sequence[Graph], name: str) -> list[Tensor] | None:
    values = [getattr(graph, name) for graph in graphs]
    without = [graph.origin for graph, value in zip(graphs, values, strict=True) if value is None]
    if len(without) == len(graphs):
        return None
    if without:
        raise DataError(
            f"{len(without)} of {len(graphs)} graphs of a batch have no {name}, the first is {without[0]}. "
            f"Label all of them, or read all of them without {name}."
        )
    return values


def _float64(value: float | np.ndarray) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


@lru_cache(maxsize=64)
def _species_table(elements: tuple[str, ...]) -> np.ndarray:
    """Return the species index of every atomic number, -1 where it is not among the elements."""
    species = np.full(len(chemical_symbols), -1, dtype=np.int64)
    for index, symbol in enumerate(elements):
        if symbol not in atomic_numbers:
            raise DataError(f"'{symbol}' is not a chemical symbol.{did_you_mean(symbol, chemical_symbols)}")
        if species[atomic_numbers[symbol]] >= 0:
            raise DataError(f"Element '{symbol}' is listed twice in {', '.join(elements)}.")
        species[atomic_numbers[symbol]] = index
    species.flags.writeable = False
    return species
