"""When to stop a training and when to save it: the wall time and the signals, as all processes see them."""

from __future__ import annotations

import signal
import time

from clebsch.training.config import TrainConfig
from clebsch.training.distributed import World
from clebsch.training.signals import StopSignals


class Clock:
    """Wall time of this call, and of the run with what earlier calls have spent."""

    def __init__(self, config: TrainConfig, spent: float) -> None:
        self._started = self._saved = time.monotonic()
        self._spent = spent
        self._limit = float("inf") if config.max_seconds is None else config.max_seconds
        self._interval = config.checkpoint_seconds

    def seconds(self) -> float:
        """Time spent training, over all parts of the run."""
        return self._spent + time.monotonic() - self._started

    def expired(self) -> bool:
        """Whether the time of this call is over."""
        return time.monotonic() - self._started >= self._limit

    def checkpoint_due(self) -> bool:
        """Whether the last checkpoint is old enough for another."""
        return time.monotonic() - self._saved >= self._interval

    def saved(self) -> None:
        """Note that a checkpoint is written now."""
        self._saved = time.monotonic()


class Watch:
    """What all processes do next: the clock of the first decides, and a signal to any of them.

    Attributes:
        signal: what has come to one of them, when `look` was called last.
        expired: whether the time was over then.
        checkpoint_due: whether a checkpoint was due then.
    """

    def __init__(self, clock: Clock, signals: StopSignals, world: World) -> None:
        self._clock, self._signals, self._world = clock, signals, world
        self.signal: signal.Signals | None = None
        self.expired = self.checkpoint_due = False

    def look(self) -> bool:
        """Look at clock and signals, in all processes at once, and return whether to stop."""
        clock, first = self._clock, self._world.first
        received, expired, due = self._world.max(
            self._signals.received or 0, first and clock.expired(), first and clock.checkpoint_due()
        )
        self.signal = signal.Signals(received) if received else None
        self.expired, self.checkpoint_due = bool(expired), bool(due)
        return self.signal is not None or self.expired
