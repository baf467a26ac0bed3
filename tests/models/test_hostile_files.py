"""Saved potentials that ask for too much or hold something else: refused at once, by an error that names the place."""

from __future__ import annotations

import json
import re
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

from clebsch.config import set_key
from clebsch.errors import CheckpointError, ClebschError, DamagedFileError
from clebsch.models import Potential, PotentialConfig
from clebsch.models.config import LARGEST_L, MultiACEConfig
from clebsch.models.presets import mace, pace
from clebsch.models.serialization import POTENTIAL, load_potential, read_potential_config, save_potential
from clebsch.models.tensor_file import read_tensor_file, write_tensor_file

SIZES: dict[str, Any] = {"elements": ("H", "O"), "r_max": 3.0, "num_channels": 4, "l_max": 1}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole file of a small PACE, which has every kind of width."""
    path = tmp_path_factory.mktemp("saved") / "p.safetensors"
    potential = Potential(PotentialConfig(model=pace(**SIZES)), e0={"H": -13.6, "O": -2042.25})
    save_potential(potential, path)
    return path


@pytest.fixture
def refused(saved: Path, tmp_path: Path) -> Callable[..., str]:
    """Change the file, with a checksum that is right, and return the error of loading it: quick, and without memory."""

    def load(change: Callable[[dict, dict], None], error: type[ClebschError] = CheckpointError) -> str:
        tensors, header = read_tensor_file(saved, POTENTIAL)
        change(tensors, header)
        write_tensor_file(tmp_path / "p.safetensors", tensors, header, POTENTIAL)
        started, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with pytest.raises(error) as caught:
            load_potential(tmp_path / "p.safetensors")
        assert time.process_time() - started < 1.0
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB
        return str(caught.value)

    return load


@pytest.mark.parametrize(
    ("key", "value", "limit"),
    [
        ("num_channels", 2**31, 65_536),
        ("layers.0.radial.hidden.2", 10**7, 65_536),
        ("layers.1.radial.hidden.2", 2**31, 65_536),
        ("layers.0.readout_hidden", 2**40, 65_536),
        ("booster.hidden.0", 2**31, 65_536),
        ("booster.level", 2**31 - 1, 16),
        ("radial_basis.num", 2**31, 512),
        ("radial_basis.cutoff.p", 10**6, 256),
        ("spline_intervals", 10**7, 16_384),
        ("r_max", 1e7, 100),
        ("l_max", 1000, LARGEST_L),
        ("layers.0.correlation", 1000, 8),
    ],
)
def test_a_number_beyond_its_limit(key: str, value: float, limit: int, refused: Callable[..., str]):
    message = refused(lambda tensors, header: set_key(header["config"]["model"], key, value))
    assert f"'model.{key}': Input should be less than or equal to {limit} (got {value!r})" in message


def test_lists_beyond_their_limits(refused: Callable[..., str]):
    def deep(_: dict, header: dict) -> None:
        header["config"]["model"]["layers"] = 10_000 * header["config"]["model"]["layers"]

    assert "'model.layers': Tuple should have at most 64 items" in refused(deep)
    hidden = [1] * 100_000
    message = refused(lambda _, header: set_key(header["config"]["model"], "layers.0.radial.hidden", hidden))
    assert "at most 16 items" in message


def test_irreps_and_products_beyond_their_limits(refused: Callable[..., str]):
    message = refused(lambda _, header: set_key(header["config"]["model"], "layers.0.hidden_irreps", "0e+99999999e"))
    assert f"degree 99999999; the limit is {LARGEST_L}" in message
    for distinct in (True, False):
        layer = {"correlation": 8, "distinct_factors": distinct}
        with pytest.raises(ValueError, match=r"products of components; the limit is 100,000"):
            MultiACEConfig.model_validate({"elements": ["H"], "l_max": 3, "layers": [{"hidden_irreps": "0e", **layer}]})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("num_channels", 65_536),
        ("layers.1.radial.hidden", [65_536] * 4),
        ("layers.1.readout_hidden", 65_536),
        ("booster.hidden", [65_536] * 4),
        ("booster.level", 0),
        ("radial_basis.num", 512),
        ("l_max", 2),
        ("layers.1.correlation", 4),
        ("elements", ["H", "O", "C"]),
        ("further_readouts", ["charge"]),
    ],
)
def test_sizes_that_are_not_those_of_the_tensors(key: str, value: Any, refused: Callable[..., str]):
    """Within the limits such models may be larger than the memory: they are compared before one is made."""
    message = refused(lambda _, header: set_key(header["config"]["model"], key, value))
    assert "do not fit the model of its config: 'model." in message or "'e0' has the shape" in message
    assert "in the file and" in message and "Copy the file again" in message


@pytest.mark.parametrize(
    "changes",
    [
        {"config": None},
        {"config": []},
        {"config": {"model": None}},
        {"config": {"model": {"layers": 3}}},
        {"format_version": "2"},
        {"format_version": None},
        {"format_version": 1, "config": {"model": {"radial_basis": {"kind": []}}}},
        {"format_version": 1, "config": "model"},
        {"dtype": 3},
        {"dtype": ["float32"]},
    ],
    ids=str,
)
def test_headers_of_other_kinds(changes: dict[str, Any], refused: Callable[..., str]):
    assert "Traceback" not in refused(lambda _, header: header.update(changes), ClebschError)


@pytest.mark.parametrize("key", ["config", "dtype"])
def test_a_header_without_an_entry(key: str, refused: Callable[..., str]):
    assert f"has no {key}" in refused(lambda _, header: header.pop(key), DamagedFileError)


@pytest.mark.parametrize("text", ["[]", "3", "null", "{", "[" * 100_000, '{"format": "potential"}', ""])
def test_headers_that_are_no_mapping(text: str, tmp_path: Path):
    path = tmp_path / "p.safetensors"
    safetensors.torch.save_file({"x": torch.zeros(2)}, path, {"clebsch": text})
    for read in (load_potential, read_potential_config):
        with pytest.raises(DamagedFileError, match=r"p.safetensors' does not hold what a clebsch potential holds"):
            read(path)


def test_a_config_as_deep_as_json_goes(saved: Path, tmp_path: Path):
    path = tmp_path / "p.safetensors"
    with safetensors.safe_open(saved, framework="pt") as file:
        header = json.loads(file.metadata()["clebsch"])
    deep = json.dumps({**header, "config": 0}).replace(
        '"config": 0', '"config": ' + 900 * '{"model": ' + "0" + 900 * "}"
    )
    safetensors.torch.save_file({"x": torch.zeros(2)}, path, {"clebsch": deep})
    with pytest.raises(CheckpointError):
        load_potential(path)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("num_atoms", lambda value: value + 1000, "make no sense"),
        ("num_atoms", lambda value: -value, "make no sense"),
        ("num_atoms", lambda value: value[:0], "make no sense"),
        ("positions", lambda value: value[:, :2], "shape"),
        ("forces", lambda value: value[:3], "make no sense"),
        ("energy", lambda value: value[:0], "make no sense"),
        ("cell", lambda value: value * 1e-3, "neighbours within r_max"),
        ("numbers", lambda value: value * 0 + 1000, "atomic number 1000"),
    ],
)
def test_frames_that_make_no_sense(name: str, change: Callable, message: str, refused: Callable[..., str]):
    def damage(tensors: dict, _: dict) -> None:
        tensors[f"frames.{name}"] = torch.from_numpy(np.ascontiguousarray(change(tensors[f"frames.{name}"].numpy())))

    assert re.search(message, refused(damage, ClebschError))


def test_frames_that_are_not_there(refused: Callable[..., str]):
    def drop(tensors: dict, _: dict) -> None:
        for name in [name for name in tensors if name.startswith("frames.")]:
            del tensors[name]

    assert "does not hold what a clebsch potential holds (KeyError: 'num_atoms')" in refused(drop, DamagedFileError)


def test_limits_are_far_from_what_is_used():
    mace(elements=("H",), r_max=12.0, num_channels=512, l_max=4, correlation=4, num_layers=2)
    MultiACEConfig.model_validate(
        {
            "elements": ["H"],
            "l_max": 6,
            "spline_intervals": 4096,
            "layers": 8 * [{"hidden_irreps": "0e+1o", "correlation": 3}],
        }
    )
