"""When to stop a training and when to save it: the wall time and the signals, as all processes see them."""

from __future__ import annotations

import signal
import time

from clebsch.training.config import TrainConfig
from clebsch.training.distributed import World
from clebsch.training.signals import StopSignals

PARTS = 10**9  # of the time limit, by which processes agree on the time used


class Clock:
    """Wall time of this call, and of the run with what earlier calls have spent.

    The limit is that of this call, or of the run if the schedule is to end in it.
    """

    def __init__(self, config: TrainConfig, spent: float) -> None:
        self._started = self._saved = time.monotonic()
        self._spent = spent
        self._limit = float("inf") if config.max_seconds is None else config.max_seconds
        self._interval = config.checkpoint_seconds
        self._whole = config.anneal_in_time

    def seconds(self) -> float:
        """Time spent training, over all parts of the run."""
        return self._spent + time.monotonic() - self._started

    def expired(self) -> bool:
        """Whether the time is over."""
        return self.seconds() - (0.0 if self._whole else self._spent) >= self._limit

    def used(self) -> float:
        """Fraction of the time of the run that is used, at most 1; zero if the schedule does not depend on it."""
        return min(1.0, self.seconds() / self._limit) if self._whole else 0.0

    def left(self, epochs: int, of: int) -> float:
        """Seconds to go, at most, where this call has done ``epochs`` of the ``of`` epochs that it has to do."""
        here = time.monotonic() - self._started
        return max(0.0, min(here / epochs * (of - epochs), self._limit - (self.seconds() if self._whole else here)))

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
        used: fraction of the time of the run that was used then (`Clock.used`).
    """

    def __init__(self, clock: Clock, signals: StopSignals, world: World) -> None:
        self._clock, self._signals, self._world = clock, signals, world
        self.signal: signal.Signals | None = None
        self.expired = self.checkpoint_due = False
        self.used = 0.0

    def look(self) -> bool:
        """Look at clock and signals, in all processes at once, and return whether to stop."""
        clock, first = self._clock, self._world.first
        received, expired, due, used = self._world.max(
            self._signals.received or 0,
            first and clock.expired(),
            first and clock.checkpoint_due(),
            int(PARTS * clock.used()) if first else 0,
        )
        self.signal = signal.Signals(received) if received else None
        self.expired, self.checkpoint_due, self.used = bool(expired), bool(due), used / PARTS
        return self.signal is not None or self.expired
