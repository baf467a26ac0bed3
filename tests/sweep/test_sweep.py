"""Studies run: locally and on Ray, skipped where finished, gone on with where killed, reported where failed."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
import yaml
from ase import Atoms

from clebsch.cli import main
from clebsch.errors import ConfigError
from clebsch.report import write_report
from clebsch.sweep import EngineConfig, run_sweep
from clebsch.sweep.engines import ENGINES, is_finished
from clebsch.sweep.study import load_study
from clebsch.sweep.table import Row, as_markdown, axis_effects, group_rows

LINEAR = {
    "model": {"preset": "linear_ace", "num_channels": 2, "l_max": 1, "correlation": 2, "r_max": 4.0},
    "train": {"method": "least_squares", "ridges": [1e-6]},
}


@pytest.fixture
def folder(tmp_path: Path, make_clusters: Callable[[str, int], list[Atoms]]) -> Path:
    """Labelled clusters of two test sets."""
    frames = make_clusters("Ar5", 16)
    ase.io.write(tmp_path / "train.xyz", frames[:12])
    ase.io.write(tmp_path / "inside.xyz", frames[12:14])
    ase.io.write(tmp_path / "outside.xyz", frames[14:])
    return tmp_path


def write_study(folder: Path, axes: dict[str, Any], base: dict[str, Any], **settings: Any) -> Path:
    tests = {name: str(folder / f"{name}.xyz") for name in ("inside", "outside")}
    recipe = {
        "data": {"train": str(folder / "train.xyz"), "valid": 3, "tests": tests},
        "energy": {"e0": "least_squares"},
        **base,
    }
    study = {"output": str(folder / "out"), "base": recipe, "axes": axes, **settings}
    (folder / "study.yaml").write_text(yaml.safe_dump(study))
    return folder / "study.yaml"


def cell_folders(folder: Path) -> list[Path]:
    return sorted((folder / "out" / "cells").iterdir())


def test_a_study_from_the_command_line(folder: Path, capsys: pytest.CaptureFixture[str]):
    path = write_study(folder, {"model.l_max": [0, 1]}, LINEAR)
    with pytest.raises(SystemExit) as stopped:
        main(["sweep", str(path), "seeds=[0,1]", "--processes", "2"])
    assert stopped.value.code == 0
    assert "| model.l_max | seeds |" in capsys.readouterr().out
    with open(folder / "out" / "study.csv") as file:
        rows = list(csv.DictReader(file))
    assert [(row["model.l_max"], row["seed"]) for row in rows] == [("0", "0"), ("0", "1"), ("1", "0"), ("1", "1")]
    results = json.loads((folder / "out" / "cells" / rows[0]["digest"] / "results.json").read_text())
    assert float(rows[0]["inside/forces_rmse_meV_A"]) == results["errors"]["inside"]["forces_rmse_meV_A"]
    groups = json.loads((folder / "out" / "study.json").read_text())["groups"]
    values = [float(row["outside/forces_rmse_meV_A"]) for row in rows[:2]]
    assert groups[0]["mean"]["outside/forces_rmse_meV_A"] == pytest.approx(np.mean(values))
    assert groups[0]["spread"]["outside/forces_rmse_meV_A"] == pytest.approx(np.std(values, ddof=1))
    for name in ("cost.png", "domains.png", "effects.png"):
        assert (folder / "out" / name).stat().st_size > 5000


@pytest.mark.slow
def test_tables_of_mean_absolute_errors_run_nothing_again(folder: Path):
    path = write_study(folder, {"model.l_max": [0]}, LINEAR)
    (squared,) = run_sweep(path).rows
    (cell,) = cell_folders(folder)
    written = (cell / "results.json").stat().st_mtime_ns
    (folder / "out" / "domains.png").unlink()
    found = run_sweep(path, overrides=["metric=mae"])
    assert (cell / "results.json").stat().st_mtime_ns == written
    (row,) = found.rows
    errors = json.loads((cell / "results.json").read_text())["errors"]["outside"]
    assert row.numbers["outside/forces_mae_meV_A"] == errors["forces_mae_meV_A"] != errors["forces_rmse_meV_A"]
    assert "outside/forces_rmse_meV_A" in squared.numbers and "outside/forces_rmse_meV_A" not in row.numbers
    shown = f"{errors['energy_mae_meV']:.2f} / {errors['forces_mae_meV_A']:.2f}"
    table = (folder / "out" / "study.md").read_text()
    assert table.startswith("MAE, energy (meV per configuration) / forces (meV/Å):\n\n| ") and shown in table
    assert (folder / "out" / "domains.png").stat().st_size > 5000


def test_a_study_of_seeds_alone(folder: Path):
    """The base with every seed, in a process each that is one of several to nobody."""
    path = write_study(folder, {}, LINEAR, seeds=[0, 1])
    result = run_sweep(path)
    assert [group.seeds for group in result.groups] == [(0, 1)] and not result.failed
    assert "| seeds | parameters |" in (folder / "out" / "study.md").read_text()
    assert not (folder / "out" / "effects.png").exists() and (folder / "out" / "domains.png").exists()
    assert [cell.labels for cell in load_study(path, ["mode=each"])[1]] == [{}, {}]
    assert write_report(folder / "out").is_file()


def test_what_is_finished_is_not_run_again(folder: Path, monkeypatch: pytest.MonkeyPatch):
    run_sweep(write_study(folder, {"model.l_max": [0]}, LINEAR))
    asked = []
    original = ENGINES["local"]

    def counting(cells: Any, *rest: Any) -> Any:
        asked.append([cell.labels["model.l_max"] for cell in cells])
        return original(cells, *rest)

    monkeypatch.setitem(ENGINES, "local", counting)
    result = run_sweep(write_study(folder, {"model.l_max": [0, 1]}, LINEAR))
    assert asked == [["1"]] and len(result.rows) == 2


@pytest.mark.parametrize(
    "content", [pytest.param("", marks=pytest.mark.slow), "{", '{"clebsch": "0.1.0", "fit": {"best', "null", "3"]
)
def test_half_written_results_are_not_finished(content: str, folder: Path):
    path = write_study(folder, {"model.l_max": [0]}, LINEAR)
    _, (cell,) = load_study(path)
    results = cell.directory(folder / "out") / "results.json"
    assert not is_finished(cell, folder / "out")
    results.parent.mkdir(parents=True)
    results.write_text(content)
    assert not is_finished(cell, folder / "out")
    if not content:
        (row,) = run_sweep(path).rows
        assert row.digest == cell.digest and is_finished(cell, folder / "out")


def test_a_cell_that_fails_does_not_stop_the_others(folder: Path, capsys: pytest.CaptureFixture[str]):
    axes = {"data.valid": [3, 12]}  # the second leaves nothing to train on
    path = write_study(folder, axes, LINEAR)
    with pytest.raises(SystemExit) as stopped:
        main(["sweep", str(path)])
    assert stopped.value.code == 1
    assert "data.valid: 12, seed 0: failed, see" in capsys.readouterr().out.replace("\n", " ")
    assert len(json.loads((folder / "out" / "study.json").read_text())["cells"]) == 1


SLOW = {
    "model": {"preset": "mace", "num_channels": 2, "l_max": 1, "L_max": 0, "correlation": 1, "r_max": 4.0},
    "train": {"max_epochs": 20, "checkpoint_seconds": 0, "batch_size": 1},
}


def start_and_kill(folder: Path, path: Path, *, with_cell: bool) -> list[str]:
    """Start a study of one cell, kill it hard after some epochs, and return the metrics it had written."""
    command = [sys.executable, "-m", "clebsch", "sweep", str(path)]
    sweep = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)
    until = time.monotonic() + 120
    lines: list[str] = []
    while len(lines) < 3:
        assert time.monotonic() < until and sweep.poll() is None
        time.sleep(0.02)
        found = list((folder / "out").glob("cells/*/metrics.jsonl"))
        lines = found[0].read_text().splitlines() if found else []
    if with_cell:
        os.killpg(sweep.pid, signal.SIGKILL)
    else:
        sweep.kill()
    sweep.wait()
    assert not list((folder / "out").glob("cells/*/results.json"))
    return lines


@pytest.mark.parametrize("with_cell", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_killed_study_goes_on(folder: Path, with_cell: bool):
    """Killed hard in the middle of a cell, with its process or without: no epoch is trained twice, none is lost."""
    path = write_study(folder, {"seed": [3]}, SLOW)
    before = start_and_kill(folder, path, with_cell=with_cell)
    result = run_sweep(path)
    assert not result.failed and len(result.rows) == 1
    (cell,) = cell_folders(folder)
    after = (cell / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in after] == list(range(1, 21))
    assert after[: len(before) - 1] == before[:-1]  # the last may have been written after its checkpoint


@pytest.mark.slow
def test_a_ray_cluster_of_two_nodes(folder: Path):
    """Cells run on both nodes, and end as they do locally."""
    ray = pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    cluster.add_node(num_cpus=1)
    try:
        path = write_study(folder, {"model.l_max": [0, 1]}, LINEAR)
        config = EngineConfig(address=cluster.address)
        found = run_sweep(path, "ray", config)
        assert len(found.rows) == 2 and not found.failed
    finally:
        ray.shutdown()
        cluster.shutdown()
    remote = {row.digest: row.numbers["inside/forces_rmse_meV_A"] for row in found.rows}
    local = folder / "local"
    study = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump({**study, "output": str(local)}))
    again = {row.digest: row.numbers["inside/forces_rmse_meV_A"] for row in run_sweep(path).rows}
    assert remote == again


def test_no_such_engine(folder: Path):
    with pytest.raises(ConfigError, match=r"expected local or ray, got 'rya'. Did you mean 'ray'"):
        run_sweep(write_study(folder, {"seed": [0]}, LINEAR), "rya")


def test_effects_are_compared_with_the_base_alone():
    def group(a: str, b: str, value: float) -> dict[str, Any]:
        return {"labels": {"A": a, "B": b}, "mean": {"m": value}}

    each = [group("base", "base", 10.0), group("a1", "base", 12.0), group("base", "b1", 40.0)]
    assert axis_effects(each, "A", "m") == {"base": (10.0, 0.0), "a1": (12.0, 0.0)}
    grid = [group(a, b, value) for a, b, value in [("0", "0", 1.0), ("0", "1", 3.0), ("1", "0", 5.0)]]
    assert axis_effects(grid, "A", "m") == {"0": (2.0, pytest.approx(2**0.5)), "1": (5.0, 0.0)}


def test_spread_over_seeds():
    costs = {"parameters": 8.0, "flop_per_atom": 1e6, "seconds": 2.0, "valid/energy_rmse_meV": 1.0}
    rows = [
        Row({"a": "1"}, seed, str(seed), {**costs, "valid/forces_rmse_meV_A": value})
        for seed, value in enumerate([10.0, 14.0])
    ]
    (group,) = group_rows(rows)
    assert group.seeds == (0, 1) and group.spread["valid/forces_rmse_meV_A"] == pytest.approx(8**0.5)
    assert "| 1 | 2 | 8 | 1.00 | 2 | 1.00 ± 0.00 / 12.00 ± 2.83 |" in as_markdown([group])
    (single,) = group_rows(rows[:1])
    assert single.spread["seconds"] is None and "1.00 / 10.00 |" in as_markdown([single])


def test_a_study_of_single_changes_names_the_change():
    costs = {"parameters": 8.0, "flop_per_atom": 1e6, "seconds": 2.0, "valid/forces_rmse_meV_A": 1.0}
    labels = [{"A": "base", "B": "base"}, {"A": "none", "B": "base"}, {"A": "base", "B": "none"}]
    rows = [Row(of_cell, 0, str(index), costs) for index, of_cell in enumerate(labels)]
    kind, _, _, _, *lines = as_markdown(group_rows(rows)).splitlines()
    assert kind == "RMSE, energy (meV per configuration) / forces (meV/Å):"
    assert [line.split(" | ")[0] for line in lines] == ["| base", "| A: none", "| B: none"]
