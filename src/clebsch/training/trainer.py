"""Gradient training: the loop over epochs, from labelled graphs to the best weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from clebsch.data import QUANTITIES, BatchSampler, Graph, expect, sizes_of
from clebsch.errors import CheckpointError, ConfigError, DataError
from clebsch.files import explained
from clebsch.models.potential import Potential
from clebsch.progress import progress as watched
from clebsch.progress import say
from clebsch.training.checkpoint import CHECKPOINT_NAME, has_checkpoint, load_newest, run_identity, save_checkpoint
from clebsch.training.config import TrainConfig
from clebsch.training.distributed import World, current
from clebsch.training.draws import draws_of
from clebsch.training.ema import ExponentialMovingAverage, copy_parameters
from clebsch.training.guards import SpikeError, update_ratio, with_loss
from clebsch.training.loss import require_labels
from clebsch.training.metrics import EpochTable, MetricsFile, Record
from clebsch.training.optimizers import set_lr
from clebsch.training.schedules import Schedule, stage_at
from clebsch.training.signals import StopSignals, leave
from clebsch.training.state import TrainingState
from clebsch.training.step import NonFiniteLossError, take_step
from clebsch.training.terms import loss_terms
from clebsch.training.validation import labelled_quantities, validate
from clebsch.training.watch import Clock, Watch

if TYPE_CHECKING:
    from rich.console import Console

METRICS_NAME = "metrics.jsonl"
LONG = 30.0  # seconds between lines within an epoch


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
    world, directory = current(), Path(directory)
    console = world.console(console)
    state, identity = _prepare(potential, train, valid, config, seed)
    with world.together():
        if world.first:
            with explained(directory):
                directory.mkdir(parents=True, exist_ok=True)
            if has_checkpoint(directory):
                _resume(state, identity, config, directory, console, wanted=resume)
    state.synchronize()
    with world.together():
        metrics = MetricsFile(directory / METRICS_NAME if world.first else None, state.progress.epoch)
    table, clock, done = EpochTable(console), Clock(config, state.progress.seconds), state.progress.epoch
    say(console, _divided(world, config))

    def keep() -> None:
        clock.saved()
        state.progress.seconds = clock.seconds()
        with world.together():
            if world.first:
                _save(directory / CHECKPOINT_NAME, state, identity)

    with StopSignals(forwarded=world.size > 1) as signals:
        watch = Watch(clock, signals, world)
        while (stopped_by := _stop_reason(state, config, watch)) is None:
            _enter_stage(state, config, watch.used)
            if not _train_epoch(state, train, config, watch, keep, console):
                continue  # Stopped within the epoch: the loop ends, and the checkpoint keeps the place.
            record, due = world.share([_end_epoch(state, valid, config, clock), clock.checkpoint_due()])
            with world.together():
                metrics.append(record)
            left = clock.left(state.progress.epoch - done, config.max_epochs - done)
            table.row(record, best=state.progress.best_epoch == state.progress.epoch, left=left)
            if due:
                keep()
        keep()
        watch.look()
        if watch.signal:
            say(console, _how_to_continue(stopped_by, directory / CHECKPOINT_NAME, state, config))
            leave(watch.signal)
    return _finish(state, config, world.share(metrics.history), stopped_by, console)


def _finish(
    state: TrainingState, config: TrainConfig, history: list[Record], stopped_by: str, console: Console | None
) -> FitResult:
    """Give the potential its best weights, and say and return how it went."""
    progress = state.progress
    copy_parameters(state.best or state.ema.average, state.potential)
    best = f"best epoch {progress.best_epoch}, {config.best_by} {progress.best_validation}"
    say(console, f"Stopped by {stopped_by} after epoch {progress.epoch}; {best}.")
    return FitResult(progress.best_epoch, progress.best_validation, history, stopped_by, progress.seconds)


def _prepare(
    potential: Potential, train: Sequence[Graph], valid: Sequence[Graph], config: TrainConfig, seed: int
) -> tuple[TrainingState, dict[str, Any]]:
    """The state of a training at its start and the identity of the run, which are the same in all processes."""
    world = current()
    with world.together():
        _check(potential, train, valid, config)
        state = TrainingState(
            potential=potential,
            optimizer=config.optimizer.build(potential),
            ema=ExponentialMovingAverage(potential, config.ema_decay),
            schedule=Schedule(config.schedule, config.max_epochs),
            sampler=_sampler(train, config, shuffle=True, seed=seed, draws=draws_of(train, config.draws)),
            terms=loss_terms(config, potential, train, seed),
            world=world,
        )
        identity = run_identity(potential, config.course(), train, valid, seed)
    world.require_same(lambda: identity, "Give all processes the same recipe and the same files.")
    return state, identity


def _divided(world: World, config: TrainConfig) -> list[str]:
    """What is said of several processes."""
    if world.size == 1:
        return []
    lines = [f"{world.size} processes divide every batch; threads of each: {torch.get_num_threads()}."]
    if config.batch_unit == "configurations" and config.batch_size < world.size:
        lines.append(f"note: batch_size is {config.batch_size}, so some processes have nothing to do in a step")
    return lines


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
    load_newest(directory, state, identity, config, console)
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


def _sampler(
    graphs: Sequence[Graph],
    config: TrainConfig,
    *,
    shuffle: bool,
    seed: int = 0,
    draws: Sequence[float] | None = None,
) -> BatchSampler:
    num_atoms = sizes_of(graphs)
    if config.batch_unit == "atoms":
        return BatchSampler(num_atoms, max_atoms=config.batch_size, shuffle=shuffle, seed=seed, draws=draws)
    return BatchSampler(num_atoms, batch_size=config.batch_size, shuffle=shuffle, seed=seed, draws=draws)


def _stop_reason(state: TrainingState, config: TrainConfig, watch: Watch) -> str | None:
    progress = state.progress
    watch.look()
    if watch.signal:
        return watch.signal.name
    if progress.epoch >= config.max_epochs:
        return "max_epochs"
    if config.patience is not None and progress.epoch - (progress.best_epoch or 0) >= config.patience:
        return "patience"
    return "max_seconds" if watch.expired else None


def _enter_stage(state: TrainingState, config: TrainConfig, used: float) -> None:
    """Begin the stage of this epoch; losses of different weights do not compare, so the best is sought anew."""
    stage = stage_at(config.stages, state.progress.epoch, state.schedule.first_cycle, used)
    if stage != state.progress.stage:
        state.progress.stage = stage
        state.progress.best_validation = None
        state.progress.losses = []


def _train_epoch(
    state: TrainingState,
    graphs: Sequence[Graph],
    config: TrainConfig,
    watch: Watch,
    keep: Callable[[], None],
    console: Console | None,
) -> bool:
    """Take the steps that are left in this epoch; False if the time has run out, or a signal has come, before its end.

    ``keep`` writes a checkpoint, which is done between steps where one is due. A run that is annealed in its time ends
    the epoch where the time runs out, so that the last weights are validated.
    """
    progress = state.progress
    loss_config = config.loss_config(progress.stage)
    lr = config.optimizer.lr * config.lr_factor(progress.stage)
    zero = torch.zeros((), dtype=torch.float64, device=state.potential.device)
    parts = (*loss_config.fitted, *(term.name for term in state.terms))
    # A checkpoint has them in another order, and the order decides the last bit of their sum.
    state.loss_sums = {part: state.loss_sums[part] if progress.batch else zero.clone() for part in parts}
    if not progress.batch:
        state.gradient_norms = torch.zeros(2, dtype=torch.float64, device=state.potential.device)
    weights = [parameter for parameter in state.potential.parameters() if parameter.requires_grad]
    before: list[torch.Tensor] = []  # the last step
    batches = state.sampler.batches(progress.epoch)
    label, rest = f"batches of epoch {progress.epoch + 1}", batches[progress.batch :]
    told = watched(console, rest, label, len(rest), first=LONG, every=LONG)
    for place, indices in enumerate(told, progress.batch):
        if watch.look():
            if watch.signal or not config.anneal_in_time or not progress.batch:
                return False
            break
        if progress.batch and watch.checkpoint_due:
            keep()
        done = progress.epoch + (progress.batch + 1) / len(batches)
        set_lr(state.optimizer, lr * state.schedule.factor(done, watch.used))
        if state.world.size == 1:
            expect(graphs, chain.from_iterable(batches[place : place + 2]))
        if place == len(batches) - 1:
            before = [weight.detach().clone() for weight in weights]
        try:
            take_step(state, graphs, indices, loss_config, config)
        except SpikeError as error:
            _skip(error, state, config, keep, console)
        progress.batch += 1
        progress.step += 1
    taken = max(progress.batch - progress.skipped, 1)
    for total in state.loss_sums.values():
        total /= taken
    total, largest = state.gradient_norms.tolist()
    state.observed = {"gradient_norm_mean": total / taken, "gradient_norm_max": largest}
    state.observed |= {"update_ratio": update_ratio(before, weights)} if before else {}
    state.observed |= {"skipped": progress.skipped} if config.spike.action == "skip" else {}
    progress.batch = progress.skipped = 0
    progress.epoch += 1
    return True


def _skip(
    error: SpikeError, state: TrainingState, config: TrainConfig, keep: Callable[[], None], console: Console | None
) -> None:
    """Count a step that was not taken and name configurations that were not named yet; or stop, as the recipe says."""
    if config.spike.action == "raise":
        keep()
        with state.world.together():
            if state.world.first:
                raise error
    state.progress.losses = with_loss(state.progress.losses, error.loss)
    state.progress.skipped += 1
    new = [origin for origin in error.origins if origin not in state.named]
    if new:
        state.named.update(new)
        say(console, f"note: skipped, as {error.found}; the batch holds {', '.join(new)}")


def _end_epoch(state: TrainingState, valid: Sequence[Graph], config: TrainConfig, clock: Clock) -> Record:
    """Validate the averaged weights, keep them if they are the best, and return the record of the epoch."""
    progress, potential = state.progress, state.potential
    state.require_equal_weights()
    with state.ema.applied(potential):
        batches = _sampler(valid, config, shuffle=False).batches()
        loss_config = config.loss_config(progress.stage)
        scores = state.world.share(validate(potential, valid, batches, loss_config, state.world))
    quantity = config.best_by.removesuffix("_rmse")
    score = scores["loss" if quantity == "loss" else QUANTITIES[quantity].validation_metric]
    with state.world.together():
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
        **state.observed,
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
