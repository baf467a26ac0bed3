"""Heads in the file of a potential: further potentials of the same model, by what differs from the first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from clebsch.errors import CheckpointError, ConfigError, did_you_mean
from clebsch.models.potential import Potential, PotentialConfig
from clebsch.models.tensor_file import with_prefix, without_prefix


@dataclass(frozen=True)
class HeadNames:
    """The heads that the header of a file names.

    Attributes:
        names: of all heads; that of the first is the potential of the file.
        terms: of every head, as in the header.
    """

    names: tuple[str, ...]
    terms: tuple[Any, ...]

    @classmethod
    def of(cls, header: Mapping[str, Any]) -> HeadNames:
        """Those of a header; none where the potential is the only one."""
        found = header.get("heads", [])
        return cls(tuple(head["name"] for head in found), tuple(head["terms"] for head in found))

    def index(self, name: str | None) -> int:
        """Place of the head ``name``, 0 for None.

        Raises:
            ConfigError: the file has no such head.
        """
        if name is None:
            return 0
        if name not in self.names:
            known = ", ".join(self.names) or "one potential without a name"
            raise ConfigError(f"head: the file has {known}, not '{name}'.{did_you_mean(name, self.names)}")
        return self.names.index(name)


def describe_heads(heads: Mapping[str, Potential]) -> list[dict[str, Any]]:
    """The entry of heads in the header of a file."""
    return [
        {"name": name, "terms": potential.config.model_dump(mode="json")["terms"]} for name, potential in heads.items()
    ]


def difference(state: Mapping[str, Tensor], head: Potential, name: str) -> dict[str, Tensor]:
    """The tensors of ``head`` that are not those of ``state``.

    Raises:
        CheckpointError: it is a potential of another model.
    """
    own = {key: tensor.detach().cpu() for key, tensor in head.state_dict().items()}
    if {key: tensor.shape for key, tensor in own.items()} != {key: tensor.shape for key, tensor in state.items()}:
        raise CheckpointError(f"heads: '{name}' is a potential of another model; save it in a file of its own.")
    return {key: tensor for key, tensor in own.items() if not torch.equal(tensor, state[key])}


def head_tensors(index: int, parts: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Tensors of one head by their names in the file."""
    named = [with_prefix(f"heads.{index}.{part}", tensors) for part, tensors in parts.items()]
    return {name: tensor for tensors in named for name, tensor in tensors.items()}


def take_head(tensors: Mapping[str, Tensor], index: int) -> dict[str, Tensor]:
    """Tensors of a file in which those of one head stand in place of the first one's."""
    if index == 0:
        return dict(tensors)
    own = without_prefix(f"heads.{index}", tensors)
    kept = {name: tensor for name, tensor in tensors.items() if not name.startswith("frames.")}
    return kept | own


def with_terms(config: PotentialConfig, terms: Sequence[Any]) -> PotentialConfig:
    """``config`` with the terms of a head."""
    return PotentialConfig.model_validate({"model": config.model, "terms": tuple(terms)})
