"""Signals that ask a training to stop: noted when they come, acted on when a step is complete."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any

# Ctrl-C; the end of a job's time, or of its machine; the warning before that, as `sbatch --signal=USR1@60` asks for.
NAMES = ("SIGINT", "SIGTERM", "SIGUSR1")


class StopSignals:
    """Within the block, the first of the signals is kept in ``received``; a second one acts as it does elsewhere.

    Only the main thread can receive signals: in others nothing is changed.

    Args:
        forwarded: whether what has started this process passes signals on: what comes twice is then one signal.
    """

    def __init__(self, forwarded: bool = False) -> None:
        self.received: signal.Signals | None = None
        self.forwarded = forwarded
        self._former: dict[int, Any] = {}

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            numbers = [getattr(signal, name) for name in NAMES if hasattr(signal, name)]
            self._former = {number: signal.signal(number, self._note) for number in numbers}
        return self

    def __exit__(self, *_: object) -> None:
        while self._former:
            number, handler = self._former.popitem()
            signal.signal(number, handler)

    def _note(self, number: int, _: FrameType | None) -> None:
        self.received = signal.Signals(number)
        if not self.forwarded:
            self.__exit__()


def leave(received: signal.Signals) -> None:
    """End the program as a signal asks: KeyboardInterrupt for Ctrl-C, else exit status 128 + its number."""
    if received == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(128 + received)
