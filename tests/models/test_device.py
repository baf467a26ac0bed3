"""Devices and dtypes: by name, and errors before anything is computed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from clebsch import Calculator
from clebsch.data import Batch
from clebsch.errors import BackendError, ConfigError
from clebsch.models import (
    Potential,
    PotentialConfig,
    find_device,
    find_dtype,
    load_potential,
    save_potential,
)
from clebsch.models.presets import pace

E0 = {"H": -13.6, "C": -1030.5, "O": -2042.25}


def potential(**options: Any) -> Potential:
    model = pace(elements=tuple(E0), r_max=3.0, num_channels=4, l_max=1, L_max=1)
    return Potential(PotentialConfig(model=model), **{"e0": E0, **options})


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    save_potential(potential(), tmp_path / "p.safetensors")
    return tmp_path / "p.safetensors"


@pytest.mark.parametrize("name", ["float32", "float64"])
def test_dtypes_have_names(saved: Path, name: str):
    dtype = getattr(torch, name)
    assert find_dtype(name) == find_dtype(dtype) == dtype
    assert potential(dtype=name).dtype == dtype
    assert load_potential(saved, dtype=name).dtype == dtype
    assert Calculator(saved, dtype=name).potential.dtype == Calculator(potential(), dtype=name).potential.dtype == dtype
    assert potential().copy(dtype=name).dtype == dtype


@pytest.mark.parametrize("dtype", ["float16", "double", torch.bfloat16])
def test_other_dtypes_are_errors(saved: Path, dtype: Any):
    for attempt in (
        lambda: potential(dtype=dtype),
        lambda: load_potential(saved, dtype=dtype),
        lambda: Calculator(saved, dtype=dtype),
        lambda: Calculator(potential(), dtype=dtype),
    ):
        with pytest.raises(ConfigError, match=r"dtype: expected float32 or float64, got "):
            attempt()


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("meta", "device: 'meta' holds shapes without numbers, so nothing can be computed there. Use 'cpu'"),
        ("gpu", "device: 'gpu' is not available here. Use 'cpu', or 'cuda' where"),
        ("cpu:x", "device: 'cpu:x' is not available here"),
    ],
)
def test_devices_where_nothing_can_be_computed(saved: Path, device: str, message: str):
    for attempt in (
        lambda: find_device(device),
        lambda: load_potential(saved, device=device),
        lambda: Calculator(saved, device=device),
        lambda: Calculator(potential(), device=device),
        lambda: potential().copy(device=device),
    ):
        with pytest.raises(BackendError, match=message):
            attempt()


def test_on_meta_there_are_shapes(make_batch: Callable[..., Batch], backend: str):
    """A potential that was moved there by hand has no numbers, but does not crash."""
    batch, found = make_batch(4, 3), potential(backend=backend)
    expected = found(batch)
    prediction = found.to("meta")(batch.to("meta"))
    for name in ("energy", "node_energy", "layer_energy", "forces"):
        value = getattr(prediction, name)
        assert value.device.type == "meta" and value.shape == getattr(expected, name).shape


def test_a_potential_elsewhere_than_its_batch_is_an_error(make_batch: Callable[..., Batch]):
    with pytest.raises(BackendError, match="its tensors are on several devices, cpu, meta"):
        potential(backend="cpu").to("meta")(make_batch(4))
