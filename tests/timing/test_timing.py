"""The bench command: systems without data, figures that hang together, errors."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from ase.build import molecule
from ase.io import write

from clebsch.cli import main
from clebsch.data.neighbors import neighbor_list
from clebsch.errors import BackendError, ConfigError
from clebsch.ops import default_backend
from clebsch.timing import SYSTEMS, BenchConfig, build_system, potential_of, run_bench

MODEL = "mace:num_channels=4,l_max=1,L_max=1,r_max=3.0,correlation=2"


@pytest.mark.parametrize(("system", "atoms", "formula"), [("acac", 15, "C5H8O2"), ("3bpa", 27, "C12H12N2O")])
def test_molecules(system: str, atoms: int, formula: str):
    (frame,) = build_system(system, None, 1)
    found = frame.to_atoms()
    assert len(found) == atoms and found.get_chemical_formula() == formula
    distances = found.get_all_distances() + 10 * np.eye(atoms)
    assert 0.9 < distances.min() < 1.15  # the bonds of hydrogen
    hydrogens = found.numbers == 1
    assert np.all((distances[hydrogens] < 1.25).sum(axis=1) == 1)


def test_water_has_the_density_of_water_and_no_overlaps():
    (frame,) = build_system("water", None, 1)
    atoms = frame.to_atoms()
    assert len(atoms) == 648 and atoms.pbc.all()
    density = atoms.get_masses().sum() * 1.66054 / atoms.get_volume()
    assert density == pytest.approx(0.997, abs=0.003)
    centers, *_ = neighbor_list(frame.positions, frame.cell, frame.pbc, 0.8)
    assert not len(centers)


@pytest.mark.parametrize("wanted", [8, 1000, 5000])
def test_size_of_silicon(wanted: int):
    (frame,) = build_system("silicon", wanted, 1)
    assert abs(frame.num_atoms - wanted) < 0.05 * wanted


def test_systems_are_the_same_every_time_and_frames_differ():
    first, second = build_system("water", 24, 2), build_system("water", 24, 2)
    assert np.array_equal(first[1].positions, second[1].positions)
    assert not np.array_equal(first[0].positions, first[1].positions)


@pytest.mark.parametrize("task", ["inference", "train"])
def test_figures_hang_together(task: str):
    config = BenchConfig(task=task, system="acac", batch_size=2, repeats=2, warmup=1)  # type: ignore[arg-type]
    before = torch.get_num_threads()
    result = run_bench(potential_of(MODEL, torch.float64, None), config, name=MODEL, profile=True)
    assert torch.get_num_threads() == before
    assert result.atoms == (30 if task == "train" else 15) and result.backend == default_backend()
    assert result.us_per_atom == pytest.approx(1e3 * result.median_ms / result.atoms)
    assert result.atom_steps_per_s == pytest.approx(1e6 / result.us_per_atom)
    assert result.gflops == pytest.approx(result.gflop / result.median_ms * 1e3) and result.sgemm_gflops > 0
    assert (result.md_step_ms is None) == (task == "train")
    assert result.profile is not None and "aten::" in result.profile


def test_json(capsys: pytest.CaptureFixture[str]):
    arguments = ["bench", "--model", MODEL, "--repeats", "1", "--json", "--no-keep-memory"]
    with pytest.raises(SystemExit):
        main(arguments)
    found = json.loads(capsys.readouterr().out)
    assert {"median_ms", "us_per_atom", "peak_mb", "gflops", "sgemm_gflops", "machine", "config"} <= set(found)
    assert found["config"]["system"] == "acac" and found["machine"]["torch"] == torch.__version__


def test_table(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        main(["bench", "--model", MODEL, "--repeats", "1", "--no-keep-memory"])
    printed = capsys.readouterr().out
    assert "median time, ms" in printed and "15 atoms" in printed


def test_a_file_with_atoms(tmp_path: Path):
    write(tmp_path / "a.xyz", molecule("CH3CH2OH"))
    (first, second) = build_system(str(tmp_path / "a.xyz"), None, 2)
    assert first.num_atoms == second.num_atoms == 9
    (tmp_path / "b.xyz").write_text("no atoms")
    with pytest.raises(ConfigError, match="ASE cannot read"):
        build_system(str(tmp_path / "b.xyz"), None, 1)


def test_errors():
    with pytest.raises(ConfigError, match=r"'wter' is neither a system nor a file. Did you mean 'water'"):
        build_system("wter", None, 1)
    with pytest.raises(ConfigError, match=r"'mce' is neither a preset nor a file. Did you mean 'mace'"):
        potential_of("mce", None, None)
    with pytest.raises(ConfigError, match="num_chanels"):
        potential_of("mace:num_chanels=3", None, None)
    with pytest.raises(BackendError, match="Backend 'gpu' is not available"):
        potential_of("mace", None, "gpu")
    assert set(SYSTEMS) == {"acac", "3bpa", "water", "silicon"}


@pytest.mark.parametrize(("option", "value"), [("--threads", "0"), ("--task", "sleep"), ("--repeats", "0")])
def test_bad_options(capsys: pytest.CaptureFixture[str], option: str, value: str):
    with pytest.raises(SystemExit) as stopped:
        main(["bench", "--model", MODEL, option, value])
    assert stopped.value.code == 2 and option.removeprefix("--") in capsys.readouterr().err
