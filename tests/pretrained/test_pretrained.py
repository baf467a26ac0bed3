"""The potentials that come with the library: whole, sound, and as accurate as their index says."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from ase.optimize import BFGS

import clebsch
from clebsch.bench import build_system
from clebsch.errors import CheckpointError, ConfigError
from clebsch.evaluate import evaluate
from clebsch.extrapolation import dimer_curves, judge_dimer
from clebsch.pretrained import load_pretrained, pretrained_index, pretrained_path
from clebsch.recipe import load_recipe
from clebsch.run import read_sets
from clebsch.testing import run_contract

ROOT = Path(__file__).resolve().parents[2]
NAMES = sorted(pretrained_index())


@pytest.mark.parametrize("name", NAMES)
def test_index(name: str):
    entry = pretrained_index()[name]
    assert (ROOT / entry["recipe"]).is_file()
    assert pretrained_path(name).stat().st_size < 5e6
    assert sum(p.numel() for p in load_pretrained(name).parameters()) == entry["parameters"]


@pytest.mark.skipif("CLEBSCH_DATA" not in os.environ, reason="set CLEBSCH_DATA to the folder of the data sets")
@pytest.mark.parametrize("name", NAMES)
def test_errors_of_the_index(name: str):
    """On the validation set, drawn again as the recipe says."""
    entry = pretrained_index()[name]
    recipe = load_recipe(ROOT / entry["recipe"])
    found = evaluate(load_pretrained(name), read_sets(recipe.data, recipe.seed).valid)
    assert found.n == entry["errors"]["valid"]["n"] == 50
    assert found.energy_rmse_meV == pytest.approx(entry["errors"]["valid"]["energy_rmse_meV"], rel=1e-2)
    assert found.force_rmse_meV_A == pytest.approx(entry["errors"]["valid"]["force_rmse_meV_A"], rel=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_contract(name: str):
    """Of the trained weights, in float64."""
    results = run_contract(load_pretrained(name, dtype=torch.float64))
    assert not [str(result) for result in results if not result.passed]


def test_acetylacetone_relaxes():
    """The molecule of the benchmarks, from its GFN2-xTB geometry: every bond stays, the forces vanish."""
    (frame,) = build_system("acac", None, 1)
    atoms = frame.to_atoms()
    before = atoms.get_all_distances()
    atoms.calc = clebsch.Calculator(load_pretrained("acac", dtype=torch.float64))
    assert BFGS(atoms, logfile=None).run(fmax=0.01, steps=200)
    bonds = (before > 0) & (before < 1.6)
    assert np.abs(atoms.get_all_distances() - before)[bonds].max() < 0.12


def test_dimers_of_ethanol_repel():
    """It was trained with the screened nuclear repulsion."""
    for curve in dimer_curves(load_pretrained("ethanol", dtype=torch.float64), shortest=0.1):
        assert curve.energies[0] > 10, curve.pair
        assert judge_dimer(curve)["wall_meV"] > 0


def test_errors(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    with pytest.raises(ConfigError, match=r"no potential 'acas'. Did you mean 'acac'"):
        load_pretrained("acas")
    (tmp_path / "acac.safetensors").write_bytes(pretrained_path("acac").read_bytes()[:-1])
    monkeypatch.setattr("clebsch.pretrained.FOLDER", tmp_path)
    with pytest.raises(CheckpointError, match="is missing or damaged"):
        load_pretrained("acac")
