"""The border for engines: a periodic system cut into domains, with ghosts and an exchange, is the whole system."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch

from clebsch.data import Configuration, Graph, build_graph, collate, neighbor_list
from clebsch.models import (
    CoreConfig,
    NodeEnergies,
    Potential,
    PotentialConfig,
)
from clebsch.models.presets import mace, pace
from clebsch.ops import Edges

ELEMENTS, R_MAX = ("H", "C", "O"), 3.0
SIZES: dict[str, Any] = {"elements": ELEMENTS, "r_max": R_MAX, "num_channels": 4, "l_max": 2, "correlation": 2}
MODELS = {
    f"{name}, {layers} layers": preset(**SIZES, L_max=1, num_layers=layers)
    for name, preset in (("mace", mace), ("pace", pace))
    for layers in (2, 3)
}
CUTS = {"two": (2, 1), "four": (2, 2)}  # along the first and second cell vector


def liquid(atoms: int = 60) -> Configuration:
    """Atoms at random in a sheared cell, none closer than 1 Å: some are within their core radii."""
    rng, positions = np.random.default_rng(0), np.zeros((0, 3))
    cell = np.array([[8.1, 0.0, 0.0], [1.3, 7.9, 0.0], [-0.7, 0.9, 8.4]])
    while len(positions) < atoms:
        trial = np.vstack([positions, rng.uniform(size=3) @ cell])
        if not len(neighbor_list(trial, cell, np.ones(3, dtype=bool), 1.0)[0]):
            positions = trial
    return Configuration(rng.choice([1, 6, 8], atoms), positions, cell, np.ones(3, dtype=bool))


def potential(model: str, backend: str) -> Potential:
    config = PotentialConfig(model=MODELS[model], terms=(CoreConfig(),))
    scale = {"H": 0.8, "C": 1.1, "O": 1.4}
    return Potential(config, e0=dict.fromkeys(ELEMENTS, 0.0), scale=scale, shift=0.1, dtype="float64", backend=backend)


@dataclass
class Domain:
    """What one rank holds: the atoms it owns first, then ghosts, each an atom and the cell it is an image in.

    Attributes:
        atoms: [sources], index of the atom in the whole system.
        images: [sources, 3], zero for owned atoms.
        edges: those whose centre is owned.
    """

    atoms: torch.Tensor
    images: torch.Tensor
    edges: Edges

    @property
    def owned(self) -> torch.Tensor:
        return self.atoms[: self.edges.num_targets]


def domain_of(graph: Graph, owned: list[int], spare: list[int] | None = None) -> Domain:
    """The domain that owns some atoms; ``spare`` are ghosts that no edge needs."""
    place = {(atom, 0, 0, 0): index for index, atom in enumerate(owned)}
    centers, neighbors = [], []
    for i in owned:
        for edge in (graph.centers == i).nonzero().flatten().tolist():
            ghost = (int(graph.neighbors[edge]), *map(int, graph.shifts[edge].tolist()))
            centers.append(place[i, 0, 0, 0])
            neighbors.append(place.setdefault(ghost, len(place)))
    for atom in spare or []:
        place[atom, 9, 9, 9] = len(place)
    sources = torch.tensor(list(place), dtype=torch.long).reshape(-1, 4)
    ends = (torch.tensor(places, dtype=torch.long) for places in (centers, neighbors))
    species = graph.species[sources[:, 0]]
    edges = Edges.of(*ends, species, len(ELEMENTS), num_targets=len(owned))
    return Domain(sources[:, 0], sources[:, 1:].double(), edges)


def cut(configuration: Configuration, graph: Graph, parts: tuple[int, int]) -> list[Domain]:
    """The domains of a cut along two cell vectors, and two that own nothing, one of them with ghosts."""
    fractions = np.linalg.solve(configuration.cell.T, configuration.positions.T).T % 1.0
    place = (fractions[:, :2] * parts).astype(int)
    owners = [np.flatnonzero((place == (x, y)).all(1)).tolist() for x in range(parts[0]) for y in range(parts[1])]
    assert all(owners) and sum(map(len, owners)) == configuration.num_atoms
    return [*(domain_of(graph, owned) for owned in owners), domain_of(graph, []), domain_of(graph, [], [3, 7])]


class Ranks:
    """One thread per domain; features meet at a barrier between layers, as ranks of MPI would.

    Attributes:
        calls: how often each domain has exchanged.
    """

    def __init__(self, domains: list[Domain]) -> None:
        self.domains, self.calls = domains, [0] * len(domains)
        self._barrier, self._slots = threading.Barrier(len(domains), timeout=120), [torch.empty(0)] * len(domains)
        owned = torch.cat([domain.owned for domain in domains])
        place = torch.empty_like(owned).scatter(0, owned, torch.arange(len(owned)))
        self._sources = [place[domain.atoms] for domain in domains]

    def exchange(self, rank: int, features: torch.Tensor) -> torch.Tensor:
        """Features of the sources of one domain, from those of the targets of all."""
        assert features.shape[1] == self.domains[rank].edges.num_targets
        self.calls[rank] += 1
        self._slots[rank] = features
        self._barrier.wait()
        found = torch.cat(self._slots, dim=1).index_select(1, self._sources[rank])
        self._barrier.wait()  # nobody writes before all have read
        return found

    def run(self, potential: Potential, positions: torch.Tensor, cell: torch.Tensor) -> list[NodeEnergies]:
        """``node_energies`` of every domain, each called by itself."""

        def one(rank: int) -> NodeEnergies:
            domain = self.domains[rank]
            x = positions[domain.atoms] + domain.images @ cell
            vectors = x[domain.edges.neighbors] - x[domain.edges.centers]
            return potential.node_energies(vectors, domain.edges, lambda features: self.exchange(rank, features))

        with ThreadPoolExecutor(len(self.domains)) as pool:
            return list(pool.map(one, range(len(self.domains))))


@pytest.mark.parametrize("cuts", CUTS)
@pytest.mark.parametrize("model", MODELS)
def test_domains_are_the_whole(model: str, cuts: str, backend: str):
    configuration, found = liquid(), potential(model, backend)
    graph = build_graph(configuration, ELEMENTS, R_MAX)
    whole = found(collate([graph]), stress=True)
    assert whole.forces is not None and whole.stress is not None
    ranks = Ranks(cut(configuration, graph, CUTS[cuts]))
    positions, strain = graph.positions.clone().requires_grad_(), torch.zeros(3, 3).double().requires_grad_()
    deformation = torch.eye(3).double() + 0.5 * (strain + strain.T)
    parts = ranks.run(found, positions @ deformation, graph.cell @ deformation)
    energies = torch.cat([part.interaction for part in parts])
    size = float(energies.detach().abs().max())
    energy = energies.sum()
    gradient, virial = torch.autograd.grad(energy, [positions, strain])

    owned = torch.cat([domain.owned for domain in ranks.domains])
    assert sorted(owned.tolist()) == list(range(60))
    close = {"rtol": 1e-12, "atol": 1e-12}
    torch.testing.assert_close(energies, whole.node_energy[owned], rtol=0, atol=1e-12 * size)
    torch.testing.assert_close(energy, whole.energy[0], **close)
    torch.testing.assert_close(-gradient, whole.forces, rtol=0, atol=1e-12 * float(whole.forces.abs().max()))
    expected = whole.stress[0] * torch.linalg.det(graph.cell)
    torch.testing.assert_close(virial, expected, rtol=0, atol=1e-12 * float(expected.abs().max()))
    layers = torch.cat([part.layers for part in parts]).sum(0)
    torch.testing.assert_close(layers, whole.layer_energy[0], **close)
    assert [len(part.output.features[0]) for part in parts] == [len(domain.owned) for domain in ranks.domains]


@pytest.mark.parametrize("model", MODELS)
def test_every_domain_exchanges_equally_often(model: str, backend: str):
    """Whatever it holds, nothing too: else the ranks would wait for each other for ever."""
    configuration, found = liquid(), potential(model, backend)
    graph = build_graph(configuration, ELEMENTS, R_MAX)
    domains = [*cut(configuration, graph, (2, 1)), domain_of(graph, [])]
    assert [domain.edges.num_targets == 0 for domain in domains] == [False, False, True, True, True]
    assert not len(domains[2].atoms) and len(domains[3].atoms) == 2
    ranks = Ranks(domains)
    ranks.run(found, graph.positions, graph.cell)
    assert ranks.calls == [len(MODELS[model].layers) - 1] * 5
    ranks.run(found.frozen(), graph.positions, graph.cell)
    assert ranks.calls == [2 * (len(MODELS[model].layers) - 1)] * 5


def test_the_system_is_a_test():
    """Domains have ghosts, images of their own atoms among them, and cores are reached."""
    configuration, found = liquid(), potential("mace, 2 layers", "cpu")
    graph = build_graph(configuration, ELEMENTS, R_MAX)
    domains = cut(configuration, graph, (2, 2))
    assert all(domain.edges.num_sources > len(domain.owned) + 20 for domain in domains[:4])
    assert any(set(domain.atoms[len(domain.owned) :].tolist()) & set(domain.owned.tolist()) for domain in domains)
    vectors = graph.positions[graph.neighbors] - graph.positions[graph.centers] + graph.shifts @ graph.cell
    (term,) = found.terms
    assert term.energy(vectors, graph.edges).max() > 0.1  # type: ignore[operator]
    assert not torch.equal(term.seen(vectors, graph.edges), vectors)  # type: ignore[operator]


def test_without_an_exchange_the_second_layer_is_wrong():
    """Ghosts whose features are not those of their owners give other energies."""
    configuration, found = liquid(), potential("mace, 2 layers", "reference")
    graph = build_graph(configuration, ELEMENTS, R_MAX)
    domain = cut(configuration, graph, (2, 1))[0]
    x = graph.positions[domain.atoms] + domain.images @ graph.cell
    vectors = x[domain.edges.neighbors] - x[domain.edges.centers]
    ghosts = domain.edges.num_sources - domain.edges.num_targets

    def pad(features: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.pad(features, (0, 0, 0, ghosts))

    energies = found.node_energies(vectors, domain.edges, pad).interaction
    whole = found(collate([graph]), forces=False).node_energy[domain.owned]
    assert (energies - whole).abs().max() > 1e-6
