"""What optimisers have in common: a learning rate, the trainable parameters, and Adam's moments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import nn

from clebsch.config import StrictConfig

Decay = Annotated[float, Field(ge=0, lt=1)]


class OptimizerSettings(StrictConfig):
    """Settings of an optimiser; every kind is a subclass with its options.

    Attributes:
        kind: name of the kind.
        lr: learning rate at factor 1 of the schedule.
    """

    kind: str
    lr: float = Field(default=0.01, gt=0)

    def build(self, model: nn.Module) -> torch.optim.Optimizer:
        """Return the optimiser of the trainable parameters of ``model``."""
        raise NotImplementedError


class Moments(OptimizerSettings):
    """Settings of Adam's steps.

    Attributes:
        betas: decay rates of the first and second moment.
        eps: added to the root of the second moment.
        amsgrad: divide by the largest second moment seen so far (Reddi et al., arXiv 1904.09237).
    """

    betas: tuple[Decay, Decay] = (0.9, 0.999)
    eps: float = Field(default=1e-8, gt=0)
    amsgrad: bool = True

    def moments(self, parameters: Sequence[nn.Parameter]) -> dict[str, Any]:
        """Arguments of torch's Adam for ``parameters``."""
        # One fused loop over all parameters: several times faster than one call per tensor, also on the CPU.
        fused = all(parameter.device.type in ("cpu", "cuda") for parameter in parameters)
        return {"betas": self.betas, "eps": self.eps, "amsgrad": self.amsgrad, "fused": fused}


def trainable_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return the parameters of ``model`` that ask for gradients, by name and in the order of the model."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
