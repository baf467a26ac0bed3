"""Cells of a study: which there are, what they set, and when two are one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from clebsch.config import parse_config
from clebsch.errors import ConfigError
from clebsch.models import MultiACEConfig, presets
from clebsch.sweep import StudyConfig, cells_of, load_study
from clebsch.sweep.study import name_of

STUDIES = sorted((Path(__file__).resolve().parents[2] / "recipes/studies").glob("*.yaml"))
BASE: dict[str, Any] = {"data": {"train": "train.xyz"}, "model": {"preset": "mace", "num_channels": 8}}


def study(axes: dict[str, Any], **settings: Any) -> StudyConfig:
    return StudyConfig(output=Path("out"), base=BASE, axes=axes, **settings)


def test_a_grid_takes_every_combination():
    cells = cells_of(study({"model.L_max": [0, 1], "model.correlation": [1, 2, 3]}, seeds=(0, 1)), BASE)
    assert len(cells) == 12 and len({cell.digest for cell in cells}) == 12
    first = cells[0].config(Path("out"))
    assert first.model.model_dump()["L_max"] == 0 and first.model.model_dump()["correlation"] == 1
    assert first.output == Path("out/cells") / cells[0].digest and cells[1].seed == 1


def test_one_axis_at_a_time_shares_the_base():
    cells = cells_of(study({"model.L_max": [0, 1, 2], "model.correlation": [2, 3]}, mode="each"), BASE)
    # The defaults, L_max 2 and correlation 3, are the base and are not run again.
    assert [tuple(cell.labels.values()) for cell in cells] == [
        ("base", "base"), ("0", "base"), ("1", "base"), ("base", "2"),
    ]  # fmt: skip


def test_named_choices_set_several_keys():
    axes = {"model": {"small": {"model.num_channels": 4, "model.L_max": 0}, "large": {"model.num_channels": 16}}}
    small, large = cells_of(study(axes), BASE)
    assert small.labels == {"model": "small"} and small.recipe["model"]["num_channels"] == 4
    assert large.recipe["model"] == {"preset": "mace", "num_channels": 16}
    assert BASE["model"]["num_channels"] == 8  # the base is left alone


def test_the_name_of_a_choice_may_be_a_number():
    axes: Any = {"layers": {1: {"model.num_layers": 1}, 3: {"model.num_layers": 3}}}
    assert [cell.labels["layers"] for cell in cells_of(study(axes), BASE)] == ["1", "3"]


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_the_studies_of_the_repository(path: Path):
    """Every choice makes a recipe of its own: none is the base again."""
    config, cells = load_study(path)
    assert {cell.seed for cell in cells} == set(config.seeds)
    choices = sum(len(values) for values in config.axes.values()) + (config.mode == "each")
    assert len(cells) == choices * len(config.seeds)


def models_of(study_name: str) -> dict[str, MultiACEConfig]:
    (path,) = [path for path in STUDIES if path.stem == study_name]
    return {name_of(c.labels): c.config(Path("out")).model.build(("H", "C", "O"), 1.0) for c in load_study(path)[1]}


def test_studies_hold_the_preset():
    assert models_of("small")["three layers: vectors, 48 channels"] == presets.clebsch(
        elements=("H", "C", "O"), size="S"
    )
    found = models_of("depth")["four layers: tanh, sum divided by the root of 2.5"]
    middle = presets.clebsch(elements=("H", "C", "O"), size="M")
    assert found == middle.model_copy(update={"neighbor_gain": 1.0, "avg_num_neighbors": 2.5})


def test_the_digest_is_of_the_whole_recipe():
    (cell,) = cells_of(study({"model.L_max": [2]}), BASE)
    (same,) = cells_of(study({"model.r_max": [5.0]}), BASE)  # both are the defaults
    (other,) = cells_of(study({"train.batch_size": [6]}), BASE)
    assert cell.digest == same.digest != other.digest
    limits = cells_of(study({"train.max_epochs": [100, 200], "train.patience": [None, 5]}), BASE)
    assert len({cell.digest for cell in limits}) == 4  # what may change where a run is continued, too


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ({"a": {}}, "'a' has no values"),
        ({"a": [1, "1"]}, "'a' has two values that read '1'"),
        ({"output": ["x", "y"]}, "every cell has a folder of its own"),
        ({"a": {"base": {"seed": 1}}}, "'a' has a choice 'base'"),
        ({"a": {"b": {"seed.x": 1}}}, r"axes: 'a', choice 'b': 'seed\.x': 'seed' is a single value"),
        ({"seed": 3}, "'seed' has the single value 3; give a list"),
        ({"a": {False: {}}}, "'a': YAML reads the name of one choice as False; put it in quotes"),
        ({"a": {"b": 3}}, "'a', choice 'b': expected the keys it sets, got 3"),
        ({"a": {1: {}, "1": {}}}, "'a' has two choices with one name"),
        ([1], "expected a mapping"),
    ],
)
def test_axes_that_make_no_sense(axes: Any, message: str):
    mapping = {"output": "out", "base": BASE, "axes": axes}
    with pytest.raises(ConfigError, match=message):
        cells_of(parse_config(StudyConfig, mapping), BASE)


def test_seeds_of_an_axis_and_of_the_study():
    assert [cell.seed for cell in cells_of(study({"seed": [3, 4]}), BASE)] == [3, 4]
    with pytest.raises(ConfigError, match="seed is set by an axis and by seeds"):
        cells_of(study({"seed": [3, 4]}, seeds=(0, 1)), BASE)


def test_equal_recipes_keep_their_rows_and_are_one_run():
    axes = {"core": {"without": {}, "off": {"energy.repulsion": "none"}, "with": {"energy.repulsion": "core"}}}
    without, off, _ = cells_of(study(axes), BASE)
    assert without.digest == off.digest and (without.labels, off.labels) == ({"core": "without"}, {"core": "off"})
    assert [name_of(cell.labels) for cell in cells_of(study(axes, mode="each"), BASE)] == ["base", "core: with"]


def test_the_order_of_the_keys_of_a_choice_does_not_matter():
    layers = [{"hidden_irreps": "0e", "readout": "linear"}]
    keys = {"model.layers.*.correlation": 2, "model": {"layers": layers}}
    (cell,) = cells_of(study({"a": {"b": keys}}), BASE)
    assert cell.recipe["model"]["layers"][0]["correlation"] == 2


def test_long_values_keep_their_labels_apart():
    layers = [[{"hidden_irreps": "0e", "gate": "silu", "readout": "linear", "correlation": n}] * 2 for n in (1, 2)]
    found = cells_of(study({"model.layers": layers}), {"data": BASE["data"], "model": {}})
    assert len(found) == 2 and found[0].labels != found[1].labels


@pytest.mark.parametrize("inline", [True, False])
def test_a_study_can_be_changed_when_it_is_called(tmp_path: Path, inline: bool):
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(BASE))
    base: Any = BASE if inline else "base.yaml"
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump({"output": "out", "base": base, "axes": {"model.L_max": [0, 1]}}))
    config, cells = load_study(path, ["output=other", "seeds=[3]", "base.model.num_channels=4"])
    assert config.output == Path("other")
    assert [(cell.seed, cell.recipe["model"]["num_channels"], cell.recipe["model"]["L_max"]) for cell in cells] == [
        (3, 4, 0), (3, 4, 1),
    ]  # fmt: skip
    (tmp_path / "other.yaml").write_text(yaml.safe_dump({**BASE, "dtype": "float64"}))
    _, (cell, _) = load_study(path, ["base.model.num_channels=4", "base=other.yaml"])
    assert cell.recipe["dtype"] == "float64" and cell.recipe["model"]["num_channels"] == 4
    with pytest.raises(ConfigError, match=r"unknown key 'model.num_chanels'"):
        load_study(path, ["base.model.num_chanels=4"])
    for key, cure in {"seed": r"seeds=\[…\]", "output": "output=…"}.items():
        with pytest.raises(ConfigError, match=rf"base\.{key} plays no part in a study. Set {cure}"):
            load_study(path, [f"base.{key}=7"])
    with pytest.raises(ConfigError, match="axes cannot be changed on the command line"):
        load_study(path, ["axes.model.L_max=[0]"])


def test_every_cell_is_checked_before_one_runs(tmp_path: Path):
    axes: dict[str, Any] = {"model.num_channels": [4, 8], "model.corelation": [1]}
    (tmp_path / "study.yaml").write_text(yaml.safe_dump({"output": "out", "base": BASE, "axes": axes}))
    with pytest.raises(ConfigError, match=r"(?s)model.num_channels: 4.*unknown key 'model.corelation'.*correlation"):
        load_study(tmp_path / "study.yaml")
    (tmp_path / "study.yaml").write_text(yaml.safe_dump({"output": "out", "base": BASE, "axes": {"seed": []}}))
    with pytest.raises(ConfigError, match="'seed' has no values"):
        load_study(tmp_path / "study.yaml")


def test_studies_without_end_are_refused_before_a_cell_is_built():
    axes = {f"axis {i}": {f"value {j}": {"model.num_channels": j} for j in range(10)} for i in range(8)}
    with pytest.raises(ConfigError, match=r"has 100,000,000 cells \(10 × .*expected at most 10,000.*mode: each"):
        cells_of(study(axes), BASE)
    values = {name: list(range(100)) for name in ("model.num_channels", "train.batch_size")}
    with pytest.raises(ConfigError, match=r"has 20,100 cells \(1 \+ 100 \+ 100, 100 seeds each"):
        cells_of(study(values, mode="each", seeds=tuple(range(100))), BASE)
