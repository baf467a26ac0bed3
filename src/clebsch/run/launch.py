"""Several processes of this machine that train together, started, watched and ended by one that does nothing else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from types import FrameType

from clebsch.errors import ConfigError, OtherProcessError
from clebsch.recipe import load_recipe
from clebsch.training.distributed import open_store, words
from clebsch.training.launchers import alone, find_place

SIGNALS = ("SIGINT", "SIGTERM", "SIGUSR1", "SIGHUP")
# Seconds between looks at the processes, and those that others have to end by themselves once one has failed.
INTERVAL, GRACE = 0.1, 10.0


def launch(recipe: str, overrides: Sequence[str], count: int) -> int:
    """Train by ``clebsch train`` in ``count`` processes of this machine and return their exit status.

    Signals are passed on, so that the processes stop with a checkpoint; a second one ends them at once. If one of them
    fails, all end.

    Raises:
        ConfigError: the recipe is not valid, or torchrun or srun have started this process as one of several.
        OtherProcessError: a process was killed.
    """
    load_recipe(recipe, overrides)  # what is wrong with it is said before anything is started
    if find_place(os.environ) is not None:
        raise ConfigError("--nproc starts processes itself. Leave it out under torchrun and srun, or leave those out.")
    store = open_store()
    words(store, {}).add("lost", 1)  # of processes that are killed, this one tells the user
    arguments = [sys.executable, "-m", "clebsch", "train", recipe, *overrides]
    team = _Team()
    former = {
        number: signal.signal(number, team.pass_on)
        for number in (getattr(signal, name) for name in SIGNALS if hasattr(signal, name))
    }
    try:
        for rank in range(count):
            team.start(arguments, _environment(rank, count, store.port))
        return team.wait()
    finally:
        team.kill()
        for number, handler in former.items():
            signal.signal(number, handler)


def _environment(rank: int, count: int, port: int) -> dict[str, str]:
    """What torchrun would set, and threads that share the cores unless the user has said how many."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return {
        "OMP_NUM_THREADS": str(max(1, cores // count)),
        **alone(os.environ),
        "RANK": str(rank),
        "WORLD_SIZE": str(count),
        "LOCAL_RANK": str(rank),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",  # this process keeps it
    }


class _Team:
    """The processes; a terminal does not know them, so that Ctrl-C reaches them once, from here."""

    def __init__(self) -> None:
        self._processes: list[subprocess.Popen[bytes]] = []
        self._received: int | None = None

    def start(self, arguments: Sequence[str], environment: dict[str, str]) -> None:
        self._processes.append(subprocess.Popen(arguments, env=environment, start_new_session=True))

    def pass_on(self, number: int, _: FrameType | None) -> None:
        """Pass a signal on; the second one ends all."""
        second, self._received = self._received is not None, number
        for process in self._processes:
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGKILL if second else _passed(number))

    def wait(self) -> int:
        """Return the exit status of the first that fails, zero if none does; the others end before that."""
        deadline = status = None
        while any(process.poll() is None for process in self._processes):
            failed = [process for process in self._processes if process.poll()]
            if failed and deadline is None:
                status, deadline = failed[0].returncode, time.monotonic() + GRACE
            if deadline is not None and time.monotonic() > deadline and self._received is None:
                self.kill()
            time.sleep(INTERVAL)
        codes = [process.returncode for process in self._processes]
        status = status or next((code for code in codes if code), 0)
        if status >= 0:
            return status
        if self._received is None:
            raise OtherProcessError(
                f"Process {codes.index(status)} of {len(codes)} was ended by {signal.Signals(-status).name}, and the "
                "others after it. If that was for lack of memory, take fewer processes or a smaller batch. The same "
                "command goes on from the last checkpoint.",
                shown=False,
            )
        return 128 - status

    def kill(self) -> None:
        """End all that are still there at once."""
        for process in self._processes:
            if process.poll() is None:
                process.kill()
        for process in self._processes:
            process.wait()


def _passed(number: int) -> int:
    """A terminal that is closed asks to stop, as a job does whose time is over."""
    return signal.SIGTERM if number == getattr(signal, "SIGHUP", None) else number
