"""Loss and errors of a potential on a validation set."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from clebsch.data import QUANTITIES, Graph, labelled
from clebsch.evaluation.accuracy import accuracy
from clebsch.models.potential import Potential
from clebsch.training.distributed import ALONE, World
from clebsch.training.division import compare_divided
from clebsch.training.loss import LossConfig, penalty


def labelled_quantities(graphs: Sequence[Graph], config: LossConfig) -> tuple[str, ...]:
    """Return what is compared: what graphs have labels of and is fitted, here or where a recipe says nothing."""
    present = [name for name in QUANTITIES if labelled(graphs, name).any()]
    return tuple(name for name in present if QUANTITIES[name].weight > 0 or name in config.fitted)


def validate(
    potential: Potential,
    graphs: Sequence[Graph],
    batches: Sequence[Sequence[int]],
    config: LossConfig,
    world: World = ALONE,
) -> dict[str, float]:
    """Return ``loss`` and the root mean square errors of ``potential`` over ``graphs``.

    Means run over all labels of the set, so the result does not depend on how it is batched, nor on weights of
    configurations.

    Args:
        potential: the potential, with the weights to be judged.
        graphs: labelled graphs.
        batches: indices into ``graphs``; each index once.
        config: weights and penalty of the loss.
        world: the processes that divide the batches.

    Returns:
        ``loss`` and, for every labelled quantity, its ``validation_metric``: meV/atom, meV/Å, meV/Å^3.
    """
    parts = ([graphs[index] for index in indices] for indices in batches)
    comparison = compare_divided(world, potential, parts, labelled_quantities(graphs, config))
    loss = 0.0
    for name in config.fitted:
        residual = comparison.error(name, per_atom=QUANTITIES[name].per_atom)
        there = torch.from_numpy(residual[~np.isnan(comparison.labels[name])])
        loss += config.weight(name) * penalty(there, name, config).mean().item()
    found = accuracy(comparison)
    metrics = [QUANTITIES[name].validation_metric for name in comparison.predictions]
    return {"loss": loss, **{metric: found[metric] for metric in metrics}}
