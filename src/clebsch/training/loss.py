"""The loss: weighted mean squares (or Huber penalties) of energy per atom, forces, stress and other quantities."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import torch
from pydantic import Field, model_validator

from clebsch.config import keys_of_table
from clebsch.data import QUANTITIES, Batch, Graph, PackedGraphs, labelled
from clebsch.errors import DataError
from clebsch.models.potential import Prediction

_WEIGHTS = {f"{name}_weight": (float, Field(default=item.weight, ge=0)) for name, item in QUANTITIES.items()}
_DELTAS = {f"{name}_huber_delta": (float, Field(default=item.huber_delta, gt=0)) for name, item in QUANTITIES.items()}


class LossConfig(keys_of_table({**_WEIGHTS, **_DELTAS})):
    """Weights of the loss and the penalty of a residual.

    Every quantity of the table has a weight, ``energy_weight`` ((eV/atom)^-2), ``forces_weight`` ((eV/Å)^-2),
    ``stress_weight`` ((eV/Å^3)^-2), ``dipole_weight`` ((e Å/atom)^-2), and for ``huber`` a delta,
    ``energy_huber_delta`` (eV/atom) and so on.

    Attributes:
        kind: ``mse`` (d^2) or ``huber`` (d^2 up to delta, delta (2 |d| - delta) beyond it).
    """

    kind: Literal["mse", "huber"] = "mse"

    @model_validator(mode="after")
    def _something_is_fitted(self) -> LossConfig:
        if not self.fitted:
            *others, last = _WEIGHTS
            raise ValueError(f"one of {', '.join(others)} and {last} must be positive")
        return self

    def weight(self, quantity: str) -> float:
        """Weight of a quantity."""
        return getattr(self, f"{quantity}_weight")

    @property
    def fitted(self) -> tuple[str, ...]:
        """The quantities with a positive weight."""
        return tuple(quantity for quantity in QUANTITIES if self.weight(quantity) > 0)


def loss(
    prediction: Prediction, batch: Batch, config: LossConfig, counts: Mapping[str, int] | None = None
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Return the loss of one batch and its weighted parts, which sum to it.

    L = w_E mean_graphs a p((E - E_ref) / N) + w_F mean_components a p(F - F_ref) + w_S mean_components a p(S - S_ref)
    + …, with p(d) = d^2, or the Huber penalty that equals d^2 near zero, and a the weight of the configuration. Means
    run over what has a label and a weight above zero; a quantity that nothing in the batch is labelled with adds zero.

    Args:
        prediction: energies [graphs] eV, forces [atoms, 3] eV/Å, stress [graphs, 3, 3] eV/Å^3, …; float64 energies.
        batch: the labels, in the same shapes and units, and the weights of the configurations.
        config: weights and penalty.
        counts: numbers of components that the means are over, by quantity, if the batch is a part of another
            (`count_components`): the losses of all parts then sum to that of the whole.

    Raises:
        DataError: the batch has no label of any quantity with a weight, or one that has is not predicted.
    """
    if not any(quantity in batch.labels for quantity in config.fitted):
        names = ", ".join(config.fitted)
        raise DataError(f"The batch has no labels of what is fitted ({names}). Label it, or change the weights.")
    parts = {
        quantity: config.weight(quantity) * _mean(quantity, prediction, batch, config, counts)
        if quantity in batch.labels
        else prediction.energy.new_zeros(())
        for quantity in config.fitted
    }
    total = torch.stack(list(parts.values())).sum()
    return total, {quantity: part.detach() for quantity, part in parts.items()}


def count_components(graphs: Sequence[Graph], indices: Sequence[int], config: LossConfig) -> dict[str, int]:
    """Return how many components of every fitted quantity have a label and a weight above zero in some ``graphs``."""
    if isinstance(graphs, PackedGraphs):
        found = {name: [(graphs.num_atoms[i], graphs.counted[name][i]) for i in indices] for name in config.fitted}
    else:
        found = {name: [(graphs[i].num_atoms, graphs[i].counts(name)) for i in indices] for name in config.fitted}
    return {
        name: sum(math.prod(QUANTITIES[name].shape(int(num_atoms))) for num_atoms, counts in pairs if counts)
        for name, pairs in found.items()
    }


def _mean(
    quantity: str, prediction: Prediction, batch: Batch, config: LossConfig, counts: Mapping[str, int] | None
) -> torch.Tensor:
    """Mean penalty over the components of what has a label, times the weights of the configurations."""
    difference, weights = residual(quantity, prediction, batch), batch.weights.get(quantity)
    if weights is None:
        values = penalty(difference, quantity, config)
        return values.mean() if counts is None else values.sum() / counts[quantity]
    if QUANTITIES[quantity].of == "atom":
        weights = weights.index_select(0, batch.graph_index)
    weights = weights.reshape(-1, *[1] * (difference.dim() - 1)).expand_as(difference)
    counted = weights > 0
    # What is not counted may be undefined, such as the stress of a molecule, and so may be its derivative.
    values = penalty(torch.where(counted, difference, 0.0), quantity, config)
    count = counted.sum().clamp(min=1) if counts is None else max(1, counts[quantity])
    return (weights * values).sum() / count


def residual(quantity: str, prediction: Prediction, batch: Batch) -> torch.Tensor:
    """Return predicted minus reference values of ``quantity``, subtracted in float64; per atom if extensive."""
    predicted = prediction.get(quantity)
    if predicted is None:
        raise DataError(f"The potential predicts no {quantity}. Use one that does, or set {quantity}_weight to 0.")
    difference = predicted - batch.labels[quantity]
    if not QUANTITIES[quantity].per_atom:
        return difference
    return difference / batch.num_atoms.reshape(-1, *[1] * (difference.dim() - 1))


def penalty(difference: torch.Tensor, quantity: str, config: LossConfig) -> torch.Tensor:
    """Return d^2, or for ``huber`` d^2 up to delta and delta (2 |d| - delta) beyond it, element by element."""
    if config.kind == "mse":
        return difference.square()
    delta = getattr(config, f"{quantity}_huber_delta")
    return 2 * torch.nn.functional.huber_loss(difference, torch.zeros_like(difference), reduction="none", delta=delta)


def require_labels(graphs: Sequence[Graph], config: LossConfig, name: str) -> None:
    """Raise DataError if no graph of the set ``name`` has a label that has a weight, or one has none of them at all."""
    for quantity in config.fitted:
        if not labelled(graphs, quantity).any():
            raise DataError(
                f"{quantity}_weight is {config.weight(quantity):g}, but no frame of the {name} set has {quantity} "
                f"labels, such as {graphs[0].origin}. Give the key of the label, or set {quantity}_weight to 0."
            )
    something = np.stack([labelled(graphs, quantity) for quantity in config.fitted]).any(axis=0)
    if not something.all():
        origin = graphs[int(something.argmin())].origin
        raise DataError(
            f"{origin} of the {name} set has no label of what is fitted ({', '.join(config.fitted)}). Label it, give "
            "the key of its label, or leave it out."
        )
