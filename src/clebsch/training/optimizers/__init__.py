"""Optimisers; a file for each."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from clebsch.config import DefaultForm
from clebsch.training.optimizers.adam import Adam, AdamW
from clebsch.training.optimizers.muon import Muon
from clebsch.training.optimizers.settings import trainable_parameters
from clebsch.training.optimizers.state import load_optimizer_tensors, optimizer_tensors, set_lr

OptimizerConfig = Annotated[Adam | AdamW | Muon, Field(discriminator="kind"), DefaultForm("adam")]

__all__ = [
    "Adam",
    "AdamW",
    "Muon",
    "OptimizerConfig",
    "load_optimizer_tensors",
    "optimizer_tensors",
    "set_lr",
    "trainable_parameters",
]
