"""One folder, one run: who holds it is named, what a killed process held is taken over."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from clebsch.errors import ConfigError, FolderInUseError, OutputError
from clebsch.run import lock
from clebsch.run.lock import LOCK_NAME, hold
from clebsch.run.main import run

# What `hold` does, without the seconds that it takes to import it.
HOLD = """
import fcntl, json, os, socket, sys, time
with open(sys.argv[1], "w") as file:
    fcntl.flock(file, fcntl.LOCK_EX)
    file.write(json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "started": "today"}))
    file.flush()
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def other(tmp_path: Path):
    """A process that holds the folder."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / LOCK_NAME)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_the_file_is_there_while_the_folder_is_held(tmp_path: Path):
    with hold(tmp_path / "new" / "run"):
        holder = json.loads((tmp_path / "new" / "run" / LOCK_NAME).read_text())
        assert (holder["host"], holder["pid"]) == (socket.gethostname(), os.getpid())
        with pytest.raises(FolderInUseError, match=rf"Process {os.getpid()} on .*, started at 2.* works in"):
            with hold(tmp_path / "new" / "run"):
                pass
        with hold(tmp_path / "new" / "other"):
            pass
    assert not list((tmp_path / "new" / "run").iterdir())
    with pytest.raises(KeyError), hold(tmp_path):
        raise KeyError
    with hold(tmp_path):
        pass


def test_a_running_process_is_named_and_a_killed_one_is_followed(other: subprocess.Popen, tmp_path: Path):
    name = rf"Process {other.pid} on {socket.gethostname()}, started at .*Wait for its end, or give another output"
    with pytest.raises(FolderInUseError, match=name), hold(tmp_path):
        pass
    other.kill()
    other.wait()
    assert json.loads((tmp_path / LOCK_NAME).read_text())["pid"] == other.pid
    with hold(tmp_path):
        assert json.loads((tmp_path / LOCK_NAME).read_text())["pid"] == os.getpid()


def test_on_another_machine_nobody_can_know(tmp_path: Path):
    path = tmp_path / LOCK_NAME
    path.write_text(json.dumps({"host": "elsewhere", "pid": 1, "started": "2026-01-01T00:00:00+00:00"}))
    with pytest.raises(
        FolderInUseError, match=r"Process 1 on elsewhere, .*If it has ended, remove the file '.*run.lock'"
    ):
        with hold(tmp_path):
            pass
    assert path.exists()


@pytest.mark.parametrize("content", ["", "{", "[]", "null"])
def test_a_half_written_file_is_taken_over(content: str, tmp_path: Path):
    (tmp_path / LOCK_NAME).write_text(content)
    with hold(tmp_path):
        pass


@pytest.mark.parametrize(("pid", "held"), [(os.getpid(), True), (2**22 + 1, False)], ids=["alive", "dead"])
def test_file_systems_without_locks(pid: int, held: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def fail(*_):
        raise OSError("No locks available")

    monkeypatch.setattr(lock.fcntl, "flock", fail)
    (tmp_path / LOCK_NAME).write_text(json.dumps({"host": socket.gethostname(), "pid": pid}))
    if held:
        with pytest.raises(FolderInUseError), hold(tmp_path):
            pass
    else:
        with hold(tmp_path):
            pass


def test_a_folder_that_cannot_be_made(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"run.lock' cannot be written"), hold(tmp_path / "file" / "run"):
        pass


def recipe(alloy_file: Path, output: Path, max_epochs: int) -> dict:
    model = {"preset": "mace", "r_max": 3.5, "num_channels": 2, "l_max": 1, "L_max": 0, "correlation": 1}
    data = {"train": str(alloy_file), "valid": 3}
    train = {"max_epochs": max_epochs, "batch_size": 1, "checkpoint_seconds": 1e6}
    energy = {"e0": "least_squares"}
    return {"output": str(output), "data": data, "model": model, "energy": energy, "train": train}


def test_a_second_run_in_a_folder_is_refused(other: subprocess.Popen, alloy_file: Path, tmp_path: Path):
    with pytest.raises(FolderInUseError, match=f"Process {other.pid} on"):
        run(recipe(alloy_file, tmp_path, 1))
    assert [path.name for path in tmp_path.iterdir()] == [LOCK_NAME]
    with pytest.raises(ConfigError, match=r"output: '.*run.lock' cannot be written"):
        run(recipe(alloy_file, alloy_file, 1))


@pytest.mark.parametrize(("name", "status"), [("SIGTERM", 143), pytest.param("SIGINT", 130, marks=pytest.mark.slow)])
def test_a_job_that_is_ended_goes_on_with_the_same_command(name: str, status: int, alloy_file: Path, tmp_path: Path):
    folder = tmp_path / "run"
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(recipe(alloy_file, folder, 10**6)))
    command = [sys.executable, "-m", "clebsch", "train", str(tmp_path / "a.yaml")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    until = time.monotonic() + 60
    while not ((folder / "metrics.jsonl").is_file() and (folder / "metrics.jsonl").read_text().count("\n") > 1):
        assert time.monotonic() < until and process.poll() is None
        time.sleep(0.05)
    process.send_signal(getattr(signal, name))
    output, _ = process.communicate(timeout=60)
    assert process.returncode == status, output
    assert f"Stopped by {name} after step" in output and "The same command continues from" in output
    assert "Traceback" not in output and "Aborted" not in output
    left = {"config.yaml", "metrics.jsonl", "checkpoint.safetensors", "train.log"}
    assert {path.name for path in folder.iterdir()} == left
    epochs = (folder / "metrics.jsonl").read_text().count("\n")
    done = run(recipe(alloy_file, folder, epochs + 1))
    assert len(done.fit.history) == epochs + 1  # type: ignore[union-attr]
