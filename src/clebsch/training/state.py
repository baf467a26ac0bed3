"""Everything a training run carries from one step to the next."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from clebsch.data import BatchSampler
from clebsch.models.potential import Potential
from clebsch.models.tensor_file import with_prefix, without_prefix
from clebsch.training.distributed import ALONE, World
from clebsch.training.ema import ExponentialMovingAverage
from clebsch.training.optimizers import load_optimizer_tensors, optimizer_tensors
from clebsch.training.schedules import Schedule
from clebsch.training.terms import LossTerm


@dataclass
class Progress:
    """Counters of a training run.

    Attributes:
        epoch: epochs completed.
        batch: batches done in the running epoch.
        step: optimiser steps, those included that were skipped.
        stage: loss-weight stages begun.
        seconds: wall time spent training, over all resumed parts.
        best_epoch: epoch with the best validation of this stage; None before the first validation.
        best_validation: its value of the metric that selects the best.
        resumed_with: what the arithmetic of this part of the run differs in from that before, until an epoch's record
            says so.
        skipped: steps of the running epoch that were skipped because the loss had jumped.
        losses: of the last steps, where jumps are looked for (`SpikeConfig`).
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0
    stage: int = 0
    seconds: float = 0.0
    best_epoch: int | None = None
    best_validation: float | None = None
    resumed_with: list[str] = field(default_factory=list)
    skipped: int = 0
    losses: list[float] = field(default_factory=list)


@dataclass
class TrainingState:
    """The objects of a training run; ``tensors`` and ``counters`` together are a complete checkpoint.

    Attributes:
        potential: the potential, with the weights of the last step.
        optimizer: its optimiser.
        ema: averaged weights.
        schedule: learning-rate schedule.
        sampler: batches of every epoch; their order follows from the seed and the epoch alone.
        terms: penalties on what is not in the data.
        progress: counters.
        best: averaged weights of the best epoch.
        loss_sums: weighted parts of the training loss, summed over the batches of the running epoch.
        gradient_norms: sum and maximum over the steps of the running epoch, before clipping.
        observed: what the record of an epoch says about its steps.
        named: configurations of batches with a loss that has jumped, of which a line has told.
        world: the processes that train together; all of them have the same state.
    """

    potential: Potential
    optimizer: torch.optim.Optimizer
    ema: ExponentialMovingAverage
    schedule: Schedule
    sampler: BatchSampler
    terms: tuple[LossTerm, ...] = ()
    progress: Progress = field(default_factory=Progress)
    best: dict[str, torch.Tensor] = field(default_factory=dict)
    loss_sums: dict[str, torch.Tensor] = field(default_factory=dict)
    gradient_norms: torch.Tensor = field(default_factory=lambda: torch.zeros(2, dtype=torch.float64))
    observed: dict[str, float] = field(default_factory=dict)
    named: set[str] = field(default_factory=set)
    world: World = ALONE

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return weights, buffers, averages, best weights, optimiser moments and the sums of the running epoch."""
        return {
            **with_prefix("model", self.potential.state_dict()),
            **with_prefix("ema", self.ema.average),
            **with_prefix("best", self.best),
            **with_prefix("optimizer", optimizer_tensors(self.potential, self.optimizer)),
            **with_prefix("loss_sums", self.loss_sums),
            "gradient.norms": self.gradient_norms,
        }

    def arithmetic(self) -> dict[str, Any]:
        """Return what changes the last bits of the numbers, so that only with the same a resumed run repeats them."""
        potential = self.potential
        return {
            "backend": potential.backend,
            "threads": torch.get_num_threads(),
            "device": str(potential.device),
            "dtype": str(potential.dtype).removeprefix("torch."),
            "processes": self.world.size,
        }

    def counters(self) -> dict[str, Any]:
        """Return progress, schedule and averaging counters as JSON content."""
        return {
            "progress": asdict(self.progress),
            "schedule": self.schedule.state_dict(),
            "ema_updates": self.ema.num_updates,
        }

    def restore(self, tensors: Mapping[str, torch.Tensor], counters: Mapping[str, Any]) -> None:
        """Set everything to what ``tensors`` and ``counters`` returned when they were saved."""
        device = self.potential.device
        self.potential.load_state_dict(without_prefix("model", tensors))
        self.ema.load(without_prefix("ema", tensors), counters["ema_updates"])
        self.best = {name: value.to(device) for name, value in without_prefix("best", tensors).items()}
        load_optimizer_tensors(self.potential, self.optimizer, without_prefix("optimizer", tensors))
        self.loss_sums = {name: value.to(device) for name, value in without_prefix("loss_sums", tensors).items()}
        self.gradient_norms = tensors.get("gradient.norms", self.gradient_norms).to(device)  # of earlier versions: none
        self.progress = Progress(**counters["progress"])
        self.schedule.load_state_dict(counters["schedule"])

    def synchronize(self) -> None:
        """Take the state of the first process."""
        tensors, counters = self.world.broadcast(self.tensors()), self.world.share(self.counters())
        if not self.world.first:
            self.restore(tensors, counters)

    def require_equal_weights(self) -> None:
        """Raise DataError unless weights and averages are, bit for bit, those of the first process."""
        self.world.require_same(
            lambda: {f"the weights after epoch {self.progress.epoch}": self._digest()},
            "Let all processes run the same versions on machines of one kind, and start again.",
        )

    def _digest(self) -> str:
        digest = hashlib.sha256()
        for value in (*self.potential.state_dict().values(), *self.ema.average.values()):
            digest.update(value.cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()
