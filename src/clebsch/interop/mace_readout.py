"""Heads of MACE: readouts, scale, shift and E0 of one of them, and inputs of a whole structure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from clebsch.errors import CheckpointError, ConfigError
from clebsch.interop.e3nn import with_activation
from clebsch.interop.parameters import Parameters, perceptron_parameters
from clebsch.interop.published import Array, Source


@dataclass(frozen=True)
class Head:
    """One head of a model.

    Attributes:
        index: of the head.
        count: number of heads.
        e0: energy of the isolated atoms in eV.
        scale: eV per unit of the readouts.
        shift: eV per atom.
    """

    index: int
    count: int
    e0: Float[Array, " elements"]
    scale: float
    shift: float

    @classmethod
    def of(cls, source: Source, name: str | None) -> Head:
        """The head ``name``; None for the only one.

        Raises:
            ConfigError: there are several and none or an unknown one is named.
            CheckpointError: weights are for another number of heads.
        """
        names = heads_of(source)
        if (name is None and len(names) > 1) or (name is not None and name not in names):
            given = "none was named" if name is None else f"'{name}' was named"
            raise ConfigError(f"{source.code}: head: expected one of {', '.join(names)}, but {given}.")
        index = 0 if name is None else names.index(name)
        e0 = source.weight("atomic_energies_fn.atomic_energies", -1, len(source.all_elements()))
        scales = {}
        for key, default in (("scale", 1.0), ("shift", 0.0)):
            weight = f"scale_shift.{key}"
            scales[key] = source.weight(weight, -1) if weight in source else np.full(len(names), default)
        for key, values in {"atomic_energies": e0, **scales}.items():
            if len(values) not in (1, len(names)):
                raise CheckpointError(
                    f"{source.code}: {key} are for {len(values)} heads, but the settings name {len(names)} heads: "
                    f"{', '.join(names)}. Pass the settings that the model was built with."
                )
        chosen = [values[index % len(values)] for values in (e0, scales["scale"], scales["shift"])]
        return cls(index, len(names), chosen[0][source.kept], float(chosen[1]), float(chosen[2]))

    def block(self, matrix: Array, axis: int) -> Array:
        """The part of ``matrix`` along ``axis`` that belongs to the head; heads lie one behind the other."""
        return np.split(matrix, self.count, axis=axis)[self.index]


def heads_of(source: Source) -> list[str]:
    """Names of the heads."""
    return [str(name) for name in source.optional("heads", ["Default"])]


def readout_choice(source: Source, head: Head, index: int, layers: int, channels: int) -> dict[str, Any]:
    """The configuration of one readout."""
    number = _number(source, index, layers)
    if number is None:
        return {"readout": "none"}
    maps, biases = _maps(source, head, number, channels)
    if len(maps) == 1:
        return {"readout": "linear"}
    deep = {"readout_layers": len(maps) - 1, "readout_bias": bool(biases)}
    return {"readout": "mlp", "readout_hidden": maps[0].shape[1], **deep}


def readout_parameters(source: Source, head: Head, index: int, layers: int, channels: int) -> Parameters:
    """Weights and biases of one readout."""
    number = _number(source, index, layers)
    if number is None:
        return {}
    maps, biases = _maps(source, head, number, channels)
    named = {f"readout.mlp.biases.{place}": bias for place, bias in enumerate(biases)}
    return perceptron_parameters("readout.mlp", maps) | named


def _number(source: Source, index: int, layers: int) -> int | None:
    """Which of the readouts of the code a layer has."""
    if not source.optional("use_last_readout_only", False):
        return index
    return 0 if index == layers - 1 else None


def _maps(source: Source, head: Head, number: int, channels: int) -> tuple[list[Array], list[Array]]:
    """Effective maps between plain SiLUs and the biases of all but the first.

    Hidden channels of other heads are masked, so that those of one head are a network of their own; the fan-in that
    e3nn divides by counts all of them.
    """
    name = f"readouts.{number}"
    if f"{name}.linear.weight" in source:
        weight = source.weight(f"{name}.linear.weight", channels, head.count)
        return [head.block(weight, 1) / channels**0.5], []
    maps = [head.block(source.weight(f"{name}.linear_1.weight", channels, -1), 1) / channels**0.5]
    width = maps[0].shape[1] * head.count
    biases = []
    if f"{name}.linear_mid.weight" in source:
        middle = source.weight(f"{name}.linear_mid.weight", width, width)
        maps.append(head.block(head.block(middle, 0), 1) / width**0.5)
        biases.append(head.block(source.weight(f"{name}.linear_mid.bias", width), 0))
    last = source.weight(f"{name}.linear_2.weight", width, head.count)
    maps.append(head.block(head.block(last, 0), 1) / width**0.5)
    if biases:
        biases.append(head.block(source.weight(f"{name}.linear_2.bias", head.count), 0))
    return with_activation(maps), biases


def fixed_embedding(
    source: Source, head: Head, embedding: Array, inputs: Mapping[str, float]
) -> tuple[Float[Array, "elements channels"], Float[Array, " elements"]]:
    """Embedding with the inputs of a structure at fixed values, and the energy in eV that is read off it directly.

    Args:
        source: the weights.
        head: the head.
        embedding: [elements, channels] of the elements.
        inputs: value of every input by name.

    Raises:
        ConfigError: a value is missing, is no category of the model, or an input is one of single atoms.
    """
    specs = source.optional("embedding_specs", {})
    unknown = [name for name in inputs if name not in specs]
    if unknown:
        raise ConfigError(
            f"{source.code}: inputs: the model has no {', '.join(unknown)}, only {', '.join(specs) or 'none'}."
        )
    if not specs:
        return embedding, np.zeros(len(embedding))
    found = [_embed(source, name, specs[name], inputs) for name in specs]
    total = np.concatenate(found)
    embedding = embedding + _silu(source.weight("joint_embedding.project.0.weight", -1, len(total)) @ total)
    if "embedding_readout.linear.weight" not in source:
        return embedding, np.zeros(len(embedding))
    channels = embedding.shape[1]
    readout = source.weight("embedding_readout.linear.weight", channels, head.count) / channels**0.5
    return embedding, (embedding @ head.block(readout, 1))[:, 0]


def _embed(source: Source, name: str, spec: Mapping[str, Any], inputs: Mapping[str, float]) -> Array:
    if name not in inputs:
        raise ConfigError(
            f"{source.code}: the model embeds {name} of a structure; a potential has one value of it, which is to be "
            f"named: inputs {{'{name}': …}}, or --input {name}=… on the command line."
        )
    if spec.get("per") != "graph":
        raise ConfigError(
            f"{source.code}: the model embeds {name} of every atom; only values of a structure can be read."
        )
    prefix = f"joint_embedding.embedders.{name}"
    if spec["type"] == "categorical":
        table = source.weight(f"{prefix}.weight")
        row = inputs[name] + spec.get("offset", 0)
        if row not in range(len(table)):
            low = -spec.get("offset", 0)
            raise ConfigError(
                f"{source.code}: {name}: expected an integer from {low} to {low + len(table) - 1}, got {inputs[name]}."
            )
        return table[int(row)]
    hidden = source.weight(f"{prefix}.0.weight") @ np.full(int(spec["in_dim"]), float(inputs[name]))
    hidden = _silu(hidden + _bias(source, f"{prefix}.0.bias"))
    return source.weight(f"{prefix}.2.weight") @ hidden + _bias(source, f"{prefix}.2.bias")


def _bias(source: Source, name: str) -> Array | float:
    return source.weight(name) if name in source else 0.0


def _silu(x: Array) -> Array:
    return x / (1 + np.exp(-x))
