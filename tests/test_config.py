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


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("output: a\nseed: !!timestamp x\n", 2, "'x' is no timestamp"),
        ("seed: !!float x\n", 1, "'x' is no float"),
        ("a: 1\nseed: !!int ''\n", 2, "'' is no int"),
        (f"seed: {'9' * 5000}\n", 1, "is no int"),
        (f"seed: 0x{'f' * 5000}\n", 1, "is too large for an integer"),
        ("a:\n  seed: 017\n", 2, r"'017' is an octal number in YAML \(15\). Write it without the leading zero"),
        ("a: [1, 190:20:30]\n", 1, r"'190:20:30' is a number of base 60 in YAML \(685230\). Put it in quotes"),
        ("a: 1:30.5\n", 1, "is a number of base 60"),
        ("017: a\n", 1, "is an octal number"),
        (f"a: 1\nb: {'{a: ' * 2000}\n", 2, "more than 50 levels of nesting"),
        (f"b: {'[' * 2000}\n", 1, "more than 50 levels of nesting"),
        ("a: 1\nb: {x: 1\n", 3, "is not valid YAML: .*Check brackets"),
        ("a: 1\n\tb: 2\n", 2, "is not valid YAML: found character"),
        ("a: 1\nb: \x01\n", 2, "is not valid YAML: special characters are not allowed"),
        ("a: !!python/object/apply:os.system [x]\n", 1, "is not valid YAML: could not determine a constructor"),
        ("a: *b\n", 1, "is not valid YAML: found undefined alias"),
        ("[a]: b\n? {c: d}\n: e\n", 1, "is not valid YAML"),
    ],
)
def test_yaml_that_is_refused_by_line(tmp_path: Path, text: str, line: int, message: str):
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=rf"^{path}, line {line}: .*{message}"):
        load_yaml(path)


def test_yaml_that_is_no_utf8(tmp_path: Path):
    path = tmp_path / "recipe.yaml"
    path.write_bytes("output: a\nscale: größe\n".encode("latin-1"))
    with pytest.raises(
        ConfigError, match=r"line 2: is not valid YAML: the byte 0xf6 is no UTF-8. Save the file as UTF-8"
    ):
        load_yaml(path)
    path.write_bytes("\ufeffoutput: größe\n".encode())
    assert load_yaml(path) == {"output": "größe"}


def test_aliases_that_blow_up(tmp_path: Path):
    """A few hundred bytes that stand for a billion entries are refused at once."""
    path = tmp_path / "bomb.yaml"
    lists = [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10 if i else ['x'] * 10)}]" for i in range(9)]
    path.write_text("\n".join(lists))
    with pytest.raises(ConfigError, match=r"its aliases stand for more than 100,000 entries"):
        load_yaml(path)
    merges = [f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 10)}]}}" if i else "a0: &a0 {x: 1}" for i in range(30)]
    path.write_text("\n".join(merges))
    assert load_yaml(path)["a29"] == {"x": 1}
    with pytest.raises(ConfigError, match=r"more than 1000 aliases"):
        apply_overrides({}, [f"a=[&x 1{', *x' * 2000}]"])


def test_files_too_large_for_a_recipe(tmp_path: Path):
    (tmp_path / "large.yaml").write_text("a: 1\n" + "#" * 1_000_000)
    with pytest.raises(ConfigError, match="is larger than 1,000,000 bytes"):
        load_yaml(tmp_path / "large.yaml")


def test_what_stays_text_or_a_number(tmp_path: Path):
    path = tmp_path / "recipe.yaml"
    path.write_text("output: 2024-13-45\nday: 2024-01-31\na: [0, 10, -3, 0.5, 1e-3, 0x10, 08, '017', '1:30']\n")
    assert load_yaml(path) == {
        "output": "2024-13-45",
        "day": "2024-01-31",
        "a": [0, 10, -3, 0.5, "1e-3", 16, "08", "017", "1:30"],
    }


@pytest.mark.parametrize("value", ["{a: [", "!!float x", "017", "[" * 500])
def test_overrides_that_are_refused(value: str):
    with pytest.raises(ConfigError, match=r"Override 'seed="):
        apply_overrides({}, [f"seed={value}"])


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("train.lr", "train.optimizer.lr"),
        ("lr", "train.optimizer.lr"),
        ("train.learning_rate", "train.optimizer.lr"),
        ("train.forces_weight", "train.loss.forces_weight"),
        ("model.cutoff", "r_max"),
        ("rcut", "model.r_max"),
        ("model.channels", "num_channels"),
        ("model.lmax", "l_max"),
        ("train.epochs", "max_epochs"),
        ("max_epoch", "train.max_epochs"),
        ("data.energy_key", "data.keys.energy"),
        ("E0s", "energy.e0"),
        ("model.num_chanels", "num_channels"),
    ],
)
def test_keys_of_other_sections_and_names(typed: str, meant: str):
    given = {"output": "o", "data": {"train": "t"}, "model": {"preset": "mace"}}
    with pytest.raises(ConfigError) as caught:
        parse_recipe(apply_overrides(given, [f"{typed}=1"]))
    assert f"unknown key '{typed}'. Did you mean '{meant}'?" in str(caught.value)


def test_a_key_in_a_list_and_one_that_is_like_no_other():
    given = {"output": "o", "data": {"train": "t"}, "model": {"layers": [{"hidden_irreps": "0e"}]}}
    for typed, said in (("model.layers.0.radials", "Did you mean 'radial'?"), ("rubbish", "Known keys: backend,")):
        with pytest.raises(ConfigError) as caught:
            parse_recipe(apply_overrides(given, [f"{typed}=1"]))
        assert f"unknown key '{typed}'. {said}" in str(caught.value)
    with pytest.raises(ConfigError, match=r"unknown key 'gate'\. Did you mean 'model\.layers\.\*\.gate'\?"):
        parse_recipe(apply_overrides(given, ["gate=silu"]))
