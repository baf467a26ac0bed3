"""What a training step or a call of a potential takes."""

from __future__ import annotations

import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field

from clebsch.config import StrictConfig
from clebsch.data import Batch
from clebsch.deploy.ase import Calculator
from clebsch.evaluation import describe
from clebsch.models import Potential
from clebsch.timing.systems import build_system
from clebsch.training import TrainConfig
from clebsch.training.ema import ExponentialMovingAverage
from clebsch.training.loss import loss
from clebsch.version import __version__

# Operations per forward pass: a derivative costs about twice what it is taken of, in training once more.
PASSES = {"inference": 3, "train": 9}


class BenchConfig(StrictConfig):
    """What is measured.

    Attributes:
        task: one optimiser step on energies and forces, or energy and forces.
        system: acac, 3bpa, water, silicon, or a file that ASE reads.
        num_atoms: wanted size of water and silicon.
        batch_size: configurations of a training step; one in inference.
        threads: of PyTorch and of the kernels.
        repeats: timed calls, after ``warmup`` that are not timed.
        warmup: calls before; kernels are compiled in the first.
    """

    task: Literal["train", "inference"] = "inference"
    system: str = "acac"
    num_atoms: int | None = Field(default=None, ge=1)
    batch_size: int = Field(default=5, ge=1)
    threads: int = Field(default=1, ge=1)
    repeats: int = Field(default=10, ge=1)
    warmup: int = Field(default=3, ge=1)


@dataclass(frozen=True)
class BenchResult:
    """What was found; times are medians.

    Attributes:
        median_ms: one call. first_s: the first call, compilation of kernels included where they were not on disk.
        md_step_ms: energy and forces through the ASE calculator, neighbour list included; inference only.
        us_per_atom: microseconds per atom. atom_steps_per_s: its inverse, atoms times calls per second.
        peak_mb: growth of the process's largest memory by all calls, in 10^6 bytes.
        gflop: estimated operations of a call, in 10^9 (forward pass times 3, in training times 9).
        gflops: operations per second, in 10^9. sgemm_gflops: of a matrix product of 1024^3 in the same dtype.
        sgemm_fraction: their ratio.
    """

    config: BenchConfig
    model: str
    num_parameters: int
    dtype: str
    backend: str
    atoms: int
    edges: int
    median_ms: float
    first_s: float
    md_step_ms: float | None
    us_per_atom: float
    atom_steps_per_s: float
    peak_mb: float
    gflop: float
    gflops: float
    sgemm_gflops: float
    sgemm_fraction: float
    machine: dict[str, Any] = field(default_factory=dict)
    profile: str | None = None

    def as_json(self) -> dict[str, Any]:
        """All of it as JSON values."""
        return {**asdict(self), "config": self.config.model_dump(mode="json")}


def run_bench(
    make_potential: Callable[[Sequence[str]], Potential], config: BenchConfig, *, name: str, profile: bool = False
) -> BenchResult:
    """Measure a potential.

    Args:
        make_potential: chemical symbols -> potential; called with those of the system.
        config: what is measured.
        name: of the model, for the record.
        profile: whether to find where the time goes, too.
    """
    with _threads(config.threads):
        count = config.batch_size if config.task == "train" else 1
        configurations = build_system(config.system, config.num_atoms, count)
        symbols = sorted({symbol for configuration in configurations for symbol in configuration.symbols})
        potential = make_potential(symbols)
        batch = potential.batch(configurations)
        rate = _matrix_rate(potential.dtype)
        before = _peak_bytes()
        call = training_step(potential, batch) if config.task == "train" else lambda: potential(batch)
        first = _seconds(call)
        median = _median(call, config)
        peak = _peak_bytes() - before
        atoms = len(batch.species)
        cost = describe(potential.config.model).cost
        gflop = PASSES[config.task] * (cost.per_atom * atoms + cost.per_edge * batch.num_edges) / 1e9
        return BenchResult(
            config=config,
            model=name,
            num_parameters=sum(parameter.numel() for parameter in potential.parameters()),
            dtype=str(potential.dtype).removeprefix("torch."),
            backend=potential.backend,
            atoms=atoms,
            edges=batch.num_edges,
            median_ms=1e3 * median,
            first_s=first,
            md_step_ms=_md_step(potential, configurations[0], config) if config.task == "inference" else None,
            us_per_atom=1e6 * median / atoms,
            atom_steps_per_s=atoms / median,
            peak_mb=peak / 1e6,
            gflop=gflop,
            gflops=gflop / median,
            sgemm_gflops=rate,
            sgemm_fraction=gflop / median / rate,
            machine=machine(),
            profile=_profile(call) if profile else None,
        )


def training_step(potential: Potential, batch: Batch) -> Callable[[], None]:
    """One step: energies, forces, loss, its gradient, AMSGrad, moving average."""
    config = TrainConfig()
    optimizer, average = config.optimizer.build(potential), ExponentialMovingAverage(potential, 0.99)
    parameters = list(potential.parameters())

    def step() -> None:
        prediction = potential(batch, create_graph=True)
        total, _ = loss(prediction, batch, config.loss_config(0))
        optimizer.zero_grad(set_to_none=True)
        total.backward(inputs=parameters)
        optimizer.step()
        average.update()

    return step


def machine() -> dict[str, Any]:
    """Processor and versions."""
    return {
        "processor": _processor(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "clebsch": __version__,
    }


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _seconds(call: Callable[[], Any]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def _median(call: Callable[[], Any], config: BenchConfig) -> float:
    for _ in range(config.warmup - 1):
        call()
    return statistics.median(_seconds(call) for _ in range(config.repeats))


def _md_step(potential: Potential, configuration: Any, config: BenchConfig) -> float:
    """Milliseconds of energy and forces of displaced atoms through the ASE calculator."""
    atoms = configuration.to_atoms()
    atoms.calc = Calculator(potential)
    positions, generator = atoms.get_positions(), np.random.default_rng(0)

    def step() -> None:
        atoms.set_positions(positions + generator.normal(scale=1e-3, size=positions.shape))
        atoms.get_forces()

    step()
    return 1e3 * _median(step, config)


def _matrix_rate(dtype: torch.dtype, size: int = 1024) -> float:
    """10^9 operations per second of a square matrix product."""
    left, right = torch.rand(size, size, dtype=dtype), torch.rand(size, size, dtype=dtype)
    result = torch.empty_like(left)
    times = [_seconds(lambda: torch.mm(left, right, out=result)) for _ in range(7)]
    return 2 * size**3 / statistics.median(times) / 1e9


def _peak_bytes() -> int:
    """Largest resident memory of the process so far."""
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _profile(call: Callable[[], Any], calls: int = 5, rows: int = 20) -> str:
    """Table of the operators that take longest, by their own time."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
        for _ in range(calls):
            call()
    averages = sorted(profiler.key_averages(), key=lambda row: row.self_cpu_time_total, reverse=True)
    total = sum(row.self_cpu_time_total for row in averages) or 1.0
    lines = [f"{'operator':60s} {'ms per call':>12s} {'share':>7s} {'count':>7s}"]
    for row in averages[:rows]:
        own = row.self_cpu_time_total
        lines.append(f"{row.key[:60]:60s} {own / calls / 1e3:12.3f} {own / total:7.1%} {row.count / calls:7.1f}")
    return "\n".join(lines)


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            return next(line.split(":")[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
