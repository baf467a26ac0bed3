"""Every member keeps the contract on the kernels of the CPU backend, with networks and with splines."""

from __future__ import annotations

import pytest
import torch

from clebsch.models import Potential
from clebsch.testing import run_contract
from contract.designs import MEMBERS, potential_of


def on_cpu_kernels(name: str, intervals: int | None, dtype: torch.dtype) -> Potential:
    """The member of that name on the backend ``cpu``; splines stand for the networks of the same weights."""
    found = potential_of(name, dtype=dtype)
    config = found.with_splines(intervals).config
    e0 = dict(zip(found.elements, found.e0.tolist(), strict=True))
    potential = Potential(config, e0=e0, dtype=dtype, backend="cpu")
    potential.load_state_dict(found.state_dict())
    return potential


CASES = [
    pytest.param(name, intervals, dtype, marks=() if fast else pytest.mark.slow)
    for name in MEMBERS
    for intervals, dtype, fast in [
        (None, torch.float64, name in ("nequip", "mace")),
        (64, torch.float64, False),
        (64, torch.float32, True),
    ]
]


@pytest.mark.parametrize(("name", "intervals", "dtype"), CASES)
def test_contract(name: str, intervals: int | None, dtype: torch.dtype):
    results = run_contract(on_cpu_kernels(name, intervals, dtype))
    assert not [str(result) for result in results if not result.passed]
