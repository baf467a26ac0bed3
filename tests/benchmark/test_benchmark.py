"""The benchmark command, on the data sets where they are at hand."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from clebsch.benchmark import SUITES, find_suite, run_benchmark
from clebsch.benchmark.published import MOLECULES, published_mae, published_rmse
from clebsch.benchmark.run import name_potentials
from clebsch.data import read_configurations
from clebsch.errors import ConfigError, DataError
from clebsch.models import Potential, PotentialConfig
from clebsch.models.presets import linear_ace
from clebsch.models.serialization import save_potential

DATA = os.environ.get("CLEBSCH_DATA")
needs_data = pytest.mark.usefixtures("data_root")


def save(path: Path, elements: tuple[str, ...], frames: list) -> Path:
    model = linear_ace(elements=elements, num_channels=2, l_max=1, correlation=2, r_max=3.0)
    e0 = dict.fromkeys(elements, 0.0)
    save_potential(Potential(PotentialConfig(model=model), e0=e0), path, frames=frames)
    return path


@needs_data
def test_acac(tmp_path: Path):
    assert DATA is not None
    frames = read_configurations(Path(DATA) / "dataset_acac" / "train_300K.xyz", index=":2")
    path = save(tmp_path / "small.safetensors", ("H", "C", "O"), frames)
    result = run_benchmark("acac", [path], tmp_path / "out", picoseconds=0.005)
    found = json.loads((tmp_path / "out" / "benchmark.json").read_text())["potentials"]["small"]
    assert found["accuracy"]["test_MD_300K"]["n"] == found["accuracy"]["test_MD_600K"]["n"] == 650
    assert found["scans"]["test_dihedral"]["barrier_label"] == pytest.approx(1094.5, abs=0.5)
    assert found["scans"]["test_H_transfer"]["barrier_label"] == pytest.approx(13.6, abs=0.5)
    assert len(found["body_order_eV"]) == 5 and set(found["dimers"]) == {"HH", "HC", "HO", "CC", "CO", "OO"}
    assert [run["temperature"] for run in found["dynamics"]["langevin"]] == [300, 600, 900, 1200]
    assert "| *PACE, published* | 0.73 / 4.20 | 3.80 / 16.90 |" in result.markdown
    names = {file.name for file in (tmp_path / "out").iterdir()}
    assert {"benchmark.md", "dimers.png", "test_dihedral.png", "test_H_transfer.png"} <= names


@needs_data
def test_an_element_that_the_potential_does_not_know(tmp_path: Path):
    assert DATA is not None
    frames = read_configurations(Path(DATA) / "dataset_acac" / "isolated_atoms.xyz", index=":1")
    path = save(tmp_path / "h.safetensors", ("H",), frames[:0])
    with pytest.raises(DataError, match="The potential knows H, but acac holds C, O too"):
        run_benchmark("acac", [path], tmp_path / "out")


def test_names_and_errors(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"no benchmark '3pba'. Did you mean '3bpa'"):
        find_suite("3pba")
    assert list(name_potentials([tmp_path / "a" / "potential.safetensors", "b.safetensors"])) == ["a", "b"]
    with pytest.raises(ConfigError, match="would both be called 'b'"):
        name_potentials(["x/b.safetensors", "y/b.safetensors"])


def test_published_rows_belong_to_sets_of_the_suites():
    for benchmark in ("acac", "3bpa"):
        for row in published_rmse(benchmark).values():
            assert set(row) <= set(SUITES[benchmark].tests)
    assert published_mae("aspirin")["MACE"] == (2.2, 6.6) and published_mae("uracil")["Allegro"] == (0.6, 1.8)
    assert all(f"rmd17/{molecule}" in SUITES and len(published_mae(molecule)) == 5 for molecule in MOLECULES)
