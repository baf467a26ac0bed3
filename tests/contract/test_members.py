"""Every member of the family keeps every term of the contract, in both dtypes, with and without nuclear repulsion."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from clebsch.testing import CHECKS, run_contract
from clebsch.testing.contract import make_batch, predict, sizes_of
from clebsch.testing.suite import Check
from clebsch.testing.systems import cluster
from contract.designs import MEMBERS, potential_of


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("zbl", [False, True], ids=["bare", "zbl"])
@pytest.mark.parametrize("name", MEMBERS)
def test_float64(name: str, zbl: bool, check: Check):
    result = check(potential_of(name, zbl))
    assert result.passed and not result.skipped


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", MEMBERS)
def test_float32(name: str, check: Check):
    result = check(potential_of(name, dtype=torch.float32))
    assert result.passed and not result.skipped


@pytest.mark.parametrize(
    "name", [name if name == "nequip" else pytest.param(name, marks=pytest.mark.slow) for name in MEMBERS]
)
def test_other_seed(name: str):
    """The systems of another seed: no check passes by the luck of its draw."""
    failed = [str(result) for result in run_contract(potential_of(name), seed=7) if not result.passed]
    assert not failed


@pytest.mark.parametrize("name", MEMBERS)
def test_the_contract_is_not_empty(name: str, rng):
    """A potential that is zero everywhere would keep it."""
    potential = potential_of(name)
    sizes = sizes_of(predict(potential, [cluster(potential.elements, rng)]))
    assert sizes["forces"] > 1e-2


@pytest.mark.parametrize("name", ["nequip", "pace"])
def test_torch_agrees_about_second_derivatives(name: str, rng):
    """torch's own gradgradcheck of the energy with respect to positions."""
    potential = potential_of(name)
    batch = make_batch(potential, [cluster(potential.elements, rng, 4)])

    def energy(positions: torch.Tensor) -> torch.Tensor:
        moved = replace(batch, positions=positions)
        return potential(moved, forces=False, create_graph=True).interaction_energy

    positions = batch.positions.clone().requires_grad_(True)
    assert torch.autograd.gradcheck(energy, positions, fast_mode=True)
    assert torch.autograd.gradgradcheck(energy, positions, fast_mode=True)
