"""The size of features, and that of the presets before training."""

from __future__ import annotations

from typing import Literal

import ase.build
import pytest
import torch
from ase import Atoms

from clebsch.data import Batch, Configuration, build_graph, collate
from clebsch.evaluation import feature_sizes
from clebsch.models import MultiACEConfig, Potential, PotentialConfig, presets

ELEMENTS = ("H", "C", "O")
Size = Literal["S", "M", "L"]


def batch_of(atoms: Atoms, r_max: float) -> Batch:
    atoms.rattle(0.05, seed=0)
    found = Configuration(atoms.numbers, atoms.positions, cell=atoms.cell.array, pbc=tuple(atoms.pbc))
    return collate([build_graph(found, tuple(sorted(set(atoms.symbols))), r_max)])


def acetone(r_max: float) -> Batch:
    return batch_of(ase.build.molecule("CH3COCH3"), r_max)


def untrained(config: MultiACEConfig, seed: int = 0) -> Potential:
    e0 = dict.fromkeys(config.elements, 0.0)
    return Potential(PotentialConfig(model=config), e0=e0, dtype=torch.float64, backend="reference", seed=seed)


def with_average(config: MultiACEConfig, batch: Batch) -> MultiACEConfig:
    return config.model_copy(update={"avg_num_neighbors": batch.num_edges / len(batch.species)})


@pytest.mark.parametrize("size", ["S", "M", "L"])
def test_features_of_untrained_clebsch_neither_vanish_nor_explode(size: Size):
    """Products of products: they do where the sum over neighbours is not divided, or divided by the root alone."""
    config = presets.clebsch(elements=ELEMENTS, size=size)
    batch = acetone(config.r_max)
    average = with_average(config, batch)
    sizes = feature_sizes(untrained(average), batch)
    assert len(sizes) == len(config.layers) and min(sizes) > 0.5 and max(sizes) < 2
    assert min(feature_sizes(untrained(average.model_copy(update={"neighbor_gain": 1.0})), batch)) < 0.5
    undivided = {"neighbor_normalization": "none", "neighbor_gain": 1.0}
    assert max(feature_sizes(untrained(average.model_copy(update=undivided)), batch)) > 5


@pytest.mark.parametrize("size", ["S", "M", "L"])
@pytest.mark.parametrize(("symbol", "neighbors"), [("Cu", 18), ("C", 45)])
def test_nor_do_they_in_dense_solids(symbol: str, neighbors: int, size: Size):
    config = presets.clebsch(elements=(symbol,), size=size)
    batch = batch_of(ase.build.bulk(symbol, cubic=True) * (2, 2, 2), config.r_max)
    average = with_average(config, batch)
    assert average.avg_num_neighbors == pytest.approx(neighbors, abs=0.5)
    for seed in range(1 if size == "L" else 3):
        sizes = feature_sizes(untrained(average, seed), batch)
        assert min(sizes) > 0.15 and max(sizes) < 2


def test_the_sizes_are_of_the_features_and_leave_no_hook():
    config = presets.clebsch(elements=ELEMENTS, size="S")
    potential, batch = untrained(config), acetone(config.r_max)
    sizes = feature_sizes(potential, batch)
    assert sizes == feature_sizes(potential, batch) and len(sizes) == 3
    last = torch.nn.ModuleList(m for m in potential.modules() if type(m).__name__ == "Layer")[-1]
    kept = []
    last.register_forward_hook(lambda *call: kept.append(call[2][0]))
    potential(batch, forces=False)
    assert sizes[-1] == pytest.approx(float(kept[0].square().mean().sqrt()))
    assert len(sizes) == 3  # a hook would have added to them
