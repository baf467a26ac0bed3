"""Fixtures of the whole suite: benchmark data, generators with fixed seeds, and a small labelled file."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import ase.io
import hypothesis
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones

hypothesis.settings.register_profile("clebsch", deadline=None, derandomize=True, print_blob=True)
hypothesis.settings.load_profile("clebsch")

NO_DATA = "CLEBSCH_DATA is not set, so the public data sets are missing (docs/data.md)"


@pytest.fixture(scope="session")
def data_root() -> Path:
    """Folder of the public data sets: $CLEBSCH_DATA; tests that need it are skipped where it is unset."""
    root = os.environ.get("CLEBSCH_DATA")
    if not root:
        pytest.skip(NO_DATA)
    return Path(root)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """One line for all tests that miss the data sets, in place of one for every file."""
    skipped = terminalreporter.stats.get("skipped", [])
    missing = [report for report in skipped if NO_DATA in str(report.longrepr)]
    if missing:
        terminalreporter.stats["skipped"] = [report for report in skipped if report not in missing]
        terminalreporter.stats["without data"] = missing
        terminalreporter.write_line(f"{len(missing)} tests skipped: {NO_DATA}")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that takes ``backend`` runs on every one; others run on the default, or name the one they are about."""
    if "backend" in metafunc.fixturenames:
        from clebsch.ops import available_backends  # not above: the check of shapes must be set up first

        metafunc.parametrize("backend", available_backends())


@pytest.fixture
def rng() -> np.random.Generator:
    """Explicit generator with a fixed seed."""
    return np.random.default_rng(0)


def labelled_alloy(seed: int) -> Atoms:
    """A rattled four-atom Cu3Au cell with energy, forces and stress of ASE's effective-medium potential."""
    atoms = bulk("Cu", cubic=True)
    atoms.symbols[0] = "Au"
    atoms.rattle(0.1, seed=seed)
    atoms.calc = EMT()
    atoms.get_stress()
    return atoms


@pytest.fixture(scope="session")
def alloy_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve labelled configurations of a periodic alloy, in extended XYZ."""
    path = tmp_path_factory.mktemp("data") / "alloy.xyz"
    ase.io.write(path, [labelled_alloy(seed) for seed in range(12)])
    return path


@pytest.fixture(scope="session")
def make_clusters() -> Callable[[str, int], list[Atoms]]:
    """Makes a number of labelled Lennard-Jones clusters of five atoms, the same ones every time."""

    def make(formula: str, count: int) -> list[Atoms]:
        rng = np.random.default_rng(0)
        frames = []
        for _ in range(count):
            grid = 1.2 * np.array(np.unravel_index(rng.permutation(8)[:5], (2, 2, 2))).T
            atoms = Atoms(formula, grid + 0.1 * rng.normal(size=(5, 3)))
            atoms.calc = LennardJones(sigma=1.0, epsilon=0.1, rc=6.0)
            atoms.get_forces()
            frames.append(atoms)
        return frames

    return make
