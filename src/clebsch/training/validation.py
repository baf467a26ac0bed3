"""Loss and errors of a potential on a validation set."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from clebsch.data import Graph, collate
from clebsch.models.potential import Potential
from clebsch.training.loss import QUANTITIES, LossConfig, penalty, residual

_UNITS = {"energy": "meV_per_atom", "forces": "meV_per_angstrom", "stress": "meV_per_angstrom3"}


def metric_name(quantity: str) -> str:
    """Return the name of the root mean square error of ``quantity``, with its unit."""
    return f"{quantity}_rmse_{_UNITS[quantity]}"


def labelled_quantities(graphs: Sequence[Graph], config: LossConfig) -> tuple[str, ...]:
    """Return what is compared: the fitted ones, and energy and forces where all graphs have them."""
    present = [quantity for quantity in QUANTITIES if all(getattr(graph, quantity) is not None for graph in graphs)]
    return tuple(quantity for quantity in present if quantity != "stress" or quantity in config.fitted)


def validate(
    potential: Potential, graphs: Sequence[Graph], batches: Sequence[Sequence[int]], config: LossConfig
) -> dict[str, float]:
    """Return ``loss`` and the root mean square errors of ``potential`` over ``graphs``.

    Means run over the whole set, so the result does not depend on how it is batched.

    Args:
        potential: the potential, with the weights to be judged.
        graphs: labelled graphs.
        batches: indices into ``graphs``; each index once.
        config: weights and penalty of the loss.

    Returns:
        ``loss`` and, for every labelled quantity, ``metric_name(quantity)``: meV/atom, meV/Å, meV/Å^3.
    """
    quantities = labelled_quantities(graphs, config)
    sums = torch.zeros(len(quantities), 3, dtype=torch.float64, device=potential.device)
    for indices in batches:
        sums += _batch_sums(potential, [graphs[index] for index in indices], quantities, config)
    totals = dict(zip(quantities, sums.tolist(), strict=True))
    parts = [config.weight(quantity) * totals[quantity][0] / totals[quantity][2] for quantity in config.fitted]
    errors = {
        metric_name(quantity): 1000 * math.sqrt(squares / count) for quantity, (_, squares, count) in totals.items()
    }
    return {"loss": sum(parts), **errors}


def _batch_sums(
    potential: Potential, graphs: Sequence[Graph], quantities: Sequence[str], config: LossConfig
) -> torch.Tensor:
    """Sum of penalties, sum of squares and number of residuals, one row per quantity."""
    batch = collate(graphs).to(potential.device)
    prediction = potential(batch, forces="forces" in quantities, stress="stress" in quantities)
    rows = []
    for quantity in quantities:
        difference = residual(quantity, prediction, batch).detach().double()
        penalties = penalty(difference, quantity, config)
        rows.append(torch.stack([penalties.sum(), difference.square().sum(), torch.ones_like(penalties).sum()]))
    return torch.stack(rows)
