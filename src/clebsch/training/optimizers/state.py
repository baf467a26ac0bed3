"""The learning rate and the state of an optimiser, by parameter name."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from clebsch.training.optimizers.settings import trainable_parameters


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Set the learning rate of every parameter group."""
    for group in optimizer.param_groups:
        group["lr"] = lr


def optimizer_tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """Return the state of ``optimizer`` as ``<parameter name>.<moment>`` tensors."""
    return {
        f"{name}.{moment}": value
        for name, parameter in trainable_parameters(model).items()
        for moment, value in optimizer.state[parameter].items()
    }


def load_optimizer_tensors(
    model: nn.Module, optimizer: torch.optim.Optimizer, tensors: Mapping[str, torch.Tensor]
) -> None:
    """Set the state of ``optimizer`` to what ``optimizer_tensors`` returned for the same model."""
    parameters = trainable_parameters(model)
    optimizer.state.clear()
    for full_name, value in tensors.items():
        name, _, moment = full_name.rpartition(".")
        parameter = parameters[name]
        optimizer.state[parameter][moment] = value.to(parameter.device).clone()
