"""Adam and AdamW."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import nn

from clebsch.training.optimizers.settings import Moments, trainable_parameters


class _DecayedAdam(Moments):
    weight_decay: float = Field(default=0.0, ge=0)

    optimizer: ClassVar[type[torch.optim.Adam]]

    def build(self, model: nn.Module) -> torch.optim.Optimizer:
        """Return the optimiser of the trainable parameters of ``model``, in groups with and without weight decay."""
        parameters = list(trainable_parameters(model).values())
        decayed = [parameter for parameter in parameters if parameter.dim() >= 2]
        kept = [parameter for parameter in parameters if parameter.dim() < 2]
        groups = [
            {"params": group, "weight_decay": decay}
            for group, decay in ((decayed, self.weight_decay), (kept, 0.0))
            if group
        ]
        return self.optimizer(groups, lr=self.lr, **self.moments(parameters))


class Adam(_DecayedAdam):
    """Adam (arXiv 1412.6980), the decay part of the gradient.

    Attributes:
        weight_decay: decay of parameters with two or more dimensions; biases and scales are never decayed.
    """

    kind: Literal["adam"] = "adam"

    optimizer = torch.optim.Adam


class AdamW(_DecayedAdam):
    """Adam with decoupled decay (arXiv 1711.05101).

    Attributes:
        weight_decay: decay of parameters with two or more dimensions; biases and scales are never decayed.
    """

    kind: Literal["adamw"] = "adamw"

    optimizer = torch.optim.AdamW
