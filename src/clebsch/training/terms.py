"""Penalties on what is not in the data, which a run adds to its loss in some of the steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from clebsch.data import Graph, some_of
from clebsch.models.potential import Potential
from clebsch.training.config import TrainConfig
from clebsch.training.dimers import DimerPrior


@runtime_checkable
class LossTerm(Protocol):
    """A penalty; ``weight`` times its value is part of the training loss, not of the validation loss."""

    @property
    def name(self) -> str:
        """Of its part of the loss, ``train_loss_…`` in the metrics."""
        ...

    @property
    def weight(self) -> float:
        """Factor on its value."""
        ...

    @property
    def diagnosis(self) -> str:
        """What to say, and the cure, if its value alone is not finite."""
        ...

    def acts(self, step: int) -> bool:
        """Whether it is part of the loss of ``step``."""
        ...

    def value(self, potential: Potential, step: int) -> Float[Tensor, ""]:
        """Return its value, which follows from the weights and ``step`` alone; differentiable by the weights."""
        ...


def loss_terms(config: TrainConfig, potential: Potential, train: Sequence[Graph], seed: int) -> tuple[LossTerm, ...]:
    """Return the terms that ``config`` asks for."""
    return (DimerPrior(potential, some_of(train), config.dimer_weight, seed),) if config.dimer_weight else ()
