"""Learning-rate schedules and loss-weight stages."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import Field

from clebsch.config import StrictConfig, keys_of_table
from clebsch.data.quantities import QUANTITIES
from clebsch.training.loss import LossConfig


class _WarmUp(StrictConfig):
    warmup_epochs: float = Field(default=0.0, ge=0)


class Constant(_WarmUp):
    """Factor 1 after a linear warm-up over ``warmup_epochs``."""

    kind: Literal["constant"] = "constant"


class Plateau(_WarmUp):
    """Multiply the factor by ``factor`` after ``patience`` epochs in a row without a better validation."""

    kind: Literal["plateau"] = "plateau"
    factor: float = Field(default=0.8, gt=0, lt=1)
    patience: int = Field(default=50, ge=1)
    min_factor: float = Field(default=1e-4, ge=0, lt=1)


class Cosine(_WarmUp):
    """Half a cosine from 1 at the end of the warm-up to ``final_factor`` at ``max_epochs``, step by step."""

    kind: Literal["cosine"] = "cosine"
    final_factor: float = Field(default=0.01, ge=0, le=1)


class Exponential(_WarmUp):
    """Multiply the factor by ``decay`` in every epoch, evenly over its steps."""

    kind: Literal["exponential"] = "exponential"
    decay: float = Field(default=0.999, gt=0, le=1)


ScheduleConfig = Annotated[Constant | Plateau | Cosine | Exponential, Field(discriminator="kind")]
Extension = Literal["stretch", "restart"]


class StageConfig(keys_of_table({f"{name}_weight": (float | None, Field(default=None, ge=0)) for name in QUANTITIES})):
    """Loss weights (None keeps the first ones) and a factor on the rate, from the fraction ``start`` of all epochs."""

    start: float = Field(gt=0, lt=1)
    lr_factor: float = Field(default=1.0, gt=0)

    def loss_config(self, base: LossConfig) -> LossConfig:
        """Return ``base`` with the weights of this stage."""
        changes = self.model_dump(exclude={"start", "lr_factor"}, exclude_none=True)
        return LossConfig(**{**base.model_dump(), **changes})


def stage_at(stages: tuple[StageConfig, ...], epoch: int, max_epochs: int, used: float = 0.0) -> int:
    """Return the number of ``stages`` (sorted by start) that have begun when ``epoch`` epochs are complete.

    Those have too that begin before the fraction ``used`` of the time, if the stages are to come in it.
    """
    return sum(epoch >= stage.start * max_epochs or used >= stage.start for stage in stages)


class Schedule:
    """Factor on the learning rate as a function of the epochs done, with the counters that a plateau needs.

    Args:
        config: one of ``Constant``, ``Plateau``, ``Cosine``, ``Exponential``.
        max_epochs: length of the training, in epochs.

    Attributes:
        restarts: epochs at which a cosine begins anew, where a run was extended by another cycle.
    """

    def __init__(self, config: Constant | Plateau | Cosine | Exponential, max_epochs: int) -> None:
        self.config = config
        self.max_epochs = max_epochs
        self.reduction = 1.0
        self.stale_epochs = 0
        self.restarts: list[int] = []

    @property
    def first_cycle(self) -> int:
        """Epochs of the training before it was extended by further cycles."""
        return self.restarts[0] if self.restarts else self.max_epochs

    def extend(self, epochs: int, how: Extension) -> None:
        """Turn the schedule of a run of ``epochs`` epochs into that of ``max_epochs``.

        Without a restart the last cycle is what it would have been with the new length from its start.
        """
        if how == "restart":
            self.restarts.append(epochs)

    def factor(self, epochs: float, used: float = 0.0) -> float:
        """Return the factor after ``epochs`` epochs, or farther on.

        Args:
            epochs: epochs done; the fraction says how far the running one has come.
            used: fraction of the way from the end of the warm-up to that of a cosine, if time has brought it farther.
        """
        config, length = self.config, self.max_epochs
        if isinstance(config, Cosine):
            begin, end = next((cycle for cycle in self._cycles() if epochs <= cycle[1]), self._cycles()[-1])
            epochs, length = epochs - begin, end - begin
        warm_up = min(1.0, epochs / config.warmup_epochs) if config.warmup_epochs > 0 else 1.0
        if isinstance(config, Cosine):
            falling = max(length - config.warmup_epochs, 1e-12)
            done = max(used, min(1.0, max(0.0, epochs - config.warmup_epochs) / falling))
            shape = config.final_factor + (1 - config.final_factor) * 0.5 * (1 + math.cos(math.pi * done))
        elif isinstance(config, Exponential):
            shape = config.decay ** max(0.0, epochs - config.warmup_epochs)
        else:
            shape = self.reduction
        return warm_up * shape

    def end_epoch(self, improved: bool) -> None:
        """Count an epoch whose validation was, or was not, the best so far."""
        self.stale_epochs = 0 if improved else self.stale_epochs + 1
        if isinstance(self.config, Plateau) and self.stale_epochs >= self.config.patience:
            self.reduction = max(self.reduction * self.config.factor, self.config.min_factor)
            self.stale_epochs = 0

    def _cycles(self) -> list[tuple[int, int]]:
        return list(pairwise([0, *self.restarts, self.max_epochs]))

    def state_dict(self) -> dict[str, Any]:
        """Return the counters as JSON content."""
        restarts = {"restarts": self.restarts} if self.restarts else {}
        return {"reduction": self.reduction, "stale_epochs": self.stale_epochs, **restarts}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what ``state_dict`` returned."""
        self.reduction = state["reduction"]
        self.stale_epochs = int(state["stale_epochs"])
        self.restarts = list(state.get("restarts", []))
