"""The demo, from sampling to dynamics, on a handful of configurations."""

from __future__ import annotations

import io
import math
import sys
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from clebsch.data import read_configurations, read_isolated_atoms
from clebsch.demo import run_demo, sampling
from clebsch.demo.sampling import Trajectory, acetylacetone, gfn2_xtb, sample
from clebsch.errors import ClebschError


def test_the_molecule_is_the_enol():
    atoms = acetylacetone()
    assert atoms.get_chemical_formula() == "C5H8O2"
    distances = atoms.get_all_distances()
    assert distances[5, 7] == pytest.approx(1.00, abs=0.02)  # O–H
    assert distances[6, 7] == pytest.approx(1.67, abs=0.02)  # H···O


def test_without_tblite_the_error_names_the_cure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setitem(sys.modules, "tblite.ase", None)
    with pytest.raises(ClebschError, match=r"pip install clebsch\[demo\]"):
        run_demo(tmp_path)


def test_the_molecule_is_relaxed():
    pytest.importorskip("tblite")
    atoms = acetylacetone()
    atoms.calc = gfn2_xtb()
    assert np.abs(atoms.get_forces()).max() < 0.1  # eV/Å, from three decimals of the positions


def test_a_seed_gives_the_same_configurations(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    pytest.importorskip("tblite")
    monkeypatch.setattr(sampling, "STEPS_BEFORE", 2)
    monkeypatch.setattr(sampling, "STEPS_BETWEEN", 3)
    first, again, other = (sample(Trajectory(tmp_path / "a.xyz", 300.0, 2, seed)) for seed in (1, 1, 2))
    np.testing.assert_allclose(first[1].positions, again[1].positions, atol=1e-9)
    assert np.abs(first[1].positions - other[1].positions).max() > 1e-3
    assert np.abs(first[0].positions - first[1].positions).max() > 1e-3
    relabelled = first[1].copy()
    relabelled.calc = gfn2_xtb()
    assert relabelled.get_potential_energy() == pytest.approx(first[1].get_potential_energy(), abs=1e-4)
    np.testing.assert_allclose(relabelled.get_forces(), first[1].get_forces(), atol=1e-3)


def test_a_failed_trajectory_is_an_error(tmp_path: Path):
    pytest.importorskip("tblite")
    (tmp_path / "file").touch()
    with pytest.raises(ClebschError, match=r"(?s)file.a\.xyz' failed:.*cannot be written"):
        sampling.sample_all([Trajectory(tmp_path / "file" / "a.xyz", 300.0, 0, 0)])


def test_the_whole_demo(tmp_path: Path):
    pytest.importorskip("tblite")
    told = io.StringIO()
    console = Console(file=told, width=100)
    found = run_demo(tmp_path / "demo", seconds=2, configurations=(12, 4, 4), steps=20, console=console)

    assert set(found["errors"]) == {"linear ACE", "PACE"}
    for errors in found["errors"].values():
        assert {part: error["n"] for part, error in errors.items()} == {
            "train": 12, "valid": 4, "test 300 K": 4, "test 600 K": 4,
        }  # fmt: skip
        assert all(math.isfinite(error["forces_rmse_meV_A"]) for error in errors.values())
    # Twelve configurations hold fewer labels than linear ACE has coefficients: it reproduces them.
    assert found["errors"]["linear ACE"]["train"]["forces_rmse_meV_A"] < 20
    assert abs(found["drift_meV_per_atom_per_ps"]) < 10
    assert set(found["seconds"]) == {"sampling", "linear ACE", "PACE", "dynamics", "results"}

    train = tmp_path / "demo" / "train.xyz"
    assert sorted(read_isolated_atoms(train)) == ["C", "H", "O"]
    assert sum(not frame.is_isolated_atom for frame in read_configurations(train)) == 16
    assert (tmp_path / "demo" / "demo.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "demo" / "pace" / "potential.safetensors").is_file()
    assert "meV/Å" in told.getvalue()
    assert "meV/atom/ps" in told.getvalue()
