"""Benchmarks in and out of the training domain: public splits, scans, two atoms, body order, dynamics."""

from __future__ import annotations

from clebsch.benchmark.body_order import body_order_terms
from clebsch.benchmark.dimers import DimerCurve, dimer_curves, judge_dimer
from clebsch.benchmark.dynamics import run_langevin, run_nve
from clebsch.benchmark.judge import Judgement, judge
from clebsch.benchmark.run import BenchmarkResult, run_benchmark
from clebsch.benchmark.scans import Scan, count_minima, judge_scan, predict_scan
from clebsch.benchmark.suites import SUITES, Suite, find_suite

__all__ = [
    "SUITES",
    "BenchmarkResult",
    "DimerCurve",
    "Judgement",
    "Scan",
    "Suite",
    "body_order_terms",
    "count_minima",
    "dimer_curves",
    "find_suite",
    "judge",
    "judge_dimer",
    "judge_scan",
    "predict_scan",
    "run_benchmark",
    "run_langevin",
    "run_nve",
]
