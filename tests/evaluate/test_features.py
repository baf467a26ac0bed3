"""The size of features, and that of the presets before training."""

from __future__ import annotations

from typing import Literal

import ase.build
import pytest
import torch

from clebsch.data import Batch, Configuration, build_graph, collate
from clebsch.evaluate import feature_sizes
from clebsch.models import MultiACEConfig, Potential, PotentialConfig, clebsch

ELEMENTS = ("H", "C", "O")


def acetone(r_max: float) -> Batch:
    atoms = ase.build.molecule("CH3COCH3")
    atoms.rattle(0.05, seed=0)
    return collate([build_graph(Configuration(atoms.numbers, atoms.positions), ELEMENTS, r_max)])


def untrained(config: MultiACEConfig) -> Potential:
    return Potential(PotentialConfig(model=config), e0=dict.fromkeys(ELEMENTS, 0.0), dtype=torch.float64, seed=0)


@pytest.mark.parametrize("size", ["M", "L"])
def test_features_of_untrained_deep_clebsch_neither_vanish_nor_explode(size: Literal["M", "L"]):
    """Products of products: they do where the sum over neighbours is not divided, or divided by the root alone."""
    config = clebsch(elements=ELEMENTS, size=size)
    batch = acetone(config.r_max)
    average = config.model_copy(update={"avg_num_neighbors": batch.num_edges / len(batch.species)})
    sizes = feature_sizes(untrained(average), batch)
    assert len(sizes) == len(config.layers) and min(sizes) > 0.5 and max(sizes) < 2
    assert min(feature_sizes(untrained(average.model_copy(update={"neighbor_gain": 1.0})), batch)) < 0.5
    undivided = {"neighbor_normalization": "none", "neighbor_gain": 1.0}
    assert max(feature_sizes(untrained(average.model_copy(update=undivided)), batch)) > 10


def test_the_sizes_are_of_the_features_and_leave_no_hook():
    config = clebsch(elements=ELEMENTS, size="S")
    potential, batch = untrained(config), acetone(config.r_max)
    sizes = feature_sizes(potential, batch)
    assert sizes == feature_sizes(potential, batch) and len(sizes) == 2
    last = torch.nn.ModuleList(m for m in potential.modules() if type(m).__name__ == "Layer")[-1]
    kept = []
    last.register_forward_hook(lambda *call: kept.append(call[2][0]))
    potential(batch, forces=False)
    assert sizes[-1] == pytest.approx(float(kept[0].square().mean().sqrt()))
    assert all(not module._forward_hooks for module in potential.modules() if module is not last)
