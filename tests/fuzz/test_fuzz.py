"""Random damage to every kind of file that is read: an error of the library or a result, never anything else.

A fixed number of tries runs with the suite; ``make fuzz SECONDS=3600 SEED=1`` goes on for as long as is asked for every
kind, with other inputs.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
import yaml

from clebsch.data import LabelKeys, read_configurations
from clebsch.errors import ClebschError
from clebsch.models.serialization import POTENTIAL, load_potential
from clebsch.models.tensor_file import FileFormat, read_tensor_file, write_tensor_file
from clebsch.recipe import load_recipe
from clebsch.report import write_report
from clebsch.run import run
from clebsch.sweep.study import load_study
from clebsch.training import read_metrics
from clebsch.training.checkpoint import CHECKPOINT
from fuzz.fuzzing import fuzz, mutated, mutated_json, overrides
from small_runs import recipe

SECONDS, SEED = float(os.environ.get("CLEBSCH_FUZZ_SECONDS", "0")), int(os.environ.get("CLEBSCH_FUZZ_SEED", "0"))
Make = Callable[[np.random.Generator], Any]


@pytest.fixture(scope="module")
def run_folder(alloy_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run."""
    folder = tmp_path_factory.mktemp("fuzz") / "run"
    run(recipe(alloy_file, folder))
    return folder


def check(make: Make, read: Callable[[Any], object], tries: int) -> None:
    """Nothing but results and errors of the library."""
    keep = Path(os.environ.get("CLEBSCH_FUZZ_KEEP", "fuzz-findings"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = fuzz(make, read, tries=tries, seconds=SECONDS, seed=SEED, keep=keep)
    assert not found, "\n".join(found)


def of_bytes(content: bytes) -> Make:
    """Damaged bytes."""
    return partial(mutated, content)


def written(path: Path, read: Callable[[Path], object]) -> Callable[[bytes], object]:
    """A reader of a file that has the bytes."""

    def call(content: bytes) -> object:
        path.write_bytes(content)
        return read(path)

    return call


def read_like_ase(path: Path) -> None:
    """What is read is what ASE reads of the same file, wherever ASE reads it: nothing is shifted or made up."""
    frames = read_configurations(path, LabelKeys(stress=None))
    try:
        others = ase.io.read(path, ":", format="extxyz")
    except Exception:  # whatever ASE stumbles on; more is read here: byte order marks, Fortran exponents
        return
    for frame, other in zip(frames, others, strict=False):
        if np.isfinite(other.positions).all() and len(other) == frame.num_atoms:
            assert np.allclose(frame.positions, other.positions, atol=1e-6), "positions differ from ASE's"


def test_extended_xyz(alloy_file: Path, tmp_path: Path) -> None:
    text = b"\n".join(alloy_file.read_bytes().split(b"\n")[:18]) + b"\n"
    check(of_bytes(text), written(tmp_path / "a.xyz", read_like_ase), 300)


def test_recipes(alloy_file: Path, tmp_path: Path) -> None:
    text = recipe(alloy_file, tmp_path / "run").as_yaml().encode()
    check(of_bytes(text), written(tmp_path / "a.yaml", load_recipe), 200)
    short = yaml.safe_dump({"output": "a", "data": {"train": "a.xyz"}, "model": {"preset": "mace"}}).encode()
    check(of_bytes(short), written(tmp_path / "a.yaml", load_recipe), 150)


def test_overrides(alloy_file: Path, tmp_path: Path) -> None:
    config = recipe(alloy_file, tmp_path / "run")
    keys = [
        "seed",
        "data.valid",
        "data.tests",
        "model.preset",
        "model.r_max",
        "train.optimizer.lr",
        "train",
        "output",
        "a.b",
    ]
    check(partial(overrides, keys), lambda given: load_recipe(config, given), 200)


def test_studies(alloy_file: Path, tmp_path: Path) -> None:
    base = recipe(alloy_file, tmp_path / "run").model_dump(mode="json")
    study = {"output": "study", "base": base, "axes": {"model.num_channels": [2, 4]}, "seeds": [0, 1]}
    check(of_bytes(yaml.safe_dump(study).encode()), written(tmp_path / "s.yaml", load_study), 100)


def with_header(source: Path, form: FileFormat, path: Path, read: Callable[[Path], object]) -> tuple[Make, Callable]:
    """A file whose header is damaged under a checksum that is right."""
    tensors, header = read_tensor_file(source, form)

    def call(damaged: Any) -> object:
        try:
            write_tensor_file(path, tensors, damaged if isinstance(damaged, dict) else {"config": damaged}, form)
        except ClebschError:  # NaN, which JSON does not have
            return None
        return read(path)

    return partial(mutated_json, header), call


def test_headers_of_potentials(run_folder: Path, tmp_path: Path) -> None:
    source = run_folder / "potential.safetensors"
    check(*with_header(source, POTENTIAL, tmp_path / "p.safetensors", load_potential), 80)
    check(of_bytes(source.read_bytes()), written(tmp_path / "p.safetensors", load_potential), 50)


def test_checkpoints(run_folder: Path, alloy_file: Path, tmp_path: Path) -> None:
    """A damaged checkpoint is never continued as if it were whole: the run ends in an error or in the same weights."""
    source = run_folder / "checkpoint.safetensors"
    config = recipe(alloy_file, tmp_path / "run")
    run(config)

    def resume(path: Path) -> None:
        (tmp_path / "run" / "checkpoint.previous.safetensors").unlink(missing_ok=True)
        run(config)

    checkpoint = tmp_path / "run" / "checkpoint.safetensors"
    check(*with_header(source, CHECKPOINT, checkpoint, resume), 12)
    check(of_bytes(source.read_bytes()), written(checkpoint, resume), 12)


def test_reports(run_folder: Path, tmp_path: Path) -> None:
    """Damaged results and metrics."""
    for name in ("results.json", "metrics.jsonl", "config.yaml"):
        path, content = run_folder / name, (run_folder / name).read_bytes()
        make = partial(mutated_json, json.loads(content)) if name == "results.json" else of_bytes(content)

        def read(given: Any, path: Path = path) -> None:
            path.write_bytes(given if isinstance(given, bytes) else json.dumps(given).encode())
            write_report(run_folder, tmp_path / "report.html")

        check(make, read, 6)
        path.write_bytes(content)
    check(of_bytes((run_folder / "metrics.jsonl").read_bytes()), written(tmp_path / "m.jsonl", read_metrics), 100)
