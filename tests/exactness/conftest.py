"""The published models that readers are held to: weights, settings and results of the published codes themselves."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from clebsch.interop import PublishedModel, from_botnet, from_mace, from_nequip, from_pace, read_published
from clebsch.models import Potential
from clebsch.testing.portability import rebuild

FIXTURES = Path(__file__).parent / "fixtures"
READERS = {
    "mace": from_mace,
    "mace_first": from_mace,
    "pace": from_pace,
    "botnet": from_botnet,
    "nequip": from_nequip,
    "nequip_options": from_nequip,
}


@cache
def read(name: str) -> PublishedModel:
    return read_published(FIXTURES / f"{name}.safetensors")


@pytest.fixture
def published() -> Callable[[str], PublishedModel]:
    """The published model of a name; callers must not change it."""
    return read


@pytest.fixture
def make() -> Callable[..., Potential]:
    """``make(name, state=…, hyper=…, e3nn_version=…, backend=…)``: our potential; default: the published model."""

    def build(
        name: str,
        state: dict[str, np.ndarray] | None = None,
        hyper: dict[str, object] | None = None,
        e3nn_version: str | None = None,
        backend: str | None = None,
    ) -> Potential:
        model = read(name)
        found = READERS[name](
            model.state if state is None else state,
            model.hyper if hyper is None else hyper,
            e3nn_version=e3nn_version or model.e3nn_version,
        )
        return found if backend is None else rebuild(found, torch.float64, backend)

    return build
