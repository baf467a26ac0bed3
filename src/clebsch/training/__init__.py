"""Gradient training: loss, optimisers, schedules, averaged weights, checkpoints and the loop."""

from __future__ import annotations

from clebsch.training.config import TrainConfig
from clebsch.training.guards import SpikeConfig, SpikeError
from clebsch.training.loss import LossConfig
from clebsch.training.metrics import read_metrics
from clebsch.training.optimizers import Adam, AdamW, Muon, OptimizerConfig
from clebsch.training.schedules import Constant, Cosine, Exponential, Plateau, StageConfig
from clebsch.training.trainer import FitResult, NonFiniteLossError, fit

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
    "SpikeConfig",
    "SpikeError",
    "StageConfig",
    "TrainConfig",
    "fit",
    "read_metrics",
]
