"""A benchmark: everything measured for some potentials, as plain numbers and as curves to draw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from clebsch.benchmark.body_order import body_order_terms
from clebsch.benchmark.dimers import DimerCurve, dimer_curves, judge_dimer
from clebsch.benchmark.dynamics import TIMESTEP, DynamicsError, run_langevin, run_nve
from clebsch.benchmark.scans import Scan, judge_scan, predict_scan
from clebsch.benchmark.suites import ScanSet, Suite
from clebsch.data import Configuration
from clebsch.data.datasets import SOURCES, Dataset, load_dataset
from clebsch.data.datasets.source import find_coordinates
from clebsch.errors import DataError
from clebsch.evaluation import evaluate
from clebsch.models import Potential

MILLI = 1000.0
LARGEST_MOLECULE = 30  # atoms, for the body-order decomposition


@dataclass(frozen=True)
class Judgement:
    """What was measured for one potential: numbers for JSON, and the curves behind them."""

    numbers: dict[str, Any]
    scans: list[Scan]
    dimers: list[DimerCurve]


def judge(
    suite: Suite,
    potential: Potential,
    *,
    root: str | Path | None = None,
    picoseconds: float = 2.0,
    seed: int = 0,
) -> Judgement:
    """Measure ``potential`` on every set of ``suite`` that is there.

    Args:
        suite: the benchmark.
        potential: the potential.
        root: folder of the data sets; None takes $CLEBSCH_DATA.
        picoseconds: length of every dynamics; 0 leaves them out.
        seed: of the velocities and the random forces.

    Raises:
        DataError: a file is missing or not as expected, or the potential does not know an element of the data.
    """
    dataset = load_dataset(suite.dataset, root)
    _require_elements(potential, dataset)
    paths = {scan.name for scan in suite.scans}
    tests = {name: frames for name, frames in dataset.tests.items() if name in suite.tests}
    accuracies = {name: evaluate(potential, frames).as_dict() for name, frames in tests.items()}
    scans = [
        scan
        for scan_set in suite.scans
        if scan_set.name in dataset.tests
        for scan in _scans(potential, scan_set, dataset.tests[scan_set.name], suite.dataset, root)
    ]
    curves = dimer_curves(potential)
    numbers: dict[str, Any] = {
        "accuracy": accuracies,
        "left_out": sorted({*suite.tests, *paths} - set(dataset.tests)),
        "scans": {scan.name: judge_scan(scan) for scan in scans},
        "dimers": {curve.pair: judge_dimer(curve) for curve in curves},
    }
    start = next(iter(tests.values()), dataset.train)[0]
    if not start.pbc.any() and start.num_atoms <= LARGEST_MOLECULE:
        numbers["body_order_eV"] = body_order_terms(potential, start)
    if picoseconds > 0:
        numbers["dynamics"] = _dynamics(suite, potential, start, picoseconds, seed)
    return Judgement(numbers, scans, curves)


def _require_elements(potential: Potential, dataset: Dataset) -> None:
    unknown = sorted({s for frame in dataset.train[:1] for s in frame.symbols} - set(potential.elements))
    if unknown:
        raise DataError(
            f"The potential knows {', '.join(potential.elements)}, but {dataset.name} holds {', '.join(unknown)} too. "
            "Choose a potential that was trained on this data set."
        )


def _scans(
    potential: Potential, scan_set: ScanSet, frames: Sequence[Configuration], dataset: str, root: str | Path | None
) -> list[Scan]:
    values = (
        find_coordinates(SOURCES[dataset], scan_set.name, scan_set.key, root)
        if scan_set.key
        else np.arange(len(frames))
    )
    if not scan_set.by_type:
        return [predict_scan(potential, scan_set.name, frames, scan_set.coordinate, values)]
    scans = []
    pairs = zip(frames, values, strict=True)
    for kind, group in groupby(pairs, key=lambda pair: pair[0].config_type):
        members, places = zip(*group, strict=True)
        scans.append(predict_scan(potential, f"{scan_set.name} {kind}", members, scan_set.coordinate, places))
    return scans


def _dynamics(
    suite: Suite, potential: Potential, start: Configuration, picoseconds: float, seed: int
) -> Mapping[str, Any]:
    atoms = start.to_atoms()
    nve: dict[str, Any] = {"drift_meV_per_atom_per_ps": None, "spread_meV_per_atom": None, "reason": ""}
    try:
        trace = run_nve(potential, atoms, steps=max(4, round(picoseconds * MILLI / TIMESTEP)), seed=seed)
        nve |= {"drift_meV_per_atom_per_ps": trace.drift, "spread_meV_per_atom": trace.spread}
    except DynamicsError as error:
        nve["reason"] = str(error)
    runs = [
        run_langevin(potential, atoms, temperature=temperature, picoseconds=picoseconds, seed=seed)
        for temperature in suite.temperatures
    ]
    return {"nve": nve, "langevin": [asdict(run) for run in runs]}
