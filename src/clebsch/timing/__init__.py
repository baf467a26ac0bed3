"""Time, memory and operations of a model, on this machine."""

from __future__ import annotations

from clebsch.timing.measure import BenchConfig, BenchResult, run_bench
from clebsch.timing.model import potential_of
from clebsch.timing.systems import SYSTEMS, build_system

__all__ = ["SYSTEMS", "BenchConfig", "BenchResult", "build_system", "potential_of", "run_bench"]
