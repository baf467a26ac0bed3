from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from clebsch.errors import CheckpointError, OutputError
from clebsch.models.tensor_file import (
    FileFormat,
    read_header,
    read_tensor_file,
    with_prefix,
    without_prefix,
    write_tensor_file,
)

SHOPPING = FileFormat(kind="shopping list", version=3)
TENSORS = {"apples": torch.arange(6).reshape(2, 3), "pears": torch.tensor(0.1, dtype=torch.float64)}


def test_round_trip_is_exact(tmp_path):
    path = tmp_path / "new" / "folder" / "file.safetensors"
    write_tensor_file(path, {**TENSORS, "none": torch.zeros(0, 3)}, {"seed": 3, "rate": 0.1}, SHOPPING)
    tensors, header = read_tensor_file(path, SHOPPING)
    assert all(torch.equal(tensors[name], value) for name, value in TENSORS.items())
    assert tensors["none"].shape == (0, 3)
    assert (header["seed"], header["rate"], header["format"], header["format_version"]) == (3, 0.1, "shopping list", 3)
    assert list(path.parent.iterdir()) == [path]


def test_views_and_shared_storage_are_written(tmp_path):
    table = torch.arange(12.0).reshape(3, 4)
    write_tensor_file(tmp_path / "f", {"all": table, "column": table[:, 1], "turned": table.T}, {}, SHOPPING)
    tensors, _ = read_tensor_file(tmp_path / "f", SHOPPING)
    assert torch.equal(tensors["column"], table[:, 1]) and torch.equal(tensors["turned"], table.T)


def test_prefixes():
    tensors = with_prefix("model", {"a.b": torch.ones(1)}) | with_prefix("models", {"c": torch.ones(1)})
    assert set(tensors) == {"model.a.b", "models.c"}
    assert set(without_prefix("model", tensors)) == {"a.b"}


@pytest.mark.parametrize("header", [{"x": float("nan")}, {"x": torch.ones(1)}], ids=["nan", "tensor"])
def test_a_header_that_is_not_json_is_an_error(header, tmp_path):
    with pytest.raises(CheckpointError, match="must be JSON"):
        write_tensor_file(tmp_path / "f", TENSORS, header, SHOPPING)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_failed_write_keeps_the_old_file(failing, tmp_path, monkeypatch):
    path = tmp_path / "f"
    write_tensor_file(path, TENSORS, {"number": 1}, SHOPPING)

    def fail(*_):
        raise OSError("No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, failing, fail)
        with pytest.raises(OutputError, match=r"f' cannot be written \(No space left.*Give a folder"):
            write_tensor_file(path, {}, {"number": 2}, SHOPPING)
    assert read_header(path, SHOPPING)["number"] == 1
    assert list(tmp_path.iterdir()) == [path]


def test_a_process_that_dies_between_write_and_replace_keeps_the_old_file(tmp_path):
    path = tmp_path / "f"
    write_tensor_file(path, TENSORS, {"number": 1}, SHOPPING)
    code = (
        "import os, torch\n"
        "from clebsch.models.tensor_file import FileFormat, write_tensor_file\n"
        "os.replace = lambda *paths: os._exit(9)\n"
        f"write_tensor_file({str(path)!r}, {{'x': torch.ones(3)}}, {{'number': 2}}, FileFormat('shopping list', 3))\n"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 9
    assert read_header(path, SHOPPING)["number"] == 1
    write_tensor_file(path, TENSORS, {"number": 3}, SHOPPING)
    assert read_header(path, SHOPPING)["number"] == 3


def test_missing_file(tmp_path):
    with pytest.raises(CheckpointError, match=r"There is no file '.*absent'. Give the path of a saved shopping list"):
        read_header(tmp_path / "absent", SHOPPING)
    with pytest.raises(CheckpointError, match="There is no file"):
        read_header(tmp_path, SHOPPING)


@pytest.mark.parametrize("length", [0, 7, 40, 200, -1])
def test_truncated_file(length, tmp_path):
    path = tmp_path / "f"
    write_tensor_file(path, TENSORS, {}, SHOPPING)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(CheckpointError, match=r"truncated, corrupt or of another kind. Copy it again"):
        read_tensor_file(path, SHOPPING)


def test_files_of_other_kinds(tmp_path):
    path = tmp_path / "f"
    np.savez(path.with_suffix(".npz"), x=np.ones(100))
    with pytest.raises(CheckpointError, match=r"pickled files \(.pt, .pth, .model\) are never read"):
        read_header(path.with_suffix(".npz"), SHOPPING)
    safetensors.torch.save_file(TENSORS, path)
    with pytest.raises(CheckpointError, match="without the header of a clebsch shopping list"):
        read_header(path, SHOPPING)
    write_tensor_file(path, TENSORS, {}, FileFormat("cake", 1))
    with pytest.raises(CheckpointError, match="holds a cake, but a shopping list was asked for"):
        read_header(path, SHOPPING)


def test_a_newer_format_is_refused(tmp_path):
    write_tensor_file(tmp_path / "f", TENSORS, {}, FileFormat("shopping list", 4))
    with pytest.raises(CheckpointError, match=r"format version 4.* reads versions up to 3. Install a newer clebsch"):
        read_header(tmp_path / "f", SHOPPING)
    write_tensor_file(tmp_path / "f", TENSORS, {}, FileFormat("shopping list", 2))
    assert read_header(tmp_path / "f", SHOPPING)["format_version"] == 2


def test_the_header_is_plain_json_in_the_safetensors_metadata(tmp_path):
    path: Path = tmp_path / "f"
    write_tensor_file(path, TENSORS, {"seed": 3}, SHOPPING)
    content = path.read_bytes()
    size = int.from_bytes(content[:8], "little")
    assert json.loads(json.loads(content[8 : 8 + size])["__metadata__"]["clebsch"])["seed"] == 3
