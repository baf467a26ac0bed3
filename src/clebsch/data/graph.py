"""Graph: a configuration with its edges, as tensors; Batch: several graphs as one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import lru_cache

import numpy as np
import torch
from ase.data import atomic_numbers, chemical_symbols
from jaxtyping import Bool, Float64, Int, Int64
from torch import Tensor

from clebsch.data.configuration import Configuration
from clebsch.data.neighbors import neighbor_list
from clebsch.data.quantities import QUANTITIES, Quantity
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
        pbc: [3].
        labels: by quantity, in the shapes and units of `Configuration`.
        weights: factors on the weights of the loss, of those that are not 1.
        origin: where the configuration comes from, for messages.
        config_type: the configuration's kind.
    """

    positions: Float64[Tensor, "atoms 3"]
    cell: Float64[Tensor, "3 3"]
    edges: Edges
    shifts: Float64[Tensor, "edges 3"]
    pbc: Bool[Tensor, " 3"]
    labels: dict[str, Tensor] = field(default_factory=dict)
    weights: dict[str, float] = field(default_factory=dict)
    origin: str = "configuration"
    config_type: str = ""

    @property
    def num_atoms(self) -> int:
        """Number of atoms."""
        return len(self.positions)

    def counts(self, quantity: str) -> bool:
        """Whether a quantity has a label and a weight above zero."""
        return quantity in self.labels and self.weights.get(quantity, 1.0) > 0.0


@dataclass(eq=False)
class Batch(_OfEdges):
    """Several graphs as one: atoms and edges one after another, edge indices offset, edges sorted by centre.

    Args:
        positions: [atoms, 3], Å. cell: [graphs, 3, 3], Å.
        edges: pairs of atoms and elements. shifts: [edges, 3].
        graph_index: [atoms], the graph of every atom. num_atoms: [graphs].
        labels: by quantity: [atoms, …] of what atoms have, [graphs, …] of what configurations have; zeros where there
            are none.
        weights: [graphs], factors on the weights of the loss by quantity, of those that are not 1 everywhere; zero
            where there is no label.
    """

    positions: Float64[Tensor, "atoms 3"]
    cell: Float64[Tensor, "graphs 3 3"]
    edges: Edges
    shifts: Float64[Tensor, "edges 3"]
    graph_index: Int64[Tensor, " atoms"]
    num_atoms: Int64[Tensor, " graphs"]
    labels: dict[str, Tensor] = field(default_factory=dict)
    weights: dict[str, Tensor] = field(default_factory=dict)

    @property
    def num_graphs(self) -> int:
        """Number of graphs."""
        return self.num_atoms.shape[0]

    def weights_of(self, quantity: str) -> Float64[Tensor, " graphs"]:
        """Factors on the weight of a quantity in the loss, zero where there is no label."""
        if quantity not in self.labels:
            return torch.zeros(self.num_graphs, dtype=torch.float64)
        return self.weights.get(quantity, torch.ones(self.num_graphs, dtype=torch.float64))

    def to(self, device: torch.device | str) -> Batch:
        """Return the batch on ``device``: itself where it is there already."""
        if self.positions.device == torch.device(device):
            return self
        return self._map(lambda tensor: tensor.to(device))

    def clone(self) -> Batch:
        """Return a copy of all tensors."""
        return self._map(Tensor.clone)

    def _map(self, function: Callable[[Tensor], Tensor]) -> Batch:
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        tensors = {name: function(value) for name, value in values.items() if isinstance(value, Tensor)}
        labels, weights = (
            {name: function(value) for name, value in values.items()} for values in (self.labels, self.weights)
        )
        return replace(self, **tensors, edges=self.edges.map(function), labels=labels, weights=weights)


def build_graph(configuration: Configuration, elements: Sequence[str], r_max: float) -> Graph:
    """Return the graph of a configuration: species indices, and every edge with |r_ij| < r_max.

    Args:
        configuration: atoms and labels.
        elements: chemical symbols the model knows, in its order.
        r_max: cutoff radius, Å.

    Raises:
        DataError: the configuration holds an element that the model does not know.
    """
    species_of(configuration, elements)  # an unknown element is found before neighbours are searched
    found = neighbor_list(configuration.positions, configuration.cell, configuration.pbc, r_max)
    return connect(configuration, elements, *found)


def connect(
    configuration: Configuration,
    elements: Sequence[str],
    centers: Int[np.ndarray, " edges"],
    neighbors: Int[np.ndarray, " edges"],
    shifts: Int[np.ndarray, "edges 3"],
) -> Graph:
    """Return the graph of a configuration whose edges have been found, sorted as by `neighbor_list`."""
    species = torch.from_numpy(species_of(configuration, elements))
    return Graph(
        positions=_float64(configuration.positions),
        cell=_float64(configuration.cell),
        edges=Edges.of(torch.from_numpy(centers), torch.from_numpy(neighbors), species, len(elements)),
        shifts=_float64(shifts),
        pbc=torch.tensor(configuration.pbc),
        labels={name: _float64(value) for name, value in configuration.labels.items()},
        weights=dict(configuration.weights),
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
    """Return the graphs as one batch, with zeros of weight zero for the labels that some of them lack.

    Raises DataError if there is no graph.
    """
    if not graphs:
        raise DataError("A batch needs at least one graph, got none.")
    num_atoms = torch.tensor([graph.num_atoms for graph in graphs])
    return Batch(
        positions=torch.cat([graph.positions for graph in graphs]),
        cell=torch.stack([graph.cell for graph in graphs]),
        edges=Edges.join([graph.edges for graph in graphs]),
        shifts=torch.cat([graph.shifts for graph in graphs]),
        graph_index=torch.repeat_interleave(torch.arange(len(graphs)), num_atoms),
        num_atoms=num_atoms,
        labels={name: _labels(graphs, quantity) for name, quantity in QUANTITIES.items() if _any_has(graphs, name)},
        weights={name: weights for name in QUANTITIES if (weights := _weights(graphs, name)) is not None},
    )


def _any_has(graphs: Sequence[Graph], name: str) -> bool:
    return any(name in graph.labels for graph in graphs)


def _labels(graphs: Sequence[Graph], quantity: Quantity) -> Tensor:
    values = [
        graph.labels[quantity.name]
        if quantity.name in graph.labels
        else torch.zeros(quantity.shape(graph.num_atoms), dtype=torch.float64)
        for graph in graphs
    ]
    return torch.cat(values) if quantity.of == "atom" else torch.stack(values)


def _weights(graphs: Sequence[Graph], name: str) -> Tensor | None:
    """Weights of the graphs, None if no graph has the label or all weights are 1."""
    weights = [graph.weights.get(name, 1.0) if name in graph.labels else 0.0 for graph in graphs]
    plain = all(weight == 1.0 for weight in weights) or not _any_has(graphs, name)
    return None if plain else torch.tensor(weights, dtype=torch.float64)


def _float64(value: np.ndarray) -> Tensor:
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
