"""`import clebsch`: the verbs of a user's work, from a recipe to predictions."""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path

import ase.io
import numpy as np
import pytest

import clebsch
from clebsch.errors import ConfigError
from clebsch.recipe import load_recipe


def test_every_name_is_there():
    assert set(clebsch.__all__) == {*clebsch._HOME, "__version__"} <= set(dir(clebsch))
    assert all(getattr(clebsch, name) is not None for name in clebsch.__all__)
    with pytest.raises(AttributeError, match="no attribute 'fly'"):
        _ = clebsch.fly


def test_no_verb_has_the_name_of_a_room():
    """Importing a room would put the module in the place of the function."""
    rooms = {module.name for module in pkgutil.iter_modules(clebsch.__path__)}
    assert not rooms & set(clebsch.__all__)
    importlib.import_module("clebsch.training.trainer")
    assert callable(clebsch.train) and callable(clebsch.evaluate)


def test_from_recipe_to_predictions(alloy_file: Path, tmp_path: Path):
    recipe = {
        "output": str(tmp_path / "run"),
        "dtype": "float64",
        "data": {"train": str(alloy_file), "valid": 3},
        "model": {"preset": "linear_ace", "r_max": 4.0, "num_channels": 4, "l_max": 2, "correlation": 2},
        "energy": {"e0": "least_squares"},
        "train": {"method": "least_squares"},
    }
    result = clebsch.train(recipe, ["seed=3"])
    assert load_recipe(result.directory / "config.yaml").seed == 3
    potential = clebsch.load(result.directory / "potential.safetensors")
    errors = clebsch.evaluate(potential, alloy_file)
    assert errors == clebsch.evaluate(potential, clebsch.read(alloy_file))
    assert errors.n == 12 and errors["forces_rmse_meV_A"] < 100
    frames = ase.io.read(alloy_file, ":3")
    (first, *_) = clebsch.predict(potential, frames)
    frames[0].calc = clebsch.Calculator(potential)
    np.testing.assert_allclose(first["forces"], frames[0].get_forces(), atol=1e-12)
    np.testing.assert_allclose(first["stress"], frames[0].get_stress(), atol=1e-12)
    clebsch.save(potential, tmp_path / "again.safetensors")
    assert clebsch.evaluate(clebsch.load(tmp_path / "again.safetensors"), alloy_file) == errors


def test_a_recipe_in_every_form(alloy_file: Path, tmp_path: Path):
    mapping = {"output": str(tmp_path), "data": {"train": str(alloy_file)}, "model": {"preset": "mace"}}
    config = load_recipe(mapping, ["train.max_epochs=2"])
    assert config.train.max_epochs == 2
    assert load_recipe(config) is config
    (tmp_path / "recipe.yaml").write_text(config.as_yaml())
    for form in (config, config.model_dump(mode="json"), tmp_path / "recipe.yaml", str(tmp_path / "recipe.yaml")):
        assert load_recipe(form).as_yaml() == config.as_yaml()
        assert load_recipe(form, ["seed=5"]).seed == 5
    with pytest.raises(ConfigError, match=r"unknown key 'sed'\. Did you mean 'seed'"):
        load_recipe(config, ["sed=5"])


def test_potentials_by_name():
    assert set(clebsch.load("ethanol").elements) == {"H", "C", "O"}
