"""Runs that continue what another has begun: with more epochs, or from the weights of a saved potential."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import ase.io
import pytest
import torch

from clebsch.errors import ClebschError, ConfigError
from clebsch.models.serialization import load_potential
from clebsch.models.tensor_file import read_tensor_file
from clebsch.pretrained import load
from clebsch.run import RunResult, run
from clebsch.training.checkpoint import CHECKPOINT, CHECKPOINT_NAME
from small_runs import MACE, Lines, recipe

TRAIN = {"max_epochs": 1, "batch_size": 3, "loss": {"energy_weight": 1.0, "forces_weight": 10.0}}
ENERGY = {"e0": {"Cu": -1.0, "Au": -1.0}}


@pytest.fixture(scope="module")
def first(alloy_file: Path, tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    return run(recipe(alloy_file, tmp_path_factory.mktemp("first") / "a", train=TRAIN))


@pytest.fixture(scope="module")
def more(alloy_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Other data: half of the frames, and energies 2 eV per atom higher."""
    frames = ase.io.read(alloy_file, ":")[::2] * 2
    for atoms in frames:
        atoms.calc.results["energy"] += 2.0 * len(atoms)
        atoms.calc.results["free_energy"] = atoms.calc.results["energy"]
    path = tmp_path_factory.mktemp("more") / "more.xyz"
    ase.io.write(path, frames)
    return path


def test_more_epochs_of_a_cosine_in_its_folder(alloy_file: Path, tmp_path: Path):
    train = {**TRAIN, "schedule": {"kind": "cosine"}}
    run(recipe(alloy_file, tmp_path / "a", train=train))
    with pytest.raises(ConfigError, match=r"train\.extend=stretch.*train\.extend=restart"):
        run(recipe(alloy_file, tmp_path / "a", train={**train, "max_epochs": 2}))
    lines = Lines()
    found = run(
        recipe(alloy_file, tmp_path / "a", train={**train, "max_epochs": 2, "extend": "restart"}), console=lines
    )
    assert len(found.fit.history) == 2 and lines.holds("Extended from 1 to 2 epochs: another cycle")
    with pytest.raises(ConfigError, match=r"other settings(.|\n)*max_epochs: 2"):
        run(recipe(alloy_file, tmp_path / "a", train=train))


def test_a_run_from_saved_weights(first: RunResult, more: Path, tmp_path: Path):
    """Weights, scale and number of neighbours are those of the file; E0 and shift those of the new data."""
    train = {**TRAIN, "start_from": str(first.directory), "optimizer": {"lr": 1e-12}}
    lines = Lines()
    found = run(recipe(more, tmp_path / "b", train=train, energy=ENERGY), console=lines)
    assert lines.holds("started from") and lines.holds("are kept; E0, shift")
    start, new = first.potential, found.potential
    assert new.config.model == start.config.model
    for name, weights in start.model.named_parameters():
        torch.testing.assert_close(new.model.get_parameter(name), weights, rtol=0, atol=1e-6)
    assert torch.equal(new.scale, start.scale)
    assert new.e0.tolist() == [-1.0, -1.0] and not torch.equal(new.shift, start.shift)
    assert found.accuracies["same"]["energy_per_atom_rmse_meV"] < 1000
    _, header = read_tensor_file(tmp_path / "b" / CHECKPOINT_NAME, CHECKPOINT)
    saved = load_potential(first.directory / "potential.safetensors")
    assert header["identity"]["train"]["start_from"] == saved.fingerprint()


def test_resuming_does_not_need_the_file_again(first: RunResult, more: Path, tmp_path: Path):
    folder, other = tmp_path / "a", tmp_path / "other"
    shutil.copytree(first.directory, folder)
    shutil.copytree(first.directory, other)
    train = {**TRAIN, "start_from": str(folder)}
    whole = run(recipe(more, tmp_path / "whole", train={**train, "max_epochs": 2}, energy=ENERGY))
    run(recipe(more, tmp_path / "b", train=train, energy=ENERGY))
    shutil.rmtree(folder)
    found = run(recipe(more, tmp_path / "b", train={**train, "max_epochs": 2}, energy=ENERGY))
    assert found.accuracies == whole.accuracies
    same = {**train, "max_epochs": 2, "start_from": str(other / "potential.safetensors")}
    assert run(recipe(more, tmp_path / "b", train=same, energy=ENERGY)).accuracies == whole.accuracies
    with pytest.raises(ConfigError, match="has begun from another potential"):
        path = str(tmp_path / "b" / "potential.safetensors")
        run(recipe(more, tmp_path / "b", train={**same, "start_from": path}, energy=ENERGY))
    with pytest.raises(ClebschError, match=r"train\.start_from: \w+ in the checkpoint, absent now"):
        run(recipe(more, tmp_path / "b", train={**TRAIN, "max_epochs": 2}, energy=ENERGY))


def test_a_start_that_does_not_fit(first: RunResult, more: Path, tmp_path: Path):
    train = {**TRAIN, "start_from": str(first.directory)}
    for changes, said in (
        ({"model": {**MACE, "num_channels": 6}}, r"another than that of .*: model\.num_channels: 4 in .*, 6 now"),
        ({"energy": {**ENERGY, "repulsion": "zbl"}}, r"terms\.0: absent in '.*', zbl now"),
    ):
        with pytest.raises(ConfigError, match=said):
            run(recipe(more, tmp_path / "b", train=train, **{"energy": ENERGY, **changes}))
    with pytest.raises(ConfigError, match=r"is of the elements H, C, O, the run of Cu, Au"):
        run(recipe(more, tmp_path / "b", train={**train, "start_from": "acac"}, energy=ENERGY))
    with pytest.raises(ConfigError, match="neither a file, the folder of a run nor a potential"):
        run(recipe(more, tmp_path / "b", train={**train, "start_from": "absent"}))
    with pytest.raises(ConfigError, match=r"is a folder without potential\.safetensors"):
        run(recipe(more, tmp_path / "b", train={**train, "start_from": str(tmp_path)}))
    assert not (tmp_path / "b").exists()


def test_new_test_sets_are_judged_without_training(first: RunResult, alloy_file: Path, more: Path, tmp_path: Path):
    folder = shutil.copytree(first.directory, tmp_path / "a")
    weights = load(folder).fingerprint()
    data = {"train": str(alloy_file), "valid": 3, "tests": {"more": str(more)}}
    lines = Lines()
    found = run(recipe(alloy_file, folder, data=data, train=TRAIN), console=lines)
    assert set(found.accuracies) == {"valid", "more"} and lines.holds("nothing is left to train")
    assert set(json.loads((folder / "results.json").read_text())["errors"]) == {"valid", "more"}
    assert load(folder).fingerprint() == weights


def test_what_a_run_says_is_kept(alloy_file: Path, tmp_path: Path):
    for epochs in (1, 2):
        lines = Lines()
        found = run(recipe(alloy_file, tmp_path / "a", train={**TRAIN, "max_epochs": epochs}), console=lines)
    log = (tmp_path / "a" / "train.log").read_text().splitlines()
    starts = [number for number, line in enumerate(log) if line.startswith("# ")]
    assert len(starts) == 2 and log[starts[1] + 1 :] == lines.file.getvalue().splitlines()
    assert log[-2].split()[-1].count(":") == 1 or log[-2].endswith("*")  # the time that is left
    assert found.training is not None and found.training.as_dict()["n"] == 9


def test_errors_of_a_large_training_set(alloy_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """They are those of some configurations, and stand apart from those of the other sets."""
    monkeypatch.setattr("clebsch.run.main.MOST_TRAINED", 4)
    lines = Lines()
    run(recipe(alloy_file, tmp_path / "a", train=TRAIN), console=lines)
    results = json.loads((tmp_path / "a" / "results.json").read_text())
    assert results["errors_train"]["n"] == 4 and set(results["errors"]) == {"valid", "same"}
    assert lines.holds("errors of the training set: of 4 of its configurations, at equal steps")
