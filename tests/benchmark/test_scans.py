"""Paths: barriers, shapes and minima that are not there."""

from __future__ import annotations

import numpy as np
import pytest

from clebsch.benchmark import Scan, count_minima, judge_scan

x = np.linspace(-1, 1, 41)


def scan(label: np.ndarray, energy: np.ndarray) -> Scan:
    return Scan("path", "x", x, label, energy)


def test_minima_are_interior_and_deep_enough():
    assert count_minima(1000 * x**2) == 1
    assert count_minima(1000 * x) == 0  # lowest at the end of the path
    assert count_minima(1000 * (x**2 - 0.3) ** 2) == 2
    ripple = 0.2 * np.cos(60 * x)  # meV
    assert count_minima(1000 * x + ripple) == 0
    assert count_minima(50 * np.cos(20 * x)) > 3


def test_a_plateau_is_one_minimum():
    assert count_minima(np.array([5.0, 0.0, 0.0, 0.0, 5.0])) == 1


def test_errors_of_a_known_scan():
    label = 0.1 * (1 - x**2)  # a barrier of 100 meV between two ends
    found = judge_scan(scan(label, 1.2 * label + 0.005))
    assert found["barrier_label"] == pytest.approx(100)
    assert found["barrier_error"] == pytest.approx(20)
    assert found["rmse"] == pytest.approx(1000 * np.sqrt(np.mean((0.2 * label + 0.005) ** 2)))
    assert found["relative_rmse"] == pytest.approx(1000 * np.std(0.2 * label))
    assert found["roughness"] == pytest.approx(0.2)
    assert found["spurious_minima"] == 0


def test_a_hole_in_the_barrier_is_found():
    label = 0.1 * (1 - x**2)
    hole = label - 0.05 * np.exp(-((x / 0.1) ** 2))
    assert judge_scan(scan(label, hole))["spurious_minima"] == 1
