"""Gradient training: the loop over epochs, from labelled graphs to the best weights."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from clebsch.data import QUANTITIES, Batch, BatchSampler, Graph, collate
from clebsch.data.quantities import derivatives
from clebsch.errors import CheckpointError, ClebschError, ConfigError, DataError
from clebsch.files import explained
from clebsch.models.potential import Potential
from clebsch.progress import say
from clebsch.training.checkpoint import CHECKPOINT_NAME, has_checkpoint, load_newest, run_identity, save_checkpoint
from clebsch.training.config import TrainConfig
from clebsch.training.ema import ExponentialMovingAverage, copy_parameters
from clebsch.training.loss import LossConfig, loss, require_labels
from clebsch.training.metrics import EpochTable, MetricsFile, Record
from clebsch.training.optimizers import set_lr
from clebsch.training.schedules import Schedule, stage_at
from clebsch.training.signals import StopSignals
from clebsch.training.state import TrainingState
from clebsch.training.terms import loss_terms
from clebsch.training.validation import labelled_quantities, validate

if TYPE_CHECKING:
    from rich.console import Console

METRICS_NAME = "metrics.jsonl"


class NonFiniteLossError(ClebschError):
    """A loss, or the weights it has led to, is NaN or infinite."""


@dataclass(frozen=True)
class FitResult:
    """Outcome of a training run.

    Attributes:
        best_epoch: epoch whose averaged weights the potential now holds; None where the time ran out before the first.
        best_validation: its value of the selecting metric (loss, or error in meV/atom, meV/Å, meV/Å^3).
        history: one record per epoch, as in the metrics file.
        stopped_by: ``max_epochs``, ``max_seconds`` or ``patience``.
        seconds: wall time spent training, over all resumed parts.
    """

    best_epoch: int | None
    best_validation: float | None
    history: list[Record]
    stopped_by: str
    seconds: float


def fit(
    potential: Potential,
    train: Sequence[Graph],
    valid: Sequence[Graph],
    config: TrainConfig,
    directory: str | Path,
    *,
    seed: int = 0,
    console: Console | None = None,
    resume: bool = False,
) -> FitResult:
    """Train ``potential`` on ``train``; it ends with the averaged weights that are best on ``valid``.

    Args:
        potential: the potential, trained in place.
        train: training graphs (energies eV, forces eV/Å, stresses eV/Å^3).
        valid: validation graphs.
        config: settings.
        directory: folder of the checkpoints and the metrics file; made where missing.
        seed: seed of the shuffling and of the pairs of atoms that are drawn.
        console: where to print the epochs; None prints nothing.
        resume: go on from the checkpoint in ``directory``, exactly; without one, start.

    SIGINT, SIGTERM and SIGUSR1 stop the training after the running step: a checkpoint is written, and the program ends
    by KeyboardInterrupt or with exit status 128 + the number of the signal.

    Raises:
        DataError: an empty set, or a label that the loss needs is missing.
        ConfigError: a setting that these data or this potential cannot serve.
        CheckpointError: ``directory`` holds a checkpoint and ``resume`` is False, or the checkpoint is of another run.
        DamagedFileError: the newest checkpoint and the one before are damaged.
        OutputError: a file cannot be written; the last one is still there.
        NonFiniteLossError: the loss of a batch is NaN or infinite.
    """
    _check(potential, train, valid, config)
    directory = Path(directory)
    with explained(directory):
        directory.mkdir(parents=True, exist_ok=True)
    checkpoint = directory / CHECKPOINT_NAME
    identity = run_identity(potential, config.course(), train, valid, seed)
    state = _start(potential, train, config, seed)
    if has_checkpoint(directory):
        _resume(state, identity, config, directory, console, wanted=resume)
    metrics, table = MetricsFile(directory / METRICS_NAME, state.progress.epoch), EpochTable(console)
    clock = _Clock(config, state.progress.seconds)

    def keep() -> None:
        state.progress.seconds = clock.seconds()
        _save(checkpoint, state, identity)

    with StopSignals() as signals:
        while (stopped_by := _stop_reason(state, config, clock, signals)) is None:
            _enter_stage(state, config)
            if not _train_epoch(state, train, config, clock, signals, keep):
                continue  # Stopped within the epoch: the loop ends, and the checkpoint keeps the place.
            record = _end_epoch(state, valid, config, clock)
            metrics.append(record)
            table.row(record, best=state.progress.best_epoch == state.progress.epoch)
            if clock.checkpoint_due():
                keep()
        keep()
        if signals.received:
            say(console, _how_to_continue(stopped_by, checkpoint, state, config))
            signals.leave()
    return _finish(state, config, metrics, stopped_by, console)


def _finish(
    state: TrainingState, config: TrainConfig, metrics: MetricsFile, stopped_by: str, console: Console | None
) -> FitResult:
    """Give the potential its best weights, and say and return how it went."""
    progress = state.progress
    copy_parameters(state.best or state.ema.average, state.potential)
    best = f"best epoch {progress.best_epoch}, {config.best_by} {progress.best_validation}"
    say(console, f"Stopped by {stopped_by} after epoch {progress.epoch}; {best}.")
    return FitResult(progress.best_epoch, progress.best_validation, metrics.history, stopped_by, progress.seconds)


class _Clock:
    """Wall time of this call, and of the run with what earlier calls have spent."""

    def __init__(self, config: TrainConfig, spent: float) -> None:
        self._started = self._saved = time.monotonic()
        self._spent = spent
        self._limit = float("inf") if config.max_seconds is None else config.max_seconds
        self._interval = config.checkpoint_seconds

    def seconds(self) -> float:
        return self._spent + time.monotonic() - self._started

    def expired(self) -> bool:
        return time.monotonic() - self._started >= self._limit

    def checkpoint_due(self) -> bool:
        now = time.monotonic()
        due = now - self._saved >= self._interval
        self._saved = now if due else self._saved
        return due


def _check(potential: Potential, train: Sequence[Graph], valid: Sequence[Graph], config: TrainConfig) -> None:
    for name, graphs in (("training", train), ("validation", valid)):
        if not graphs:
            raise DataError(f"The {name} set is empty. Give at least one labelled configuration.")
        for stage in range(len(config.stages) + 1):
            require_labels(graphs, config.loss_config(stage), name)
    quantity = config.best_by.removesuffix("_rmse")
    if quantity != "loss" and quantity not in labelled_quantities(valid, config.loss):
        raise ConfigError(
            f"best_by is {config.best_by}, but {quantity} is not compared in validation. "
            f"Give {quantity} labels and a {quantity}_weight, or choose another best_by."
        )
    if not any(parameter.requires_grad for parameter in potential.parameters()):
        raise ConfigError("No parameter of the potential asks for gradients. Set requires_grad on those to be trained.")


def _resume(
    state: TrainingState,
    identity: Mapping[str, Any],
    config: TrainConfig,
    directory: Path,
    console: Console | None,
    *,
    wanted: bool,
) -> None:
    """Go on from the checkpoint in ``directory``, and say from where; raises CheckpointError if it is not wanted."""
    if not wanted:
        raise CheckpointError(
            f"'{directory}' holds the checkpoint of an earlier run. "
            "Resume that run (resume=True), or give another directory."
        )
    load_newest(directory, state, identity, console)
    say(console, _resumed(state, config))


def _resumed(state: TrainingState, config: TrainConfig) -> list[str]:
    """What is said when a run goes on."""
    progress = state.progress
    lines = [f"Resuming at epoch {progress.epoch + 1} of {config.max_epochs}."]
    if progress.epoch >= config.max_epochs:
        lines = [f"All {config.max_epochs} epochs are done; nothing is left to train."]
    if progress.resumed_with:
        lines.append(f"The last bits may differ from those of one run: {'; '.join(progress.resumed_with)}.")
    return lines


def _how_to_continue(stopped_by: str, checkpoint: Path, state: TrainingState, config: TrainConfig) -> str:
    progress = state.progress
    return (
        f"Stopped by {stopped_by} after step {progress.step}, epoch {progress.epoch} of {config.max_epochs} complete. "
        f"The same command continues from '{checkpoint}'."
    )


def _sampler(graphs: Sequence[Graph], config: TrainConfig, *, shuffle: bool, seed: int = 0) -> BatchSampler:
    num_atoms = [graph.num_atoms for graph in graphs]
    if config.batch_unit == "atoms":
        return BatchSampler(num_atoms, max_atoms=config.batch_size, shuffle=shuffle, seed=seed)
    return BatchSampler(num_atoms, batch_size=config.batch_size, shuffle=shuffle, seed=seed)


def _start(potential: Potential, train: Sequence[Graph], config: TrainConfig, seed: int) -> TrainingState:
    return TrainingState(
        potential=potential,
        optimizer=config.optimizer.build(potential),
        ema=ExponentialMovingAverage(potential, config.ema_decay),
        schedule=Schedule(config.schedule, config.max_epochs),
        sampler=_sampler(train, config, shuffle=True, seed=seed),
        terms=loss_terms(config, potential, train, seed),
    )


def _stop_reason(state: TrainingState, config: TrainConfig, clock: _Clock, signals: StopSignals) -> str | None:
    progress = state.progress
    if signals.received:
        return signals.received.name
    if progress.epoch >= config.max_epochs:
        return "max_epochs"
    if config.patience is not None and progress.epoch - (progress.best_epoch or 0) >= config.patience:
        return "patience"
    return "max_seconds" if clock.expired() else None


def _enter_stage(state: TrainingState, config: TrainConfig) -> None:
    """Begin the stage of this epoch; losses of different weights do not compare, so the best is sought anew."""
    stage = stage_at(config.stages, state.progress.epoch, config.max_epochs)
    if stage != state.progress.stage:
        state.progress.stage = stage
        state.progress.best_validation = None


def _train_epoch(
    state: TrainingState,
    graphs: Sequence[Graph],
    config: TrainConfig,
    clock: _Clock,
    signals: StopSignals,
    keep: Callable[[], None],
) -> bool:
    """Take the steps that are left in this epoch; False if the time has run out, or a signal has come, before its end.

    ``keep`` writes a checkpoint, which is done between steps where one is due.
    """
    progress = state.progress
    loss_config = config.loss_config(progress.stage)
    lr = config.optimizer.lr * config.lr_factor(progress.stage)
    zero = torch.zeros((), dtype=torch.float64, device=state.potential.device)
    parts = (*loss_config.fitted, *(term.name for term in state.terms))
    # A checkpoint has them in another order, and the order decides the last bit of their sum.
    state.loss_sums = {part: state.loss_sums[part] if progress.batch else zero.clone() for part in parts}
    batches = state.sampler.batches(progress.epoch)
    for indices in batches[progress.batch :]:
        if signals.received or clock.expired():
            return False
        if progress.batch and clock.checkpoint_due():
            keep()
        set_lr(state.optimizer, lr * state.schedule.factor(progress.epoch + (progress.batch + 1) / len(batches)))
        _step(state, [graphs[index] for index in indices], loss_config, config)
        progress.batch += 1
        progress.step += 1
    for total in state.loss_sums.values():
        total /= len(batches)
    progress.batch = 0
    progress.epoch += 1
    return True


def _step(state: TrainingState, graphs: Sequence[Graph], loss_config: LossConfig, config: TrainConfig) -> None:
    """One step: forward, backward, check, clip, update, average."""
    potential, optimizer = state.potential, state.optimizer
    batch = collate(graphs).to(potential.device)
    total, parts = _loss(state, batch, loss_config)
    # On a GPU the loss travels to the host while the backward pass runs, so that checking it costs no idle time.
    value = total.detach().to("cpu", non_blocking=True)
    copied = torch.cuda.current_stream().record_event() if total.is_cuda else None
    optimizer.zero_grad(set_to_none=True)
    # Only for the weights: second derivatives by the positions would cost as much again.
    total.backward(inputs=[parameter for group in optimizer.param_groups for parameter in group["params"]])
    if copied is not None:
        copied.synchronize()
    if not torch.isfinite(value):
        raise _non_finite(parts, state, graphs)
    if config.max_grad_norm is not None:
        torch.nn.utils.clip_grad_norm_(potential.parameters(), config.max_grad_norm)
    optimizer.step()
    state.ema.update()
    for quantity, part in parts.items():
        state.loss_sums[quantity] += part


def _loss(state: TrainingState, batch: Batch, loss_config: LossConfig) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """The loss of ``batch`` with the terms that act in this step, and its weighted parts."""
    potential, step = state.potential, state.progress.step
    there = [name for name in loss_config.fitted if name in batch.labels]
    prediction = potential(batch, **derivatives(there), create_graph=True)
    total, parts = loss(prediction, batch, loss_config)
    for term in state.terms:
        if term.acts(step):
            part = term.weight * term.value(potential, step)
            total, parts[term.name] = total + part, part.detach()
    return total, parts


def _non_finite(parts: Mapping[str, torch.Tensor], state: TrainingState, graphs: Sequence[Graph]) -> NonFiniteLossError:
    """The error that blames the terms if the parts of the data are finite, else the batch."""
    shares = ", ".join(f"{name} {part.item():g}" for name, part in parts.items())
    found = f"The loss of step {state.progress.step + 1} is not finite: {shares}."
    broken = {name for name, part in parts.items() if not part.isfinite()}
    diagnoses = {term.name: term.diagnosis for term in state.terms if term.name in broken}
    if broken and broken == set(diagnoses):
        return NonFiniteLossError(" ".join((found, *diagnoses.values())))
    origins = ", ".join(graph.origin for graph in graphs)
    return NonFiniteLossError(
        f"{found} The batch holds {origins}. No step was taken. Check the geometries and labels of these "
        "configurations; if they are right, lower optimizer.lr or max_grad_norm and start again."
    )


def _end_epoch(state: TrainingState, valid: Sequence[Graph], config: TrainConfig, clock: _Clock) -> Record:
    """Validate the averaged weights, keep them if they are the best, and return the record of the epoch."""
    progress, potential = state.progress, state.potential
    with state.ema.applied(potential):
        batches = _sampler(valid, config, shuffle=False).batches()
        scores = validate(potential, valid, batches, config.loss_config(progress.stage))
    quantity = config.best_by.removesuffix("_rmse")
    score = scores["loss" if quantity == "loss" else QUANTITIES[quantity].validation_metric]
    if not math.isfinite(score):
        raise NonFiniteLossError(
            f"{config.best_by} of the validation set is {score} after epoch {progress.epoch}: "
            "the weights have diverged. Lower optimizer.lr or max_grad_norm and start again."
        )
    improved = progress.best_validation is None or score < progress.best_validation
    if improved:
        progress.best_epoch, progress.best_validation = progress.epoch, score
        state.best = {name: value.clone() for name, value in state.ema.average.items()}
    state.schedule.end_epoch(improved)
    progress.seconds = clock.seconds()
    parts = {quantity: value.item() for quantity, value in state.loss_sums.items()}
    resumed, progress.resumed_with = progress.resumed_with, []
    return {
        "epoch": progress.epoch,
        "step": progress.step,
        "seconds": progress.seconds,
        "lr": state.optimizer.param_groups[0]["lr"],
        "train_loss": sum(parts.values()),
        **{f"train_loss_{quantity}": value for quantity, value in parts.items()},
        **{f"valid_{name}": value for name, value in scores.items()},
        **({"resumed_with": resumed} if resumed else {}),
    }


def _save(path: Path, state: TrainingState, identity: Mapping[str, Any]) -> None:
    """Write the checkpoint; weights that are not finite never replace good ones."""
    finite = torch.stack([parameter.isfinite().all() for parameter in state.ema.average.values()]).all()
    if not finite:
        raise NonFiniteLossError(
            f"The weights are not finite after step {state.progress.step}; '{path}' was left as it is. "
            "Lower optimizer.lr or max_grad_norm and resume from it, or start again."
        )
    save_checkpoint(path, state, identity)
