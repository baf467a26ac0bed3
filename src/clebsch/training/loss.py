"""The loss: weighted mean squares (or Huber penalties) of energy per atom, forces and stress."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import torch
from pydantic import Field, model_validator

from clebsch.config import StrictConfig
from clebsch.data import Batch, Graph
from clebsch.errors import DataError
from clebsch.models.potential import Prediction

QUANTITIES = ("energy", "forces", "stress")


class LossConfig(StrictConfig):
    """Weights of the loss and the penalty of a residual.

    Attributes:
        energy_weight: weight of the energy per atom, (eV/atom)^-2.
        forces_weight: weight of a force component, (eV/Å)^-2.
        stress_weight: weight of a stress component, (eV/Å^3)^-2.
        kind: ``mse`` (d^2) or ``huber`` (d^2 up to delta, delta (2 |d| - delta) beyond it).
        energy_huber_delta: eV/atom.
        forces_huber_delta: eV/Å.
        stress_huber_delta: eV/Å^3.
    """

    energy_weight: float = Field(default=1.0, ge=0)
    forces_weight: float = Field(default=100.0, ge=0)
    stress_weight: float = Field(default=0.0, ge=0)
    kind: Literal["mse", "huber"] = "mse"
    energy_huber_delta: float = Field(default=0.01, gt=0)
    forces_huber_delta: float = Field(default=0.1, gt=0)
    stress_huber_delta: float = Field(default=0.01, gt=0)

    @model_validator(mode="after")
    def _something_is_fitted(self) -> LossConfig:
        if not self.fitted:
            raise ValueError("one of energy_weight, forces_weight and stress_weight must be positive")
        return self

    def weight(self, quantity: str) -> float:
        """Weight of ``energy``, ``forces`` or ``stress``."""
        return getattr(self, f"{quantity}_weight")

    @property
    def fitted(self) -> tuple[str, ...]:
        """The quantities with a positive weight."""
        return tuple(quantity for quantity in QUANTITIES if self.weight(quantity) > 0)


def loss(prediction: Prediction, batch: Batch, config: LossConfig) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Return the loss of one batch and its weighted parts, which sum to it.

    L = w_E mean_graphs p((E - E_ref) / N) + w_F mean_components p(F - F_ref) + w_S mean_components p(S - S_ref),
    with p(d) = d^2, or the Huber penalty that equals d^2 near zero.

    Args:
        prediction: energies [graphs] eV, forces [atoms, 3] eV/Å, stress [graphs, 3, 3] eV/Å^3; float64 energies.
        batch: the labels, in the same shapes and units.
        config: weights and penalty.

    Raises:
        DataError: a quantity with a weight has no label in the batch.
    """
    parts = {
        quantity: config.weight(quantity) * penalty(residual(quantity, prediction, batch), quantity, config).mean()
        for quantity in config.fitted
    }
    total = torch.stack(list(parts.values())).sum()
    return total, {quantity: part.detach() for quantity, part in parts.items()}


def residual(quantity: str, prediction: Prediction, batch: Batch) -> torch.Tensor:
    """Return predicted minus reference values of ``quantity``; energies per atom, subtracted in float64."""
    predicted, reference = getattr(prediction, quantity), getattr(batch, quantity)
    if reference is None:
        raise DataError(f"The batch has no {quantity} labels to compare with. Label it, or set {quantity}_weight to 0.")
    difference = predicted - reference
    return difference / batch.num_atoms if quantity == "energy" else difference


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
            if getattr(graph, quantity) is None:
                raise DataError(
                    f"{quantity}_weight is {config.weight(quantity):g}, but {graph.origin} of the {name} set "
                    f"has no {quantity} label. Label it, give the key of its label, leave it out, "
                    f"or set {quantity}_weight to 0."
                )
