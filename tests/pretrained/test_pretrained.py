"""The potentials that come with the library: whole, sound, and as accurate as their index says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from ase.optimize import BFGS

import clebsch
from clebsch.benchmark import dimer_curves, judge_dimer
from clebsch.benchmark.scans import find_minima
from clebsch.errors import CheckpointError, ConfigError
from clebsch.evaluation import evaluate
from clebsch.pretrained import load, pretrained_index, pretrained_path
from clebsch.recipe import load_recipe
from clebsch.run import read_sets
from clebsch.testing import run_contract
from clebsch.timing import build_system

ROOT = Path(__file__).resolve().parents[2]
NAMES = sorted(pretrained_index())
SMALLEST, *LARGER = sorted(NAMES, key=lambda name: pretrained_index()[name]["parameters"])
SMALLEST_IS_FAST = [SMALLEST, *(pytest.param(name, marks=pytest.mark.slow) for name in LARGER)]


@pytest.mark.parametrize("name", NAMES)
def test_index(name: str):
    entry = pretrained_index()[name]
    potential, recipe = load(name), load_recipe(ROOT / entry["recipe"])
    assert recipe.stands_for(potential.config.model)
    assert pretrained_path(name).stat().st_size < 5e6
    assert sum(p.numel() for p in potential.parameters()) == entry["parameters"]


@pytest.mark.usefixtures("data_root")
@pytest.mark.parametrize("name", SMALLEST_IS_FAST)
def test_errors_of_the_index(name: str):
    """On the validation set, drawn again as the recipe says."""
    entry = pretrained_index()[name]
    recipe = load_recipe(ROOT / entry["recipe"])
    found = evaluate(load(name), read_sets(recipe.data, recipe.seed).valid)
    assert found.n == entry["errors"]["valid"]["n"] == 50
    assert found["energy_rmse_meV"] == pytest.approx(entry["errors"]["valid"]["energy_rmse_meV"], rel=1e-2)
    assert found["forces_rmse_meV_A"] == pytest.approx(entry["errors"]["valid"]["forces_rmse_meV_A"], rel=1e-3)


@pytest.mark.parametrize("name", SMALLEST_IS_FAST)
def test_contract(name: str):
    """Of the trained weights, in float64."""
    results = run_contract(load(name, dtype=torch.float64))
    assert not [str(result) for result in results if not result.passed]


def test_acetylacetone_relaxes():
    """The molecule of the benchmarks, from its GFN2-xTB geometry: every bond stays, the forces vanish."""
    (frame,) = build_system("acac", None, 1)
    atoms = frame.to_atoms()
    before = atoms.get_all_distances()
    atoms.calc = clebsch.Calculator(load("acac", dtype=torch.float64))
    assert BFGS(atoms, logfile=None).run(fmax=0.01, steps=200)
    bonds = (before > 0) & (before < 1.6)
    assert np.abs(atoms.get_all_distances() - before)[bonds].max() < 0.12


@pytest.mark.parametrize("name", NAMES)
def test_two_atoms_alone_have_no_minimum_but_the_bond(name: str):
    bonds = {"HC", "HN", "CC", "CN", "CO"} if name == "3bpa" else {"HC", "HO", "CC", "CO"}
    curves = dimer_curves(load(name))
    assert bonds < {curve.pair for curve in curves}
    for curve in curves:
        found = judge_dimer(curve)
        assert len(find_minima(1000 * curve.energies)) == (curve.pair in bonds), curve.pair
        assert found["repulsive"] and (found["well_meV"] < -100) == (curve.pair in bonds), curve.pair


def test_dimers_of_ethanol_repel():
    """All the way through the core, where the network is held."""
    potential = load("ethanol", dtype=torch.float64)
    cores = {pair.replace("-", ""): radius for pair, radius in potential.config.core_radii.items()}
    curves = [curve for curve in dimer_curves(potential, shortest=0.1) if curve.pair in cores]
    assert len(curves) == 5  # all that the molecule has
    for curve in curves:
        inside = curve.energies[curve.distances < 0.9 * cores[curve.pair]]
        assert len(inside) > 10 and inside[0] > 10 and (np.diff(inside) < 0).all(), curve.pair


def test_errors(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    with pytest.raises(ConfigError, match=r"'acas' is neither a file, .* nor .* Did you mean 'acac'.*ethanol"):
        load("acas")
    with pytest.raises(ConfigError, match=r"no potential 'acas'. Did you mean 'acac'"):
        pretrained_path("acas")
    (tmp_path / "acac.safetensors").write_bytes(pretrained_path("acac").read_bytes()[:-1])
    monkeypatch.setattr("clebsch.pretrained.FOLDER", tmp_path)
    with pytest.raises(CheckpointError, match="is missing or damaged"):
        load("acac")
