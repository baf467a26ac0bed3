"""Who has started this process, and which of how many it is: torchrun, srun, ``clebsch train --nproc``, or nobody."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from clebsch.errors import ConfigError

TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
RESTARTS = "TORCHELASTIC_RESTART_COUNT"
# Those of a step, which srun sets: in a batch script itself, where one process runs, the others are there too.
SLURM = ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID", "SLURM_STEP_NODELIST", "SLURM_JOB_ID")
FIRST_PORT, NUM_PORTS = 20_000, 10_000


@dataclass(frozen=True)
class Place:
    """Which process this is.

    Attributes:
        rank: its number, from 0.
        size: number of processes.
        local_rank: its number on its machine, from 0.
        address: host and port at which the first process waits for the others.
    """

    rank: int
    size: int
    local_rank: int
    address: tuple[str, int]


def find_place(environment: Mapping[str, str]) -> Place | None:
    """Return what the variables of torchrun, or else those of a step of srun, say; None for a process of its own.

    Raises:
        ConfigError: some of the variables are missing, or are no numbers.
    """
    if "RANK" in environment or "WORLD_SIZE" in environment:
        rank, size, local_rank, port = _numbers(environment, TORCHRUN, ("MASTER_ADDR",))
        address = (environment["MASTER_ADDR"], port)
    elif "SLURM_STEP_NUM_TASKS" in environment:
        rank, size, local_rank, job = _numbers(environment, SLURM, ("SLURM_STEP_NODELIST",))
        step = int(environment.get("SLURM_STEP_ID", "0"))
        port = FIRST_PORT + (job + 101 * step) % NUM_PORTS  # steps of one job may run at once
        host = first_host(environment["SLURM_STEP_NODELIST"])
        address = (environment.get("MASTER_ADDR", host), int(environment.get("MASTER_PORT", port)))
    else:
        return None
    return Place(rank, size, local_rank, address) if size > 1 else None


def first_host(nodes: str) -> str:
    """Return the first host of a list as Slurm writes it: ``node003`` of ``node[003-005,007],gpu1``."""
    (first,) = re.findall(r"^(?:[^,\[]|\[[^\]]*\])+", nodes)
    return re.sub(r"\[([^\],-]+)[^\]]*\]", r"\1", first)


def alone(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables for a process of its own, without those that say that it is one of several."""
    several = (*TORCHRUN, RESTARTS, "SLURM_STEP_NUM_TASKS")
    return {name: value for name, value in environment.items() if name not in several}


def _numbers(environment: Mapping[str, str], names: Sequence[str], texts: Sequence[str]) -> list[int]:
    """The variables ``names`` as numbers, without those that are ``texts``."""
    missing = [name for name in names if not environment.get(name)]
    if missing:
        there = ", ".join(name for name in names if environment.get(name))
        raise ConfigError(
            f"The environment has {there}, but not {', '.join(missing)}, so this process does not know the others. "
            "Start it by torchrun or srun, which set all of them, or remove those that are there to train in one."
        )
    numbers = [name for name in names if name not in texts]
    for name in numbers:
        if not environment[name].isdecimal():
            raise ConfigError(f"{name} is '{environment[name]}'; expected a number, as torchrun and srun set it.")
    return [int(environment[name]) for name in numbers]
