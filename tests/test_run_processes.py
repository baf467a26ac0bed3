"""The main path in several processes: the results of one, and one message if it fails."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from clebsch.errors import ConfigError
from clebsch.run import launch, run
from clebsch.training.distributed import World
from processes import run_together
from small_runs import recipe

SETTINGS = {"batch_size": 4, "max_epochs": 2}
LINEAR = {"preset": "linear_ace", "r_max": 4.0, "num_channels": 4, "l_max": 2, "correlation": 2}


def run_recipe(world: World, config: dict[str, Any]) -> None:
    run(config)


def results(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "results.json").read_text())


def assert_close(found: Any, wanted: Any, tolerance: float) -> None:
    """JSON content that is equal to rounding, times apart."""
    if isinstance(wanted, dict):
        assert found.keys() == wanted.keys()
        for name in wanted.keys() - {"seconds"}:
            assert_close(found[name], wanted[name], tolerance)
    else:
        assert found == (pytest.approx(wanted, rel=tolerance) if isinstance(wanted, float) else wanted)


@pytest.mark.parametrize("fit", ["gradient", "least_squares"])
def test_the_results_are_those_of_one_process(fit: str, alloy_file: Path, tmp_path: Path):
    changes: dict[str, Any] = {"train": SETTINGS, "energy": {"e0": "least_squares", "repulsion": "core"}}
    if fit == "least_squares":
        changes = {"model": LINEAR, "train": {"method": "least_squares", "batch_size": 2, "ridges": [1e-8]}}
    for name in ("one", "two"):
        config = recipe(alloy_file, tmp_path / name, dtype="float64", **changes).model_dump(mode="json")
        if name == "one":
            run(config)
        else:
            outcomes = run_together(2, run_recipe, config)
            assert not any(outcome.error for outcome in outcomes), outcomes
    found, wanted = results(tmp_path / "two"), results(tmp_path / "one")
    assert found["statistics"] == wanted["statistics"]
    assert found["errors"]["same"]["n"] == 12
    assert_close(found, wanted, 1e-10 if fit == "gradient" else 1e-5)  # the normal equations are nearly singular
    assert {path.name for path in (tmp_path / "two").iterdir()} == {path.name for path in (tmp_path / "one").iterdir()}


def test_bad_sets_and_folders_in_use_are_said_once(alloy_file: Path, tmp_path: Path):
    bad = tmp_path / "bad.xyz"
    bad.write_text(alloy_file.read_text().replace("Au", "Ag"))
    data = {"train": str(alloy_file), "valid": 3, "tests": {"bad": str(bad)}}
    config = recipe(alloy_file, tmp_path / "run", data=data, train=SETTINGS).model_dump(mode="json")
    first, second = run_together(2, run_recipe, config)
    assert first.error == "DataError" and "Ag, which is not among the model's elements" in first.message
    assert second.error == "OtherProcessError" and first.message in second.message
    assert not (tmp_path / "run").exists()


@pytest.fixture
def endless(alloy_file: Path, tmp_path: Path) -> Path:
    """A recipe that trains until it is stopped."""
    path = tmp_path / "recipe.yaml"
    config = recipe(alloy_file, tmp_path / "run", train={**SETTINGS, "max_epochs": 10**6})
    path.write_text(yaml.safe_dump(config.model_dump(mode="json")))
    return path


def started(path: Path) -> subprocess.Popen[str]:
    """``clebsch train --nproc 2`` that has taken an epoch."""
    command = [sys.executable, "-m", "clebsch", "train", str(path), "--nproc", "2"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    metrics = path.parent / "run" / "metrics.jsonl"
    for _ in range(1200):
        if process.poll() is not None or (metrics.exists() and metrics.read_text()):
            return process
        time.sleep(0.1)
    raise AssertionError("no epoch in two minutes")


def children(process: subprocess.Popen[str]) -> list[int]:
    found = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    return [int(pid) for pid in found.read_text().split()] if found.exists() else []


def test_a_signal_to_the_one_that_has_started_them(endless: Path):
    process = started(endless)
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 143, said
    assert said.count("Stopped by SIGTERM after step") == 1 and "2 processes divide every batch" in said
    assert (endless.parent / "run" / "checkpoint.safetensors").is_file()
    assert not (endless.parent / "run" / "run.lock").exists()


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the processes in /proc")
@pytest.mark.parametrize("killed", [0, 1])
def test_a_process_that_is_killed(killed: int, endless: Path):
    process = started(endless)
    pids = children(process)
    os.kill(pids[killed], signal.SIGKILL)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 1
    assert said.count("─ OtherProcessError ─") == 1 and f"Process {killed} of 2 was ended by SIGKILL" in said
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_what_is_wrong_is_said_before_processes_start(endless: Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(ConfigError, match="unknown key 'sed'"):
        launch.launch(str(endless), ["sed=1"], 2)
    for name, value in {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "MASTER_ADDR": "a"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MASTER_PORT", "1")
    with pytest.raises(ConfigError, match="--nproc starts processes itself"):
        launch.launch(str(endless), [], 2)
