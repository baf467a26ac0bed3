"""Strict configuration: one base class, YAML in, readable errors out."""

from __future__ import annotations

import copy
import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    Tag,
    ValidationError,
    create_model,
)

from clebsch.errors import ConfigError, did_you_mean

ConfigType = TypeVar("ConfigType", bound=BaseModel)

# Widths of networks and features are far below this; a file must not ask for more memory than there is.
LARGEST_WIDTH = 65_536
Width = Annotated[int, Field(ge=1, le=LARGEST_WIDTH)]
Widths = Annotated[tuple[Width, ...], Field(max_length=16)]
# What no recipe or study needs more of.
MAX_BYTES, MAX_DEPTH, MAX_ALIASES, MAX_ENTRIES = 1_000_000, 50, 1_000, 100_000
LARGEST_INTEGER = 2**63
MAX_KEYS = 8  # parts of a dotted key
# What keys are called elsewhere; a dot where the name alone would not tell.
SYNONYMS = {
    **dict.fromkeys(("cutoff", "cutoff_radius", "rcut", "r_cut", "rmax"), "r_max"),
    **dict.fromkeys(("epochs", "num_epochs", "n_epochs", "max_num_epochs"), "max_epochs"),
    **dict.fromkeys(("channels", "num_features", "n_channels"), "num_channels"),
    **dict.fromkeys(("lmax", "max_ell", "max_l"), "l_max"),
    **dict.fromkeys(("max_L", "Lmax"), "L_max"),
    **dict.fromkeys(("num_interactions", "n_layers"), "num_layers"),
    **dict.fromkeys(("E0s", "e0s", "isolated_atoms"), "energy.e0"),
    **dict.fromkeys(("train_file", "training_file"), "data.train"),
    **dict.fromkeys(("valid_file", "validation_file"), "data.valid"),
    **dict.fromkeys(("test_file", "test_files"), "data.tests"),
    **{f"{name}_key": f"keys.{name}" for name in ("energy", "forces", "stress", "dipole")},
    "learning_rate": "lr",
    "clip_grad": "max_grad_norm",
}


class StrictConfig(BaseModel):
    """Base of every configuration: frozen, and an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


@dataclass(frozen=True)
class DefaultForm:
    """Annotates a union of configurations that ``key`` tells apart: a section without it has the form ``tag``."""

    tag: str
    key: str = "kind"

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> Any:
        def complete(section: Any) -> Any:
            return {self.key: self.tag, **section} if isinstance(section, Mapping) else section

        return BeforeValidator(complete).__get_pydantic_core_schema__(source, handler)

    def __get_pydantic_json_schema__(self, schema: Any, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        found = handler(schema)
        found["anyOf"] = found.pop("oneOf")  # without the key a section may look like several forms
        return found


def drop_former(section: Mapping[str, Any], union: Any, former: Mapping[str, Any]) -> dict[str, Any]:
    """Return a section that was saved when all forms of ``union`` had all options, with those of its form.

    An option that its form does not have is dropped if it has its ``former`` default; with any other value it stays,
    and is then an unknown key.
    """
    form = forms(union).get(section.get("kind"))
    known = former if form is None else form.model_fields
    return {key: value for key, value in section.items() if key in known or key not in former or value != former[key]}


def forms(union: Any, key: str = "kind") -> dict[Any, Any]:
    """Return the configurations of a discriminated union by the tag of each."""
    found: dict[Any, Any] = {}
    for form in get_args(get_args(union)[0]):
        tags = [note.tag for note in get_args(form) if isinstance(note, Tag)]
        found |= dict.fromkeys(tags or get_args(form.model_fields[key].annotation), form)
    return found


def keys_of_table(fields: Mapping[str, tuple[Any, Any]]) -> Any:
    """Return a base class for configs whose keys follow from a table: ``fields`` by key, each a type and a default."""
    make: Any = create_model
    return make("KeysOfTable", __base__=StrictConfig, **fields)


class _Loader(yaml.SafeLoader):
    """YAML in which nothing has two meanings: no key twice, no octal or sexagesimal numbers, no dates; and no bombs."""

    yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(":timestamp")]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    depth = aliases = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        mark = self.peek_event().start_mark
        self.aliases += self.check_event(yaml.AliasEvent)
        if self.depth >= MAX_DEPTH or self.aliases > MAX_ALIASES:
            what = f"{MAX_ALIASES} aliases" if self.aliases > MAX_ALIASES else f"{MAX_DEPTH} levels of nesting"
            raise RefusedError(f"more than {what}. Write out what is meant.", mark)
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        assert node is not None
        lines: dict[tuple[str, Any], int] = {}
        for key, _ in node.value:
            name, line = (key.tag, str(key.value)), key.start_mark.line + 1
            if name in lines and not key.tag.endswith(":merge"):
                raise RefusedError(f"key '{key.value}' stands twice, in lines {lines[name]} and {line}. Keep one.")
            lines[name] = line
        return node

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        super().flatten_mapping(node)
        # What is merged many times is there many times; the last of one key counts.
        node.value = list({(key.tag, str(key.value)): (key, value) for key, value in node.value}.values())

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            found = super().construct_object(node, deep)
        except (ValueError, TypeError, AttributeError, LookupError, OverflowError):
            kind = node.tag.rpartition(":")[2]
            raise RefusedError(
                f"'{node.value!s:.40}' is no {kind}. Correct it, or put it in quotes.", node.start_mark
            ) from None
        if isinstance(found, (int, float)) and isinstance(node.value, str):
            _check_number(node, found)
        return found


class RefusedError(yaml.YAMLError):
    """YAML that is well formed, but not read: it has two meanings, none, or grows without end."""

    def __init__(self, message: str, mark: yaml.Mark | None = None) -> None:
        super().__init__(message)
        self.problem, self.problem_mark = message, mark


def _check_number(node: yaml.Node, value: float) -> None:
    text, cure = str(node.value), ""
    if ":" in text:
        cure = f"'{text:.40}' is a number of base 60 in YAML ({value}). Put it in quotes, or write the number."
    elif re.fullmatch(r"[-+]?0[0-7_]+", text):
        cure = f"'{text:.40}' is an octal number in YAML ({value}). Write it without the leading zero."
    elif isinstance(value, int) and abs(value) > LARGEST_INTEGER:
        cure = f"'{text:.40}' is too large for an integer. Write a number below {LARGEST_INTEGER}."
    if cure:
        raise RefusedError(cure, node.start_mark)


def load_yaml(path: str | Path) -> dict[str, Any]:
    """Read a YAML mapping from ``path``, every alias a copy; raises ConfigError where it is missing or malformed."""
    path = Path(path)
    if not path.is_file():
        state = "is a folder" if path.is_dir() else "does not exist"
        raise ConfigError(f"Config file '{path}' {state}. Give the path of a YAML file.")
    content = _parse_yaml(_read_text(path), str(path))
    if not isinstance(content, dict):
        raise ConfigError(f"{path} must hold a mapping 'key: value', got {type(content).__name__}.")
    return content


def _read_text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        text = data.decode("utf-8-sig")
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}. Check the file and its permissions.") from None
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ConfigError(
            f"{path}, line {line}: is not valid YAML: the byte 0x{data[error.start]:02x} is no UTF-8. Save the file as "
            "UTF-8."
        ) from None
    if len(data) > MAX_BYTES:
        raise ConfigError(f"{path} is larger than {MAX_BYTES:,} bytes, so it is no recipe or study. Give another file.")
    return text


def _parse_yaml(text: str, where: str, cure: str = "Check brackets, quotes, colons and the indentation there.") -> Any:
    """Return what a text in YAML holds, every alias a copy; raises ConfigError that names ``where`` and the line."""
    try:
        return _unshared(yaml.load(text, _Loader))
    except RefusedError as error:
        raise ConfigError(f"{where}{_line_of(error, text)}: {error.problem}") from None
    except yaml.YAMLError as error:
        problem = getattr(error, "problem", None) or getattr(error, "reason", "it cannot be read")
        raise ConfigError(f"{where}{_line_of(error, text)}: is not valid YAML: {problem}. {cure}") from None


def _line_of(error: yaml.YAMLError, text: str) -> str:
    """Where an error is, if it says so."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    position = getattr(error, "position", None)
    line = mark.line if mark is not None else text[:position].count("\n") if isinstance(position, int) else None
    return "" if line is None else f", line {line + 1}"


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
    entries = 0

    def copied(value: Any, above: tuple[int, ...]) -> Any:
        nonlocal entries
        entries += 1
        if entries > MAX_ENTRIES:
            raise RefusedError(f"its aliases stand for more than {MAX_ENTRIES:,} entries. Write out what is meant.")
        if id(value) in above:
            raise RefusedError("an alias contains itself. Write out what is meant.")
        if len(above) > MAX_DEPTH:
            raise RefusedError(f"more than {MAX_DEPTH} levels of nesting. Write out what is meant.")
        inside = (*above, id(value))
        if isinstance(value, dict):
            return {key: copied(item, inside) for key, item in value.items()}
        return [copied(item, inside) for item in value] if isinstance(value, list) else value

    return copied(value, ())


def _yaml_value(override: str, value: str) -> Any:
    cure = "Close its brackets and quotes, and quote it for the shell, for example 'data.tests=[a, b]'."
    return _parse_yaml(value, f"Override '{override:.200}'", cure)


def _explain(cls: type[BaseModel], item: Any) -> str:
    path, found = _walk(cls, item["loc"])
    key = ".".join(path)
    if item["type"] == "extra_forbidden":
        _, above = _walk(cls, item["loc"][:-1])
        options = sorted({name for model in _models_in(above) for name in model.model_fields})
        known = f" Known keys: {', '.join(options)}." if options else ""
        return f"unknown key '{key}'.{_suggest(cls, path, options)}{known}"
    if item["type"] == "missing":
        return f"key '{key}' is missing and has no default."
    if item["type"] in ("union_tag_not_found", "union_tag_invalid"):
        tag = item["ctx"]["discriminator"].strip("'")
        kinds = list(forms(found, tag))
        if item["type"] == "union_tag_not_found":
            return f"key '{key}.{tag}' is missing. Give one of {', '.join(kinds)}."
        name = item["ctx"]["tag"]
        return f"key '{key}.{tag}': expected one of {', '.join(kinds)}, got '{name}'.{did_you_mean(name, kinds)}"
    given = item.get("input")
    shown = "" if isinstance(given, (dict, list, BaseModel)) else f" (got {given!r:.200})"
    reason = item["msg"].removeprefix("Value error, ")
    return f"key '{key}': {reason}{shown}." if key else f"{reason}{shown}."


def _suggest(cls: type[BaseModel], path: Sequence[str], options: Sequence[str]) -> str:
    """Return a question that names the key that was meant by an unknown one, or an empty string.

    A key of the same section goes before those of others, unless only others have the name, or what stands for it.

    Args:
        cls: what was to be read.
        path: the parts of the unknown key.
        options: the keys of its section.
    """
    wanted = SYNONYMS.get(path[-1], path[-1])
    if wanted in options:
        return f" Did you mean '{wanted}'?"
    typed = ["*" if part.isdecimal() else part for part in path]
    keys = [key for key in dict.fromkeys(_keys_below(cls)) if key != ".".join(typed)]
    named = [key for key in keys if f".{key}".endswith(f".{wanted}")]
    if not named:
        if near := did_you_mean(path[-1], options):
            return near
        names = {key.rpartition(".")[2] for key in keys}
        close = difflib.get_close_matches(wanted, sorted(names), n=1, cutoff=0.8)
        named = [key for key in keys if close and key.rpartition(".")[2] == close[0]]
    if not named:
        return ""

    def distance(key: str) -> tuple[int, int]:
        parts = key.split(".")
        shared = next((i for i, (a, b) in enumerate(zip(parts, typed, strict=False)) if a != b), 0)
        return -shared, len(parts)

    return f" Did you mean '{min(named, key=distance)}'?"


def _keys_below(annotation: Any, above: tuple[str, ...] = ()) -> Iterator[str]:
    """Dotted keys of all sections of a configuration, of whatever form; ``*`` is an entry of a list."""
    origin = get_origin(annotation)
    if origin is None and isinstance(annotation, type) and issubclass(annotation, BaseModel) and len(above) < MAX_KEYS:
        for name, field in annotation.model_fields.items():
            yield ".".join((*above, name))
            yield from _keys_below(field.annotation, (*above, name))
    elif origin is not dict:
        inside = (*above, "*") if origin in (tuple, list) else above
        for argument in get_args(annotation):
            yield from _keys_below(argument, inside)


def _walk(cls: type[BaseModel], location: Sequence[Any]) -> tuple[list[str], Any]:
    """Keys of ``location`` as a user writes them, and the type of what the last one holds, None where it is unknown."""
    path: list[str] = []
    here: Any = cls
    for part in location:
        is_key, here = _below(here, part)
        path += [str(part)] if is_key else []
    return path, here


def _below(here: Any, part: Any) -> tuple[bool, Any]:
    """Whether one part of a location is a key of the type ``here``, and the type that it leads to.

    Where a value has several forms, pydantic puts the form into the location; it picks the form and is no key.
    """
    origin = get_origin(here)
    if origin is Annotated:
        bare, *notes = get_args(here)
        key = next((note.discriminator for note in notes if getattr(note, "discriminator", None)), None)
        return (False, forms(here, key).get(part)) if key else _below(bare, part)
    if origin is None and isinstance(here, type) and issubclass(here, BaseModel):
        field = here.model_fields.get(part)
        if field is None:
            return True, None
        notes = (*field.metadata, field)
        return True, Annotated[(field.annotation, *notes)]
    arms = [arm for arm in get_args(here) if arm not in (NoneType, Ellipsis)]
    if origin not in (Union, UnionType):
        return True, arms[-1] if arms else None
    if len(arms) == 1:
        return _below(arms[0], part)
    name = str(part).partition("[")[0]
    return False, next((arm for arm in arms if name == getattr(get_origin(arm) or arm, "__name__", None)), None)


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if get_origin(annotation) is None and isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for argument in get_args(annotation) for found in _models_in(argument)]
