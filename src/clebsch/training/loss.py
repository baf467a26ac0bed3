"""The loss: weighted mean squares (or Huber penalties) of energy per atom, forces, stress and other quantities."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import torch
from pydantic import Field, model_validator

from clebsch.config import keys_of_table
from clebsch.data import QUANTITIES, Batch, Graph
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


def loss(prediction: Prediction, batch: Batch, config: LossConfig) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Return the loss of one batch and its weighted parts, which sum to it.

    L = w_E mean_graphs p((E - E_ref) / N) + w_F mean_components p(F - F_ref) + w_S mean_components p(S - S_ref) + …,
    with p(d) = d^2, or the Huber penalty that equals d^2 near zero.

    Args:
        prediction: energies [graphs] eV, forces [atoms, 3] eV/Å, stress [graphs, 3, 3] eV/Å^3, …; float64 energies.
        batch: the labels, in the same shapes and units.
        config: weights and penalty.

    Raises:
        DataError: a quantity with a weight has no label in the batch, or is not predicted.
    """
    parts = {
        quantity: config.weight(quantity) * penalty(residual(quantity, prediction, batch), quantity, config).mean()
        for quantity in config.fitted
    }
    total = torch.stack(list(parts.values())).sum()
    return total, {quantity: part.detach() for quantity, part in parts.items()}


def residual(quantity: str, prediction: Prediction, batch: Batch) -> torch.Tensor:
    """Return predicted minus reference values of ``quantity``, subtracted in float64; per atom if extensive."""
    predicted, reference = prediction.get(quantity), batch.labels.get(quantity)
    if reference is None:
        raise DataError(f"The batch has no {quantity} labels to compare with. Label it, or set {quantity}_weight to 0.")
    if predicted is None:
        raise DataError(f"The potential predicts no {quantity}. Use one that does, or set {quantity}_weight to 0.")
    difference = predicted - reference
    if not QUANTITIES[quantity].per_atom:
        return difference
    return difference / batch.num_atoms.reshape(-1, *[1] * (difference.dim() - 1))


def penalty(difference: torch.Tensor, quantity: str, config: LossConfig) -> torch.Tensor:
    """Return d^2, or for ``huber`` d^2 up to delta and delta (2 |d| - delta) beyond it, element by element."""
    if config.kind == "mse":
        return difference.square()
    delta = getattr(config, f"{quantity}_huber_delta")
    return 2 * torch.nn.functional.huber_loss(difference, torch.zeros_like(difference), reduction="none", delta=delta)


def require_labels(graphs: Iterable[Graph], config: LossConfig, name: str) -> None:
    """Raise DataError, naming the origin, where a graph of the set ``name`` lacks a label that has a weight."""
    for graph in graphs:
        for quantity in config.fitted:
            if quantity not in graph.labels:
                raise DataError(
                    f"{quantity}_weight is {config.weight(quantity):g}, but {graph.origin} of the {name} set "
                    f"has no {quantity} label. Label it, give the key of its label, leave it out, "
                    f"or set {quantity}_weight to 0."
                )
