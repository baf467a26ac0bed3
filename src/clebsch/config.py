"""Strict configuration: one base class, YAML in, readable errors out."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from clebsch.errors import ConfigError, did_you_mean

ConfigType = TypeVar("ConfigType", bound=BaseModel)


class StrictConfig(BaseModel):
    """Base of every configuration: frozen, and an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


def keys_of_table(fields: Mapping[str, tuple[Any, Any]]) -> Any:
    """Return a base class for configs whose keys follow from a table: ``fields`` by key, each a type and a default."""
    make: Any = create_model
    return make("KeysOfTable", __base__=StrictConfig, **fields)


class _Loader(yaml.SafeLoader):
    """YAML whose mappings have every key once; of two, the plain loader drops the first."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        assert node is not None
        lines: dict[tuple[str, Any], int] = {}
        for key, _ in node.value:
            name, line = (key.tag, str(key.value)), key.start_mark.line + 1
            if name in lines and not key.tag.endswith(":merge"):
                raise TwiceError(f"key '{key.value}' stands twice, in lines {lines[name]} and {line}. Keep one.")
            lines[name] = line
        return node


class TwiceError(yaml.YAMLError):
    """A mapping has a key twice."""


def load_yaml(path: str | Path) -> dict[str, Any]:
    """Read a YAML mapping from ``path``, every alias a copy; raises ConfigError where it is missing or malformed."""
    path = Path(path)
    if not path.is_file():
        state = "is a folder" if path.is_dir() else "does not exist"
        raise ConfigError(f"Config file '{path}' {state}. Give the path of a YAML file.")
    try:
        content = yaml.load(path.read_text(), _Loader)
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{path} must hold a mapping 'key: value', got {type(content).__name__}.")
    try:
        return _unshared(content)
    except RecursionError:
        raise ConfigError(f"{path}: an alias contains itself. Write out what is meant.") from None


def apply_overrides(mapping: Mapping[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    """Return ``mapping`` with every ``dotted.key=value`` of ``overrides`` set as by `set_key`; values are YAML."""
    result = copy.deepcopy(dict(mapping))
    for override in overrides:
        key, separator, value = override.partition("=")
        if not separator or not key:
            raise ConfigError(f"Override '{override}' must read key=value, for example train.max_epochs=2.")
        set_key(result, key, _yaml_value(override, value))
    return result


def set_key(mapping: dict[str, Any], key: str, value: Any) -> None:
    """Set a dotted key, in place; a number picks an entry of a list, ``*`` stands for every entry.

    What is missing or null on the way becomes a mapping; a value is not replaced by one, as that would drop it.

    Raises:
        ConfigError: the key leads below a single value or into a list that has no such entry, or ``*`` stands for
            nothing.
    """
    nodes: list[Any] = [mapping]
    *parents, last = key.split(".")
    for depth, parent in enumerate(parents):
        nodes = [child for node in nodes for child in _children(node, parent, key)]
        if any(not isinstance(node, (dict, list)) for node in nodes):
            above = ".".join(parents[: depth + 1])
            raise ConfigError(f"'{key}': '{above}' is a single value here; set the whole of it, '{above}={{…}}'.")
    for node in nodes:
        for entry in _entries(node, last, key):
            node[entry] = copy.deepcopy(value)


def _children(node: Any, part: str, key: str) -> list[Any]:
    entries = _entries(node, part, key)
    if isinstance(node, dict):
        node.setdefault(part, None)
    for entry in entries:
        if node[entry] is None:
            node[entry] = {}
    return [node[entry] for entry in entries]


def _entries(node: Any, part: str, key: str) -> list[Any]:
    """Keys of a mapping or indices of a list that ``part`` of ``key`` stands for."""
    if part == "*" and not (isinstance(node, list) and node):
        raise ConfigError(f"'{key}': '*' stands for every entry of a list, but there is no list here, or none in it.")
    if isinstance(node, dict):
        return [part]
    if part == "*":
        return list(range(len(node)))
    if not part.isdecimal() or int(part) >= len(node):
        raise ConfigError(f"'{key}': expected * or an index below {len(node)} for a list, got '{part}'.")
    return [int(part)]


def parse_config(cls: type[ConfigType], mapping: Mapping[str, Any], where: str = "config") -> ConfigType:
    """Validate ``mapping`` as ``cls``; raises ConfigError that names ``where``, the dotted key and the cure."""
    try:
        return cls.model_validate(mapping)
    except ValidationError as error:
        lines = [_explain(cls, item) for item in error.errors()]
        raise ConfigError(f"{where} is not valid:\n" + "\n".join(f"  - {line}" for line in lines)) from None


def _unshared(value: Any) -> Any:
    """A copy in which nothing is held twice, so that to change one entry changes no other."""
    if isinstance(value, dict):
        return {key: _unshared(item) for key, item in value.items()}
    return [_unshared(item) for item in value] if isinstance(value, list) else value


def _yaml_value(override: str, value: str) -> Any:
    try:
        return _unshared(yaml.load(value, _Loader))
    except TwiceError as error:
        raise ConfigError(f"Override '{override}': {error}") from None
    except (yaml.YAMLError, RecursionError):
        raise ConfigError(
            f"Override '{override}': the value is not valid YAML. Close its brackets and quotes, and quote it for the "
            "shell, for example 'data.tests=[a, b]'."
        ) from None


def _explain(cls: type[BaseModel], item: Any) -> str:
    path, _ = _walk(cls, item["loc"])
    key = ".".join(path)
    if item["type"] == "extra_forbidden":
        _, models = _walk(cls, item["loc"][:-1])
        options = sorted({name for model in models for name in model.model_fields})
        known = f" Known keys: {', '.join(options)}." if options else ""
        return f"unknown key '{key}'.{did_you_mean(path[-1], options)}{known}"
    if item["type"] == "missing":
        return f"key '{key}' is missing and has no default."
    if item["type"] == "union_tag_not_found":
        tag = item["ctx"]["discriminator"].strip("'")
        kinds = ", ".join(str(model.model_fields[tag].default) for model in _walk(cls, item["loc"])[1])
        return f"key '{key}.{tag}' is missing. Give one of {kinds}."
    given = item.get("input")
    shown = "" if isinstance(given, (dict, list, BaseModel)) else f" (got {given!r})"
    reason = item["msg"].removeprefix("Value error, ")
    return f"key '{key}': {reason}{shown}." if key else f"{reason}{shown}."


def _walk(cls: type[BaseModel], location: Sequence[Any]) -> tuple[list[str], list[type[BaseModel]]]:
    """Keys of ``location`` as a user writes them, and the configurations that the last one can hold.

    Where a section has several forms, pydantic puts the form's tag into the location; it picks the form and is no key.
    """
    models: list[type[BaseModel]] = [cls]
    path: list[str] = []
    for part in location:
        tagged = [m for m in models if any(field.default == part for field in m.model_fields.values())]
        fields = [m.model_fields[part] for m in models if part in m.model_fields]
        if tagged and not fields and not isinstance(part, int):
            models = tagged
            continue
        path.append(str(part))
        models = [found for field in fields for found in _models_in(field.annotation)] or models
    return path, models


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for argument in get_args(annotation) for found in _models_in(argument)]
