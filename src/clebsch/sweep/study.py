"""A study: a base recipe, the axes that vary it, and the cells they span."""

from __future__ import annotations

import copy
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, field_validator

from clebsch.config import StrictConfig, apply_overrides, load_yaml, parse_config, set_key
from clebsch.errors import ConfigError
from clebsch.recipe import RunConfig, parse_recipe

MOST_CELLS = 10_000
BASE = "base"  # label of an axis that is left as the base has it


class StudyConfig(StrictConfig):
    """A study of design choices.

    Attributes:
        output: folder of the cells, the table and the plots.
        base: a recipe, its path relative to the study's file or its content; its ``output`` and ``seed`` play no part.
        axes: what varies: a dotted key of the recipe and its values, or a name and, by label, the keys set together,
            shorter keys first. ``*`` in a key stands for every entry of a list: ``model.layers.*.correlation``. None
            for the base alone, with every seed.
        mode: ``grid`` takes every combination; ``each`` the base and, one axis at a time, every other value.
        seeds: of the split, the initial weights and the shuffling; every cell is run with each.
        metric: of the tables and plots, root of the mean square or mean absolute error; what is run is the same.
    """

    output: Path
    base: str | dict[str, Any]
    axes: dict[str, list[Any] | dict[str, dict[str, Any]]] = {}
    mode: Literal["grid", "each"] = "grid"
    seeds: tuple[int, ...] = Field(default=(0,), min_length=1)
    metric: Literal["rmse", "mae"] = "rmse"

    @field_validator("axes", mode="before")
    @classmethod
    def _numbers_are_names_too(cls, axes: Any) -> Any:
        """YAML reads the name ``2`` of a choice as a number."""
        if not isinstance(axes, dict):
            raise ValueError("expected a mapping from a key or a name to its values")
        return {name: _named(name, values) for name, values in axes.items()}


@dataclass(frozen=True)
class Cell:
    """One run of a study.

    Attributes:
        labels: value of every axis, as text; "base" where the axis is left as the base has it.
        recipe: the whole recipe, without output.
        digest: hash of the recipe; equal recipes are one run.
    """

    labels: dict[str, str]
    recipe: dict[str, Any]
    digest: str

    @property
    def seed(self) -> int:
        """Of the run."""
        return self.recipe["seed"]

    def config(self, study: Path) -> RunConfig:
        """The run, in its folder inside that of the study."""
        return parse_recipe({**self.recipe, "output": str(self.directory(study))}, f"cell {self.labels}")

    def directory(self, study: Path) -> Path:
        """Folder of the run."""
        return study / "cells" / self.digest


def name_of(labels: Mapping[str, str]) -> str:
    """Short name of a cell: the labels of its axes, but for those that are left as the base has them."""
    return ", ".join(f"{axis}: {label}" for axis, label in labels.items() if label != BASE) or BASE


def _named(axis: Any, values: Any) -> Any:
    """The values of an axis, its names as text; raises ValueError where they are no values."""
    if isinstance(values, list):
        return values
    if not isinstance(values, dict):
        raise ValueError(f"'{axis}' has the single value {values!r}; give a list, or names with the keys each sets")
    for label, keys in values.items():
        if label is None or isinstance(label, bool):
            raise ValueError(f"'{axis}': YAML reads the name of one choice as {label}; put it in quotes")
        if not isinstance(keys, dict):
            raise ValueError(f"'{axis}', choice '{label}': expected the keys it sets, got {keys!r}")
    named = {str(label): keys for label, keys in values.items()}
    if len(named) < len(values):
        raise ValueError(f"'{axis}' has two choices with one name. Rename one.")
    return named


def load_study(path: str | Path, overrides: Sequence[str] = ()) -> tuple[StudyConfig, list[Cell]]:
    """Read a study, apply ``dotted.key=value`` overrides to it and its base, and check every cell, before any is run.

    Raises:
        ConfigError: the study, or a cell, is not valid; the message names the cell and the key.
    """
    path = Path(path)
    of_base = [override for override in overrides if override.startswith("base.")]
    of_study = [override for override in overrides if override not in of_base]
    if any(override.startswith("axes") for override in of_study):
        raise ConfigError("axes cannot be changed on the command line, as their names have dots. Change the file.")
    for key, instead in {"base.seed": "seeds=[…]", "base.output": "output=…"}.items():
        if any(override.startswith(f"{key}=") for override in of_base):
            raise ConfigError(f"{key} plays no part in a study. Set {instead}")
    mapping = apply_overrides(load_yaml(path), of_study)
    if of_base and isinstance(mapping.get("base"), str):
        mapping["base"] = load_yaml(path.parent / mapping["base"])
    study = parse_config(StudyConfig, apply_overrides(mapping, of_base), str(path))
    base = load_yaml(path.parent / study.base) if isinstance(study.base, str) else study.base
    return study, cells_of(study, base)


def cells_of(study: StudyConfig, base: Mapping[str, Any]) -> list[Cell]:
    """Return the cells of a study, seeds innermost; with mode ``each`` without choices that are the base again."""
    axes = {name: _choices(name, values) for name, values in study.axes.items()}
    if len(study.seeds) > 1 and any("seed" in keys for choices in axes.values() for keys in choices.values()):
        raise ConfigError("axes: seed is set by an axis and by seeds. Keep one of them.")
    _check_number_of_cells(axes, study)
    cells: list[Cell] = []
    of_base: set[str] = set()
    for combination in _combinations(axes, study.mode):
        for seed in study.seeds:
            recipe = {**copy.deepcopy(dict(base)), "seed": seed, "output": "."}
            for name, label in combination.items():
                if label is not None:
                    _set_keys(recipe, axes[name][label], f"axes: '{name}', choice '{label}'")
            labels = {name: BASE if label is None else label for name, label in combination.items()}
            cell = _cell(labels, recipe)
            if set(labels.values()) == {BASE}:
                of_base.add(cell.digest)
            elif cell.digest in of_base:
                continue
            cells.append(cell)
    return cells


def _check_number_of_cells(axes: Mapping[str, Mapping[str, Any]], study: StudyConfig) -> None:
    sizes = [len(choices) for choices in axes.values()]
    number = len(study.seeds) * (math.prod(sizes) if study.mode == "grid" else 1 + sum(sizes))
    if number > MOST_CELLS:
        shown = " × ".join(map(str, sizes)) if study.mode == "grid" else f"1 + {' + '.join(map(str, sizes))}"
        raise ConfigError(
            f"axes: the study has {number:,} cells ({shown}, {len(study.seeds)} seeds each), expected at most "
            f"{MOST_CELLS:,}. Take fewer values, or mode: each, which varies one axis at a time."
        )


def _set_keys(recipe: dict[str, Any], keys: Mapping[str, Any], where: str) -> None:
    for key, value in sorted(keys.items(), key=lambda item: item[0].count(".")):  # what holds others first
        try:
            set_key(recipe, key, value)
        except ConfigError as error:
            raise ConfigError(f"{where}: {error}") from None


def _choices(name: str, values: Sequence[Any] | Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Label to the keys it sets."""
    if not values:
        raise ConfigError(f"axes: '{name}' has no values. Give at least one.")
    if isinstance(values, Mapping):
        choices = [(label, dict(keys)) for label, keys in values.items()]
    else:
        choices = [(_label(value), {name: value}) for value in values]
    labels = [label for label, _ in choices]
    for label, keys in choices:
        if labels.count(label) > 1:
            raise ConfigError(f"axes: '{name}' has two values that read '{label}'. Remove one, or name them.")
        if label == BASE:
            raise ConfigError(
                f"axes: '{name}' has a choice '{BASE}', which is what the base itself is called. Rename it."
            )
        if "output" in keys:
            raise ConfigError(f"axes: '{name}' sets output, but every cell has a folder of its own. Remove it.")
    return dict(choices)


def _label(value: Any) -> str:
    if isinstance(value, str):
        return value
    return yaml.safe_dump(value, default_flow_style=True, width=math.inf).split("\n")[0]


def _combinations(axes: Mapping[str, Mapping[str, Any]], mode: str) -> list[dict[str, str | None]]:
    if mode == "grid":
        return [dict(zip(axes, labels, strict=True)) for labels in product(*axes.values())]
    base: dict[str, str | None] = dict.fromkeys(axes)
    return [base, *({**base, name: label} for name, choices in axes.items() for label in choices)]


def _cell(labels: dict[str, str], recipe: dict[str, Any]) -> Cell:
    config = parse_recipe(recipe, f"cell {name_of(labels)}")
    model = config.model.build(("H",)).model_dump(mode="json")  # a name may come to stand for another model
    content = json.dumps([config.model_dump(mode="json", exclude={"output"}), model], sort_keys=True)
    return Cell(labels, recipe, hashlib.sha256(content.encode()).hexdigest()[:16])
