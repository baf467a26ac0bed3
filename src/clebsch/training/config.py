"""Settings of a training run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, model_validator

from clebsch.config import StrictConfig
from clebsch.data.quantities import FIRST, QUANTITIES
from clebsch.training.guards import SpikeConfig
from clebsch.training.loss import LossConfig
from clebsch.training.optimizers import Adam, OptimizerConfig
from clebsch.training.schedules import Constant, Cosine, Extension, ScheduleConfig, StageConfig

if TYPE_CHECKING:
    Metric = str
else:
    Metric = Literal[("loss", *(f"{name}_rmse" for name in QUANTITIES))]


MOST_DRAWS = 1000


class TrainConfig(StrictConfig):
    """Settings of a training run.

    Attributes:
        loss: weights and penalty.
        optimizer: Adam, AdamW or Muon, and its learning rate; Adam where no kind is given.
        schedule: factor on the learning rate over the epochs.
        stages: loss weights and rate factors that begin later in the run, by ascending start.
        batch_size: size of a batch, in ``batch_unit``.
        batch_unit: count ``configurations``, or ``atoms`` (at most ``batch_size`` of them in a batch).
        draws: how often a configuration is drawn in an epoch, by config_type or pattern of file names; 1 if nothing is
            said. ``{"cheap*.xyz": 0.1, surface: 3}`` draws a tenth of some, others in each epoch, and some three times.
        max_epochs: passes over the training set.
        extend: what becomes of a schedule or of stages whose shape depends on ``max_epochs`` if a run in its folder is
            given more of them: ``stretch`` goes on as if it had had the new number from its start, ``restart`` adds
            another cycle of the schedule and stays in the last stage.
        max_seconds: wall time of one call; the run then stops cleanly and can be resumed. None for no limit.
        anneal_in_time: let a cosine and stages come to their end within ``max_seconds``, which is then the time of the
            whole run, over all its calls: how far they are is the larger of the fractions of epochs done and of time
            used. When the time is over, the running epoch ends there and is validated. Such a run does not repeat.
        patience: stop after this many epochs without a better validation, also before a later stage; None to go on.
        best_by: validation metric that selects the weights which are kept.
        ema_decay: decay of the averaged weights that are validated and kept; 0 uses the weights themselves.
        dimer_weight: weight, (eV/Å)^-2, of the wrong forces between two atoms alone (`DimerPrior`), which are looked at
            in every fifth step, through all stages; part of the training loss, not of the validation loss. 0 for none.
        max_grad_norm: norm to which the gradient of the loss is clipped; None for no clipping.
        spike: what is done about a batch whose loss is far above those before it: nothing, unless it says so.
        checkpoint_seconds: shortest time between checkpoints, which are written after a step or an epoch.
    """

    loss: LossConfig = LossConfig()
    optimizer: OptimizerConfig = Adam()
    schedule: ScheduleConfig = Constant()
    stages: tuple[StageConfig, ...] = ()
    batch_size: int = Field(default=5, ge=1)
    batch_unit: Literal["configurations", "atoms"] = "configurations"
    draws: dict[str, Annotated[float, Field(gt=0, le=MOST_DRAWS)]] = {}
    max_epochs: int = Field(default=1000, ge=1)
    extend: Extension | None = None
    max_seconds: float | None = Field(default=None, gt=0)
    anneal_in_time: bool = False
    patience: int | None = Field(default=None, ge=1)
    best_by: Metric = "loss"
    ema_decay: float = Field(default=0.99, ge=0, lt=1)
    dimer_weight: float = Field(default=0.0, ge=0)
    max_grad_norm: float | None = Field(default=10.0, gt=0)
    spike: SpikeConfig = SpikeConfig()
    checkpoint_seconds: float = Field(default=60.0, ge=0)

    @model_validator(mode="after")
    def _stages_ascend(self) -> TrainConfig:
        starts = [stage.start for stage in self.stages]
        if starts != sorted(set(starts)):
            raise ValueError(f"stages must begin one after the other, got starts {starts}")
        for stage in self.stages:
            stage.loss_config(self.loss)
        return self

    @model_validator(mode="after")
    def _anneals(self) -> TrainConfig:
        if self.anneal_in_time and self.max_seconds is None:
            raise ValueError("anneal_in_time is true, but there is no max_seconds; give the time of the run")
        if self.anneal_in_time and not self.schedule_has_length and not self.stages:
            raise ValueError(
                f"anneal_in_time is true, but the schedule {self.schedule.kind} has no end; choose "
                "'schedule: {kind: cosine}', or leave anneal_in_time out"
            )
        return self

    def loss_config(self, stage: int) -> LossConfig:
        """Return the loss after ``stage`` stages have begun."""
        return self.stages[stage - 1].loss_config(self.loss) if stage else self.loss

    @property
    def fitted(self) -> tuple[str, ...]:
        """The quantities with a positive weight in any stage."""
        stages = [self.loss_config(stage).fitted for stage in range(len(self.stages) + 1)]
        return tuple(name for name in QUANTITIES if any(name in fitted for fitted in stages))

    @property
    def schedule_has_length(self) -> bool:
        """Whether the shape of the schedule depends on the number of epochs."""
        return isinstance(self.schedule, Cosine)

    def lr_factor(self, stage: int) -> float:
        """Return the factor on the learning rate after ``stage`` stages have begun."""
        return self.stages[stage - 1].lr_factor if stage else 1.0

    def course(self) -> dict[str, Any]:
        """Return, as JSON content, the settings that must not change when a run is resumed.

        Limits on time and patience may; the number of epochs too, unless the schedule or the stages depend on it
        (`extended_from`).
        """
        free: dict[str, Any] = dict.fromkeys(("max_seconds", "patience", "checkpoint_seconds", "extend", "spike"), True)
        if not self.schedule_has_length and not self.stages:
            free["max_epochs"] = True
        # What is not used is left out, so that runs begun before the key existed go on.
        free |= {key: True for key in ("dimer_weight", "draws", "anneal_in_time") if not getattr(self, key)}
        unused = [name for name in QUANTITIES if name not in (*FIRST, *self.fitted)]
        free["loss"] = {f"{name}_{setting}" for name in unused for setting in ("weight", "huber_delta")}
        free["stages"] = {"__all__": {f"{name}_weight" for name in unused}}
        return self.model_dump(mode="json", exclude=free)
