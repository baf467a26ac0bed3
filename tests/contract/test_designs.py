"""Models outside the table of published ones keep the contract too."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError

from clebsch.models import Potential, PotentialConfig, ZBLConfig
from clebsch.testing import CHECKS, run_contract
from clebsch.testing.contract import predict, sizes_of
from clebsch.testing.suite import Check
from clebsch.testing.systems import cluster
from contract.designs import DESIGNS, E0, design, potential_of, random_design


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", DESIGNS)
def test_design(name: str, check: Check):
    check(potential_of(name))


@pytest.mark.parametrize("name", DESIGNS)
def test_design_is_not_constant(name: str, rng):
    potential = potential_of(name)
    assert sizes_of(predict(potential, [cluster(potential.elements, rng)]))["forces"] > 1e-3


@pytest.mark.parametrize("seed", [*range(4), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(4, 16))])
def test_random_design(seed: int):
    config = PotentialConfig(model=random_design(seed), terms=(ZBLConfig(),) if seed % 3 == 0 else ())
    potential = Potential(config, e0=E0, dtype=torch.float64, backend="reference", seed=seed)
    failed = [str(result) for result in run_contract(potential, seed=seed) if not result.passed]
    assert not failed


@pytest.mark.parametrize("level", [0, 1, 3])
def test_one_channel_per_stream_of_the_booster_is_refused(level: int):
    """A layer norm of one channel is zero, and with it the whole potential."""
    with pytest.raises(ValidationError, match=f"take at least {2 * (level + 1)}"):
        design({}, num_channels=level + 1, booster={"level": level})
