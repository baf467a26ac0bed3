"""Graphs and batches: tensors of the right values, and errors that name the frame."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from frames import water

from clebsch.data import Configuration, LabelKeys, build_graph, build_graphs, collate
from clebsch.errors import DataError

ELEMENTS = ("H", "O")
REF = LabelKeys(energy="REF_energy", forces="REF_forces")


def configuration() -> Configuration:
    return Configuration.from_atoms(water(config_type="gas"), REF, "a.xyz, frame 3")


def test_graph_of_a_molecule():
    graph = build_graph(configuration(), ELEMENTS, 1.2)
    assert graph.species.tolist() == [1, 0, 0]
    assert list(zip(graph.centers.tolist(), graph.neighbors.tolist(), strict=True)) == [(0, 1), (0, 2), (1, 0), (2, 0)]
    assert (graph.num_atoms, graph.num_edges) == (3, 4)
    assert graph.labels["energy"].item() == -10.5
    assert graph.labels["energy"].shape == ()
    assert (graph.origin, graph.config_type) == ("a.xyz, frame 3", "gas")
    assert "stress" not in graph.labels
    for name in ("positions", "cell", "shifts"):
        assert getattr(graph, name).dtype == torch.float64, name
    assert all(value.dtype == torch.float64 for value in graph.labels.values())
    for name in ("species", "centers", "neighbors"):
        assert getattr(graph, name).dtype == torch.int64, name


def test_graph_shares_no_memory_with_the_configuration():
    source = configuration()
    build_graph(source, ELEMENTS, 5.0).positions.zero_()
    assert source.positions.any()


def test_edge_vectors_of_a_crystal():
    source = Configuration.from_atoms(bulk("Cu"))
    graph = build_graph(source, ("Cu",), 2.6)
    vectors = graph.positions[graph.neighbors] - graph.positions[graph.centers] + graph.shifts @ graph.cell
    assert graph.num_edges == 12
    torch.testing.assert_close(vectors.norm(dim=1), torch.full((12,), 3.61 / np.sqrt(2), dtype=torch.float64))


def test_isolated_atom_has_no_edges():
    graph = build_graph(Configuration.from_atoms(Atoms("H")), ELEMENTS, 5.0)
    assert graph.num_edges == 0
    batch = collate([graph, graph])
    assert (batch.num_edges, batch.num_graphs) == (0, 2)
    assert batch.shifts.shape == (0, 3)


def test_elements_must_be_known():
    with pytest.raises(DataError, match=r"a.xyz, frame 3: atom 0 is O, .*elements \(H, C\)"):
        build_graph(configuration(), ("H", "C"), 5.0)
    with pytest.raises(DataError, match="'Ch' is not a chemical symbol"):
        build_graph(configuration(), ("H", "Ch"), 5.0)
    with pytest.raises(DataError, match="'H' is listed twice"):
        build_graph(configuration(), ("H", "O", "H"), 5.0)


def test_batch_is_its_graphs_one_after_another():
    atoms = bulk("Cu", cubic=True)
    other = Configuration(
        atoms.numbers, atoms.positions, np.array(atoms.cell), atoms.pbc, {"energy": 1.0, "forces": np.zeros((4, 3))}
    )
    graphs = build_graphs([configuration(), other, configuration()], ("H", "O", "Cu"), 3.0)
    batch = collate(graphs)
    assert batch.num_graphs == 3
    assert batch.num_atoms.tolist() == [3, 4, 3]
    assert batch.graph_index.tolist() == [0] * 3 + [1] * 4 + [2] * 3
    assert batch.labels["energy"].tolist() == [-10.5, 1.0, -10.5]
    assert batch.labels["forces"].shape == (10, 3)
    assert batch.cell.shape == (3, 3, 3)
    assert (batch.centers.diff() >= 0).all()
    edge_graph = batch.graph_index[batch.centers]
    assert (edge_graph == batch.graph_index[batch.neighbors]).all()
    cells = batch.cell[edge_graph]
    vectors = batch.positions[batch.neighbors] - batch.positions[batch.centers]
    vectors = vectors + torch.einsum("es,esd->ed", batch.shifts, cells)
    alone = [g.positions[g.neighbors] - g.positions[g.centers] + g.shifts @ g.cell for g in graphs]
    torch.testing.assert_close(vectors, torch.cat(alone))


def test_stress_is_stacked():
    source = Configuration(np.array([29]), np.zeros((1, 3)), np.eye(3) * 3, np.ones(3, bool), {"stress": np.eye(3)})
    batch = collate(build_graphs([source, source], ("Cu",), 3.5))
    assert batch.labels["stress"].shape == (2, 3, 3)
    assert "energy" not in batch.labels
    assert "forces" not in batch.labels


def tensors_of(part: Any, prefix: str = "") -> dict[str, torch.Tensor]:
    """All tensors of a batch, also its labels and those of its edges and of their element groups, by name."""
    found: dict[str, torch.Tensor] = {}
    items = (
        part if isinstance(part, dict) else {item.name: getattr(part, item.name) for item in dataclasses.fields(part)}
    )
    for name, value in items.items():
        if isinstance(value, torch.Tensor):
            found[prefix + name] = value
        elif isinstance(value, dict) or dataclasses.is_dataclass(value):
            found |= tensors_of(value, f"{prefix}{name}.")
    return found


def test_to_device_keeps_everything():
    batch = collate(build_graphs([configuration()], ELEMENTS, 3.0))
    moved = batch.to("meta")
    found, others = tensors_of(batch), tensors_of(moved)
    assert found.keys() == others.keys() and {"edges.elements.order", "labels.energy"} <= found.keys()
    for name, value in found.items():
        assert others[name].device.type == "meta" and others[name].shape == value.shape, name


def test_what_cannot_be_a_batch():
    with pytest.raises(DataError, match="at least one graph"):
        collate([])


def test_what_some_have_no_label_of_has_zeros_of_weight_zero():
    given = [
        dataclasses.replace(configuration(), weights={"energy": 2.0}),
        dataclasses.replace(configuration(), labels={"energy": 1.0}),
    ]
    batch = collate(build_graphs(given, ELEMENTS, 3.0))
    atoms = given[0].num_atoms
    assert batch.weights["forces"].tolist() == [1.0, 0.0] and batch.weights["energy"].tolist() == [2.0, 1.0]
    assert batch.labels["forces"][:atoms].any() and not batch.labels["forces"][atoms:].any()
    assert batch.weights_of("dipole").tolist() == [0.0, 0.0]
    plain = collate(build_graphs([configuration()] * 2, ELEMENTS, 3.0))
    assert not plain.weights and plain.weights_of("energy").tolist() == [1.0, 1.0]
