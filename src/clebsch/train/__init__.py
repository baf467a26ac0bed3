"""Gradient training: loss, optimisers, schedules, averaged weights, checkpoints and the loop."""

from __future__ import annotations

from clebsch.train.config import TrainConfig
from clebsch.train.loss import LossConfig
from clebsch.train.metrics import read_metrics
from clebsch.train.optimizers import Adam, AdamW, Muon, OptimizerConfig
from clebsch.train.schedules import Constant, Cosine, Exponential, Plateau, StageConfig
from clebsch.train.trainer import FitResult, NonFiniteLossError, fit

__all__ = [
    "Adam",
    "AdamW",
    "Constant",
    "Cosine",
    "Exponential",
    "FitResult",
    "LossConfig",
    "Muon",
    "NonFiniteLossError",
    "OptimizerConfig",
    "Plateau",
    "StageConfig",
    "TrainConfig",
    "fit",
    "read_metrics",
]
