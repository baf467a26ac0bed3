"""Where the cells of a study run: processes of this machine, or a Ray cluster."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from clebsch.config import StrictConfig
from clebsch.data.datasets.source import ROOT_VARIABLE
from clebsch.errors import BackendError
from clebsch.files import remove_unfinished, write_file
from clebsch.run import RESULTS_NAME
from clebsch.sweep.study import Cell
from clebsch.training.launchers import alone

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None

LOG_NAME, RECIPE_NAME, LOCK_NAME = "log.txt", "recipe.yaml", "lock"


class Task(NamedTuple):
    """All that a process elsewhere needs to run a cell: its folder, its recipe, and the surroundings of this one."""

    directory: str
    recipe: str
    threads: int
    working_directory: str
    data: str | None


class EngineConfig(StrictConfig):
    """Where and how many cells run at once.

    Attributes:
        processes: cells at once, on this machine.
        threads: of every cell.
        address: of a Ray cluster; empty starts one on this machine.
    """

    processes: int = 1
    threads: int = 1
    address: str = ""


def run_local(cells: Sequence[Cell], study: Path, config: EngineConfig) -> Iterator[tuple[Cell, int]]:
    """Run ``cells``, each in a process of its own, and yield them with their exit status as they end."""
    with ThreadPoolExecutor(config.processes) as pool:
        running = {pool.submit(run_cell, _task(cell, study, config.threads)): cell for cell in cells}
        try:
            for future in as_completed(running):
                yield running[future], 1 if future.exception() else future.result()
        except BaseException:
            pool.shutdown(cancel_futures=True, wait=False)
            raise


def run_on_ray(cells: Sequence[Cell], study: Path, config: EngineConfig) -> Iterator[tuple[Cell, int]]:
    """The same on a Ray cluster whose nodes share the folder of the study and have clebsch installed.

    Raises:
        BackendError: ray is not installed.
    """
    try:
        import ray
        from ray.exceptions import RayError
    except ImportError:
        raise BackendError("--engine ray needs ray: pip install 'clebsch[ray]'.") from None
    started = not ray.is_initialized()
    if started:
        ray.init(address=config.address or None, log_to_driver=False, configure_logging=False)
    remote: Any = ray.remote(num_cpus=config.threads, max_retries=3)(run_cell)
    try:
        pending = {remote.remote(_task(cell, study, config.threads)): cell for cell in cells}
        while pending:
            (done, *_), _ = ray.wait(list(pending), num_returns=1)
            try:
                status = ray.get(done)
            except RayError:  # the worker is lost, or could not write
                status = 1
            yield pending.pop(done), status
    finally:
        if started:
            ray.shutdown()


ENGINES: dict[str, Callable[[Sequence[Cell], Path, EngineConfig], Iterator[tuple[Cell, int]]]] = {
    "local": run_local,
    "ray": run_on_ray,
}


def run_cell(task: Task) -> int:
    """Train one cell as ``clebsch train`` does, its output in log.txt, and return the exit status."""
    folder = Path(task.working_directory, task.directory)
    environment = {**alone(os.environ), "OMP_NUM_THREADS": str(task.threads), "COLUMNS": "120"}
    if task.data is not None:
        environment[ROOT_VARIABLE] = task.data
    command = [sys.executable, "-m", "clebsch", "train", str(folder / RECIPE_NAME)]
    folder.mkdir(parents=True, exist_ok=True)
    with lock(folder / LOCK_NAME) as held:
        if _has_results(folder):
            return 0
        remove_unfinished(folder, [RECIPE_NAME])
        write_file(folder / RECIPE_NAME, task.recipe)
        with open(folder / LOG_NAME, "a") as log:
            done = subprocess.run(
                command,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                cwd=task.working_directory,
                pass_fds=held,
            )
        return done.returncode


@contextmanager
def lock(path: Path) -> Iterator[tuple[int, ...]]:
    """Hold the file of a cell, and hand over what a process needs to hold it too.

    The process of a cell that outlives a killed sweep still holds it, so the next sweep waits for it and does not
    train in the same folder.
    """
    with open(path, "w") as file:
        if fcntl is None:
            yield ()
            return
        fcntl.flock(file, fcntl.LOCK_EX)
        yield (file.fileno(),)


def is_finished(cell: Cell, study: Path) -> bool:
    """Whether the cell has been run to its end."""
    return _has_results(cell.directory(study))


def _has_results(folder: Path) -> bool:
    """Whether the results of a run are there and whole."""
    try:
        return "errors" in json.loads((folder / RESULTS_NAME).read_text())
    except (OSError, TypeError, ValueError):
        return False


def _task(cell: Cell, study: Path, threads: int) -> Task:
    recipe, data = cell.config(study).as_yaml(), os.environ.get(ROOT_VARIABLE)
    return Task(str(cell.directory(study)), recipe, threads, os.getcwd(), data and os.path.abspath(data))
