"""Dotted keys: how a recipe is changed on the command line and by a study."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from clebsch.config import apply_overrides, load_yaml, set_key
from clebsch.errors import ConfigError
from clebsch.recipe import parse_recipe


def test_overrides_are_yaml_and_leave_the_mapping_alone():
    recipe = {"train": {"max_epochs": 100}, "model": {"booster": None}}
    changed = apply_overrides(recipe, ["train.max_epochs=2", "data.tests=[a, b]", "model.booster.level=1"])
    assert changed == {"train": {"max_epochs": 2}, "data": {"tests": ["a", "b"]}, "model": {"booster": {"level": 1}}}
    assert recipe == {"train": {"max_epochs": 100}, "model": {"booster": None}}


def test_a_star_stands_for_every_entry_of_a_list():
    recipe = {"model": {"layers": [{"correlation": 1}, {"correlation": 2}], "cutoffs": [4.0, 5.0]}}
    set_key(recipe, "model.layers.*.correlation", 3)
    set_key(recipe, "model.layers.1.gate", "silu")
    set_key(recipe, "model.cutoffs.*", 6.0)
    set_key(recipe, "model.booster.level", 2)
    assert recipe["model"] == {
        "layers": [{"correlation": 3}, {"correlation": 3, "gate": "silu"}],
        "cutoffs": [6.0, 6.0],
        "booster": {"level": 2},
    }
    with pytest.raises(ConfigError, match=r"expected \* or an index below 2 for a list, got '2'"):
        set_key(recipe, "model.layers.2.gate", "silu")


def test_a_value_is_not_replaced_by_what_is_below_it():
    recipe = {"energy": {"core": True}, "model": {"layers": [{"gate": "silu"}]}}
    with pytest.raises(ConfigError, match=r"'energy.core\.C-H': 'energy\.core' is a single value here; set the whole"):
        apply_overrides(recipe, ["energy.core.C-H=1.2"])
    for key in ("model.layers.*.gate.x", "model.layers.0.gate.x.y"):
        with pytest.raises(ConfigError, match=r"'model\.layers\.[*0]\.gate' is a single value"):
            set_key(recipe, key, 1)
    assert recipe == {"energy": {"core": True}, "model": {"layers": [{"gate": "silu"}]}}


def test_aliases_of_yaml_are_copies(tmp_path: Path):
    (tmp_path / "recipe.yaml").write_text("layers:\n  - &layer {gate: none}\n  - *layer\n  - *layer\n")
    recipe = apply_overrides(load_yaml(tmp_path / "recipe.yaml"), ["layers.1.gate=silu"])
    assert [layer["gate"] for layer in recipe["layers"]] == ["none", "silu", "none"]
    recipe = apply_overrides({}, ["layers=[&a {gate: none}, *a]", "layers.0.gate=silu"])
    assert [layer["gate"] for layer in recipe["layers"]] == ["silu", "none"]
    (tmp_path / "loop.yaml").write_text("model: &model {layers: [*model]}\n")
    with pytest.raises(ConfigError, match="an alias contains itself"):
        load_yaml(tmp_path / "loop.yaml")


def test_a_key_that_stands_twice(tmp_path: Path):
    path = tmp_path / "recipe.yaml"
    path.write_text("train: {max_epochs: 1}\nmodel: {}\ntrain: {batch_size: 2}\n")
    with pytest.raises(ConfigError, match="key 'train' stands twice, in lines 1 and 3"):
        load_yaml(path)
    with pytest.raises(ConfigError, match=r"Override 'train=.*': key 'max_epochs' stands twice"):
        apply_overrides({}, ["train={max_epochs: 1, max_epochs: 2}"])
    path.write_text("a: &a {x: 1, y: 2}\nb: &b {<<: *a, y: 3}\nc: {<<: *b, x: 4}\n")
    assert load_yaml(path) == {"a": {"x": 1, "y": 2}, "b": {"x": 1, "y": 3}, "c": {"x": 4, "y": 3}}


def test_a_section_without_its_kind():
    given = {"output": "o", "data": {"train": "t"}, "model": {"preset": "mace"}}
    with pytest.raises(ConfigError, match=r"key 'train.schedule.kind' is missing. Give one of constant, .*cosine"):
        parse_recipe({**given, "train": {"schedule": {"final_factor": 0.1}}})


@pytest.mark.parametrize("recipe", [{"stages": []}, {}, {"stages": {"0": {}}}])
def test_a_star_that_stands_for_nothing(recipe: dict[str, Any]):
    with pytest.raises(ConfigError, match=r"'stages\.\*\.start': '\*' stands for every entry of a list"):
        set_key(recipe, "stages.*.start", 1)


def test_null_becomes_a_mapping():
    recipe = {"model": {"layers": [None], "booster": None}}
    set_key(recipe, "model.layers.0.gate", "silu")
    set_key(recipe, "model.booster.level", 1)
    assert recipe == {"model": {"layers": [{"gate": "silu"}], "booster": {"level": 1}}}
