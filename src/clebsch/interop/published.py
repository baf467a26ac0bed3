"""Published models: where a reader takes weights and settings from, and the files they are kept in."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase.data import chemical_symbols
from jaxtyping import Float
from safetensors import SafetensorError, safe_open

from clebsch.data import QUANTITIES, Configuration
from clebsch.errors import CheckpointError, ConfigError, did_you_mean

Array = np.ndarray

# Constants that e3nn and the codes keep beside the weights; they follow from the settings.
_CONSTANTS = re.compile(r"(output_mask|_w3j_\d+_\d+_\d+|_tensor_constant\d+|weights_\w+_zeroed)$")


class Source:
    """Weights and settings of one published model; knows which weights have been read.

    Args:
        code: name of the code, for messages.
        state: the model's ``state_dict()``, tensors or arrays by name.
        hyper: the settings that the model was built with, by their names in the code.
        e3nn_version: version of e3nn that the model was trained with.

    Attributes:
        old_signs: whether the couplings have the signs of e3nn before 0.5.
    """

    def __init__(
        self, code: str, state: Mapping[str, torch.Tensor | Array], hyper: Mapping[str, Any], e3nn_version: str
    ) -> None:
        self.code, self.hyper = code, hyper
        self.old_signs = _is_before_0_5(e3nn_version)
        arrays = {name: _float64(value) for name, value in state.items() if not _CONSTANTS.search(name)}
        self._arrays = {name: array for name, array in arrays.items() if array.size}
        self._read: set[str] = set()
        self._wanted: tuple[str, ...] | None = None

    def __contains__(self, name: str) -> bool:
        return name in self._arrays

    def count(self, prefix: str, suffix: str) -> int:
        """How many weights are called ``prefix``, a number, ``suffix``.

        Raises:
            CheckpointError: there is none, so it is another kind of model.
        """
        pattern = re.escape(prefix) + r"\d+" + re.escape(suffix)
        count = sum(re.fullmatch(pattern, name) is not None for name in self._arrays)
        if not count:
            raise CheckpointError(
                f"{self.code}: the weights have no '{prefix}0{suffix}', so this is no model of the kind described in "
                "docs/interop.md. Pass the whole state_dict of one."
            )
        return count

    def weight(self, name: str, *shape: int) -> Array:
        """The weight ``name`` in float64, reshaped where a ``shape`` is given.

        Raises:
            CheckpointError: there is no such weight, or it has another number of entries.
        """
        if name not in self._arrays:
            raise CheckpointError(
                f"{self.code}: the weights have no '{name}'.{did_you_mean(name, self._arrays)} "
                "Pass the whole state_dict of a model of the kind described in docs/interop.md."
            )
        self._read.add(name)
        array = self._arrays[name]
        try:
            return array.reshape(shape) if shape else array
        except ValueError:
            raise CheckpointError(
                f"{self.code}: '{name}' should have the shape {list(shape)} by the settings, but has "
                f"{list(array.shape)}. Pass the settings that the model was built with."
            ) from None

    def setting(self, name: str) -> Any:
        """The setting ``name``; functions and classes come as their names.

        Raises:
            ConfigError: the settings do not have it.
        """
        if name not in self.hyper:
            raise ConfigError(
                f"{self.code}: the settings have no '{name}'.{did_you_mean(name, self.hyper)} "
                "Pass what the model was built with; docs/interop.md lists what is read."
            )
        value = self.hyper[name]
        return getattr(value, "__name__", value)

    def choice(self, name: str, supported: Iterable[str]) -> str:
        """The setting ``name``, one of those ``supported``.

        Raises:
            ConfigError: it is missing or another one.
        """
        value = str(self.setting(name))
        if value not in supported:
            shown = " or ".join(f"'{item}'" for item in supported)
            raise ConfigError(f"{self.code}: {name} = '{value}' cannot be read, only {shown}; see docs/interop.md.")
        return value

    def expect(self, settings: Mapping[str, Any]) -> None:
        """Check that these settings, where they are given, have the one value that can be read (None means off).

        Raises:
            ConfigError: one has another value.
        """
        for name, expected in settings.items():
            value = self.setting(name) if name in self.hyper else expected
            off = expected is None and value in (None, False, "None")
            if not off and str(value) != str(expected):
                raise ConfigError(
                    f"{self.code}: {name} = {value!r} cannot be read, only {expected!r}; see docs/interop.md."
                )

    def optional(self, name: str, default: Any = None) -> Any:
        """The setting ``name``; ``default`` where it is not given or off."""
        return default if self.hyper.get(name) in (None, False, "None") else self.setting(name)

    def all_elements(self) -> tuple[str, ...]:
        """Chemical symbols of the setting ``atomic_numbers``, in its order."""
        return tuple(chemical_symbols[int(number)] for number in self.setting("atomic_numbers"))

    def elements(self) -> tuple[str, ...]:
        """Those of them that are wanted, in their order."""
        return self.all_elements() if self._wanted is None else self._wanted

    @property
    def kept(self) -> list[int]:
        """Places of the elements that are wanted among all elements, the rows to take of weights per element."""
        every = self.all_elements()
        return [every.index(symbol) for symbol in self.elements()]

    def restrict(self, elements: Sequence[str]) -> None:
        """Read the model for these elements alone.

        Raises:
            ConfigError: the model does not know one of them.
        """
        every = self.all_elements()
        unknown = [symbol for symbol in elements if symbol not in every]
        if unknown or not elements:
            raise ConfigError(
                f"{self.code}: elements: expected some of {', '.join(every)}, got {', '.join(unknown) or 'none'}."
            )
        self._wanted = tuple(symbol for symbol in every if symbol in elements)

    def finish(self, unused: Sequence[str] = ()) -> None:
        """Check that every weight has been read, but for those whose names match one of ``unused``.

        Raises:
            CheckpointError: a weight was left over: the model has a part that has not been read.
        """
        left = [name for name in self._arrays if name not in self._read]
        left = [name for name in left if not any(re.fullmatch(pattern, name) for pattern in unused)]
        if left:
            raise CheckpointError(
                f"{self.code}: {len(left)} weights have no place in the model of these settings, for example "
                f"{', '.join(left[:3])}. Pass the settings that the model was built with; docs/interop.md says which "
                "variants can be read."
            )


@dataclass(frozen=True)
class PublishedFrame:
    """What a published code gives for one configuration.

    Attributes:
        configuration: with energy, forces and, for a cell, stress of the code.
        layer_energy: [atoms, layers] output of every readout, before scale and shift.
        head: which of several heads of the model gave them; empty where there is one.
    """

    configuration: Configuration
    layer_energy: Float[Array, "atoms layers"]
    head: str = ""


@dataclass(frozen=True)
class PublishedModel:
    """A published model as one file: weights, settings, and frames evaluated by its own code.

    Attributes:
        state: the weights by their names in the code.
        hyper: the settings by their names in the code.
        frames: reference results.
    """

    state: dict[str, Array]
    hyper: dict[str, Any]
    frames: list[PublishedFrame]

    @property
    def e3nn_version(self) -> str:
        """The version of e3nn that the weights belong to."""
        return str(self.hyper["e3nn"])

    @property
    def average_energy(self) -> float:
        """Constant of a whole structure in eV that the code adds, whatever its size (PACE); else 0."""
        return float(self.hyper.get("average_energy", 0.0))


def read_published(path: str | Path) -> PublishedModel:
    """Read a published model from a safetensors file (layout in docs/interop.md).

    Args:
        path: file with tensors ``weights/<name>``, ``frames/<index>/<quantity>`` and the settings as JSON in the
            metadata ``config``.

    Raises:
        CheckpointError: the file is missing, cannot be read or has no settings.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"'{path}' cannot be read as a safetensors file ({error}). Copy it again.") from None
    return published_from_tensors(tensors, metadata, str(path))


def published_from_tensors(tensors: Mapping[str, Array], metadata: Mapping[str, str], origin: str) -> PublishedModel:
    """A published model from the tensors and the metadata of its file; errors as in `read_published`."""
    if "config" not in metadata:
        raise CheckpointError(f"'{origin}' has no settings. Write them as JSON into the metadata 'config'.")
    hyper = json.loads(metadata["config"])
    frames: dict[int, dict[str, Array]] = {}
    for name, tensor in tensors.items():
        if name.startswith("frames/"):
            _, index, quantity = name.split("/")
            frames.setdefault(int(index), {})[quantity] = tensor
    heads = hyper.get("frame_heads") or [""] * len(frames)
    return PublishedModel(
        state={name.removeprefix("weights/"): value for name, value in tensors.items() if name.startswith("weights/")},
        hyper=hyper,
        frames=[_frame(frames[index], f"{origin}, frame {index}", heads[index]) for index in sorted(frames)],
    )


def _frame(tensors: Mapping[str, Array], origin: str, head: str) -> PublishedFrame:
    shapes = {name: item.shape(len(tensors["numbers"])) for name, item in QUANTITIES.items() if name in tensors}
    configuration = Configuration(
        numbers=tensors["numbers"],
        positions=tensors["positions"],
        cell=tensors["cell"],
        pbc=tensors["pbc"].astype(bool),
        labels={name: tensors[name].reshape(shape) for name, shape in shapes.items()},
        origin=origin,
    )
    return PublishedFrame(configuration, tensors["node_layer_energy"], head)


def _is_before_0_5(version: str) -> bool:
    match = re.match(r"(\d+)\.(\d+)", str(version))
    if match is None:
        raise ConfigError(f"e3nn_version: expected a version such as '0.4.4', got {version!r}. See docs/interop.md.")
    return (int(match[1]), int(match[2])) < (0, 5)


def _float64(value: torch.Tensor | Array) -> Array:
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().double().numpy()
    return np.asarray(value, dtype=np.float64)
