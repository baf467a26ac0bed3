"""Energies along a path of configurations: barrier, smoothness, minima that should not be there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from clebsch.data import Configuration
from clebsch.evaluation import compare
from clebsch.models import Potential

MILLI = 1000.0
PROMINENCE = 1.0  # meV: shallower dips are noise of the label or of the arithmetic


@dataclass(frozen=True)
class Scan:
    """Labelled and predicted energies along a path.

    Attributes:
        name: of the test set.
        coordinate: what is scanned, with its unit.
        values: the coordinate, ascending as in the file.
        label: eV.
        energy: eV, predicted.
    """

    name: str
    coordinate: str
    values: Float[np.ndarray, " frames"]
    label: Float[np.ndarray, " frames"]
    energy: Float[np.ndarray, " frames"]

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers, for JSON."""
        return {
            "coordinate": self.coordinate,
            "values": self.values.tolist(),
            "label_eV": self.label.tolist(),
            "energy_eV": self.energy.tolist(),
        }


def predict_scan(
    potential: Potential,
    name: str,
    frames: Sequence[Configuration],
    coordinate: str,
    values: Sequence[float] | np.ndarray,
) -> Scan:
    """Return the scan of ``potential`` over labelled ``frames``."""
    found = compare(potential, frames)
    return Scan(name, coordinate, np.asarray(values, dtype=float), found.labels["energy"], found.predictions["energy"])


def judge_scan(scan: Scan) -> dict[str, float | int]:
    """Return the errors of a scan, in meV per configuration.

    - ``rmse``: of the energies;
    - ``relative_rmse``: after the mean error is taken off, which is the error of the shape;
    - ``barrier``, ``barrier_label``: highest energy above the first configuration; ``barrier_error``: their difference;
    - ``spurious_minima``: interior minima at least 1 meV deep that the labels do not have;
    - ``roughness``: root mean square second difference of the error, over that of the labels.
    """
    error = MILLI * (scan.energy - scan.label)
    barrier, expected = (MILLI * float((e - e[0]).max()) for e in (scan.energy, scan.label))
    bends = [np.sqrt(np.mean(np.diff(e, 2) ** 2)) for e in (error, MILLI * scan.label)]
    return {
        "rmse": float(np.sqrt(np.mean(error**2))),
        "relative_rmse": float(np.std(error)),
        "barrier": barrier,
        "barrier_label": expected,
        "barrier_error": barrier - expected,
        "spurious_minima": max(0, count_minima(MILLI * scan.energy) - count_minima(MILLI * scan.label)),
        "roughness": float(bends[0] / max(bends[1], 1e-12)),
    }


def count_minima(energies: Float[np.ndarray, " frames"]) -> int:
    """Number of the minima that ``find_minima`` finds."""
    return len(find_minima(energies))


def find_minima(energies: Float[np.ndarray, " frames"], prominence: float = PROMINENCE) -> list[int]:
    """Places of interior minima that lie at least ``prominence`` (meV) below the lowest way out on either side."""
    minima = []
    for place in range(1, len(energies) - 1):
        here = energies[place]
        left, right = energies[:place], energies[place + 1 :]
        if here >= left[-1] or here > right[0]:
            continue
        if min(_climb(left[::-1], here), _climb(right, here)) >= prominence:
            minima.append(place)
    return minima


def _climb(energies: np.ndarray, start: float) -> float:
    """How far one has to climb from ``start`` before a lower energy, or the end of the path, is reached."""
    lower = np.flatnonzero(energies < start)
    passed = energies[: lower[0]] if len(lower) else energies
    return float(passed.max() - start) if len(passed) else 0.0
