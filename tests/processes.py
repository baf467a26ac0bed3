"""Several processes that call one function together, and what came of each."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from clebsch.training.distributed import World, join, open_store

TIMEOUT = 120.0  # seconds; a process that hangs fails the test
LOADED = ["clebsch.run", "clebsch.training", "ase.io", "processes"]


@dataclass
class Outcome:
    """What a process returned, or the name and text of what it raised; ``code`` of a SystemExit."""

    value: Any = None
    error: str = ""
    message: str = ""
    code: Any = None


def run_together(size: int, function: Callable[..., Any], *arguments: Any) -> list[Outcome]:
    """Call ``function(world, *arguments)`` in ``size`` processes that have joined, and return how each ended."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(LOADED)
    store = open_store()
    pairs = [context.Pipe(duplex=False) for _ in range(size)]
    processes = []
    for rank, (_, end) in enumerate(pairs):
        environment = {
            "RANK": str(rank), "WORLD_SIZE": str(size), "LOCAL_RANK": str(rank), "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(store.port), "TORCHELASTIC_USE_AGENT_STORE": "True",
        }  # fmt: skip
        processes.append(context.Process(target=_work, args=(environment, end, function, arguments)))
        processes[-1].start()
        end.close()
    try:
        return [_received(end) for end, _ in pairs]
    finally:
        for process in processes:
            process.kill()
            process.join()


def _received(end: Connection) -> Outcome:
    if not end.poll(TIMEOUT):
        return Outcome(error="Hung")
    try:
        return end.recv()
    except EOFError:
        return Outcome(error="Killed")


def _work(environment: dict[str, str], end: Connection, function: Callable[..., Any], arguments: Any) -> None:
    try:
        with join(environment) as world:
            assert isinstance(world, World) and world.size == int(environment["WORLD_SIZE"])
            value = function(world, *arguments)
        end.send(Outcome(value))
    except SystemExit as error:
        end.send(Outcome(error="SystemExit", code=error.code))
    except BaseException as error:
        end.send(Outcome(error=type(error).__name__, message=str(error)))
