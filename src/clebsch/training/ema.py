"""Exponential moving average of the parameters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from clebsch.training.optimizers import trainable_parameters


class ExponentialMovingAverage:
    """Running average of the trainable parameters of a model, updated after every step.

    a <- d a + (1 - d) p with d = min(decay, (1 + n) / (10 + n)) after n updates, so that early weights are
    forgotten fast. With ``decay`` 0 the average is the parameters themselves.

    Args:
        model: module whose parameters are averaged; the average starts at their present values.
        decay: weight of the past, in [0, 1).
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.num_updates = 0
        self._parameters = trainable_parameters(model)
        self.average = {name: parameter.detach().clone() for name, parameter in self._parameters.items()}

    def update(self) -> None:
        """Move the average towards the present parameters."""
        decay = min(self.decay, (1 + self.num_updates) / (10 + self.num_updates))
        self.num_updates += 1
        move = get_ema_multi_avg_fn(decay)
        move(list(self.average.values()), list(self._parameters.values()), self.num_updates)

    @contextmanager
    def applied(self, model: nn.Module) -> Iterator[None]:
        """Give ``model`` the averaged parameters inside the ``with`` block and its own ones after it, bit for bit."""
        own = {name: parameter.detach().clone() for name, parameter in trainable_parameters(model).items()}
        copy_parameters(self.average, model)
        try:
            yield
        finally:
            copy_parameters(own, model)

    def load(self, average: Mapping[str, torch.Tensor], num_updates: int) -> None:
        """Restore ``average`` and ``num_updates`` as they were saved."""
        for name, value in self.average.items():
            value.copy_(average[name])
        self.num_updates = num_updates


@torch.no_grad()
def copy_parameters(values: Mapping[str, torch.Tensor], model: nn.Module) -> None:
    """Copy ``values`` into the trainable parameters of ``model`` of the same names."""
    parameters = trainable_parameters(model)
    for name, value in values.items():
        parameters[name].copy_(value)
