"""Adam, AdamW and Muon, and their state by parameter name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, model_validator
from torch import nn

from clebsch.config import StrictConfig
from clebsch.training.muon import Muon, mixing_matrices

Decay = Annotated[float, Field(ge=0, lt=1)]


class OptimizerConfig(StrictConfig):
    """Settings of the optimiser.

    Attributes:
        kind: ``adam`` (decay is part of the gradient), ``adamw`` (decoupled decay), or ``muon`` (orthogonal steps of
            the channel-mixing matrices, Adam for the rest).
        lr: learning rate at factor 1 of the schedule.
        betas: decay rates of the first and second moment.
        eps: added to the root of the second moment.
        weight_decay: decay of parameters with two or more dimensions; biases and scales are never decayed.
        amsgrad: divide by the largest second moment seen so far (Reddi et al., arXiv 1904.09237).
        momentum: of ``muon``'s matrices.
    """

    kind: Literal["adam", "adamw", "muon"] = "adam"
    lr: float = Field(default=0.01, gt=0)
    betas: tuple[Decay, Decay] = (0.9, 0.999)
    eps: float = Field(default=1e-8, gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    amsgrad: bool = True
    momentum: Decay = 0.95

    @model_validator(mode="after")
    def _muon_has_no_decay(self) -> OptimizerConfig:
        if self.kind == "muon" and self.weight_decay:
            raise ValueError("weight_decay is for adam and adamw; set it to 0 with muon")
        return self


def trainable_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return the parameters of ``model`` that ask for gradients, by name and in the order of the model."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def build_optimizer(model: nn.Module, config: OptimizerConfig) -> torch.optim.Optimizer:
    """Return the optimiser of the trainable parameters of ``model``, in groups with and without weight decay."""
    parameters = list(trainable_parameters(model).values())
    # One fused loop over all parameters: several times faster than one call per tensor, also on the CPU.
    fused = all(parameter.device.type in ("cpu", "cuda") for parameter in parameters)
    moments: dict[str, Any] = {"betas": config.betas, "eps": config.eps, "amsgrad": config.amsgrad, "fused": fused}
    if config.kind == "muon":
        matrices = mixing_matrices(model)
        chosen = {id(parameter) for parameter in matrices}
        others = [parameter for parameter in parameters if id(parameter) not in chosen]
        return Muon(matrices, others, lr=config.lr, momentum=config.momentum, **moments)
    decayed = [parameter for parameter in parameters if parameter.dim() >= 2]
    kept = [parameter for parameter in parameters if parameter.dim() < 2]
    groups = [
        {"params": group, "weight_decay": decay}
        for group, decay in ((decayed, config.weight_decay), (kept, 0.0))
        if group
    ]
    cls = torch.optim.Adam if config.kind == "adam" else torch.optim.AdamW
    return cls(groups, lr=config.lr, **moments)


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
