"""What is watched in the steps of a training: sizes of gradients and updates, and losses that jump."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from clebsch.config import StrictConfig
from clebsch.errors import ClebschError

WINDOW, FEWEST = 50, 10  # steps that the median is of, at most and at least


class SpikeConfig(StrictConfig):
    """What is done about a batch whose loss is far above those before it.

    Attributes:
        factor: a spike is a loss of more than ``factor`` times the median of the last 50 steps; ten are needed.
        action: ``none`` does not look; ``skip`` takes no step on the batch; ``raise`` stops with an error and a
            checkpoint.
    """

    factor: float = Field(default=10.0, gt=1)
    action: Literal["none", "skip", "raise"] = "none"


class SpikeError(ClebschError):
    """The loss of a batch is far above those of the steps before; no step was taken.

    Args:
        step: number of the step.
        loss: loss of its batch.
        usual: median of the losses before.
        origins: configurations of the batch.
    """

    def __init__(self, step: int, loss: float, usual: float, origins: Sequence[str]) -> None:
        self.loss, self.origins = loss, tuple(origins)
        self.found = f"the loss of step {step}, {loss:.4g}, is {loss / usual:.0f} times the median of the steps before"
        super().__init__(
            f"T{self.found[1:]}. The batch holds {', '.join(origins)}. No step was taken, and the checkpoint is of the "
            "state before it. Check these configurations, or go on with train.spike.action=skip, or none."
        )


def loss_of_data(parts: Mapping[str, Tensor], fitted: Sequence[str]) -> float:
    """Return the loss without the terms that need no data, which are not in every step."""
    return sum(parts[name].item() for name in fitted)


def usual_loss(losses: Sequence[float]) -> float | None:
    """Return the median of the ``losses`` of the last steps, None where they are too few."""
    return median(losses) if len(losses) >= FEWEST else None


def with_loss(losses: Sequence[float], loss: float) -> list[float]:
    """Return the losses of the last steps with one more; spikes too, so that a lasting change becomes the usual."""
    return [*losses, loss][-WINDOW:]


def gradient_norm(parameters: Sequence[nn.Parameter], clip: float | None) -> Tensor:
    """Return the norm of all gradients, which are then scaled to at most ``clip`` if that is not None."""
    if clip is not None:
        return nn.utils.clip_grad_norm_(parameters, clip)
    return nn.utils.get_total_norm([parameter.grad for parameter in parameters if parameter.grad is not None])


@torch.no_grad()
def update_ratio(before: Sequence[Tensor], parameters: Sequence[nn.Parameter]) -> float:
    """Return |Δw| / |w| of the weights ``before`` a step and after it."""
    changes = [parameter - old for parameter, old in zip(parameters, before, strict=True)]
    norm = nn.utils.get_total_norm(before).item()
    return nn.utils.get_total_norm(changes).item() / norm if norm else 0.0
