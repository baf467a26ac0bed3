"""Every check fails for potentials that break it, and says so with numbers."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

import clebsch.ops
from clebsch.ops import ConvolutionDescriptor, get_backend
from clebsch.ops.reference import Convolution
from clebsch.testing import (
    CHECKS,
    ContractViolation,
    assert_contract,
    check_dtype,
    check_rotation,
    check_save_load,
    run_contract,
)
from contract.broken import BROKEN, Altered, anisotropic, pseudo_scalar, sound, with_edges, with_prediction

BY_NAME = {check.__name__: check for check in CHECKS}
CASES = [(check, case) for check, cases in BROKEN.items() for case in cases]
# These rebuild the potential from its config, which knows nothing of the defect.
REBUILDING = {"save_load", "dtype", "backends"}


class WrongConvolution(Convolution):
    """Values and first derivatives are off by one part in ten thousand."""

    def forward(self, *args: Any, **options: Any) -> Any:
        return tuple(1.0001 * part for part in super().forward(*args, **options))


@pytest.fixture
def wrong_backend(monkeypatch):
    """A backend whose convolution computes something else."""

    def convolution(descriptor: ConvolutionDescriptor, dtype: torch.dtype) -> torch.nn.Module:
        return WrongConvolution(descriptor, dtype)

    backend = replace(get_backend("reference"), name="wrong", convolution=convolution)
    monkeypatch.setitem(clebsch.ops._BACKENDS, "wrong", backend)


def test_every_check_has_a_broken_potential():
    assert BROKEN.keys() == BY_NAME.keys()
    assert all(BROKEN.values())


@pytest.mark.parametrize(("name", "case"), CASES, ids=[f"{name}-{case}" for name, case in CASES])
def test_broken_potential_is_noticed(name: str, case: str, request):
    if name == "check_backends":
        request.getfixturevalue("wrong_backend")
    with pytest.raises(ContractViolation) as caught:
        BY_NAME[name](BROKEN[name][case]())
    result = caught.value.result
    assert result.name == name.removeprefix("check_")
    assert not result.passed
    assert result.error > 2 * result.tolerance
    assert result.name in str(caught.value) and f"{result.tolerance:.1e}" in str(caught.value)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_sound_potential_passes(check):
    """The potential the broken ones are made of."""
    assert check(sound()).passed


def failures(potential: Any) -> set[str]:
    return {result.name for result in run_contract(potential) if not result.passed}


@pytest.mark.parametrize(
    ("build", "guilty"),
    [
        (with_edges(anisotropic), {"rotation", "inversion"}),  # a mirror plane has a direction too
        (with_edges(pseudo_scalar), {"inversion"}),
        (with_prediction(stress=lambda stress, _: -stress), {"stress", "second_derivatives"}),
        (with_prediction(forces=lambda forces, _: 1.00001 * forces), {"forces"}),
        (with_prediction(), set()),
    ],
    ids=["anisotropic", "pseudo_scalar", "stress", "forces", "nothing"],
)
def test_only_the_guilty_check_fails(build: Any, guilty: set[str]):
    assert failures(build()) - REBUILDING - {"second_derivatives"} == guilty - {"second_derivatives"}


def test_report_of_a_broken_potential():
    with pytest.raises(ContractViolation, match="rotation: FAILED, error") as caught:
        assert_contract(with_edges(anisotropic)())
    assert {result.name for result in caught.value.results} == {"rotation", "inversion", *REBUILDING}
    assert "of a cluster of 6 atoms: off by" in str(caught.value)


def test_sound_potential_keeps_the_contract():
    assert_contract(sound())


def test_tolerance_and_seed_are_the_callers():
    potential = sound(torch.float32)
    assert check_rotation(potential, tolerance=1.0, seed=3).tolerance == 1.0
    with pytest.raises(ContractViolation):
        check_rotation(potential, tolerance=0.0)
    assert check_rotation(potential, seed=3).error != check_rotation(potential, seed=4).error


def test_crash_is_a_failure_with_its_reason():
    def crash(prediction: Any, batch: Any) -> Any:
        raise ZeroDivisionError("no such thing")

    (result,) = run_contract(Altered(crash), [check_rotation])
    assert not result.passed and math.isinf(result.error)
    assert "ZeroDivisionError: no such thing" in str(result)


def test_checks_that_do_not_apply_are_skipped():
    class Plain:
        """Obeys the interface, is no module and no Potential."""

        inner = sound()
        elements, r_max, dtype = inner.elements, inner.r_max, inner.dtype

        def __call__(self, batch: Any, **options: bool) -> Any:
            return self.inner(batch, **options)

    results = run_contract(Plain())
    assert all(result.passed for result in results)
    assert {result.name for result in results if result.skipped} == REBUILDING
    assert "skipped" in str(results[-1])


def test_save_and_load_of_ones_own(tmp_path):
    kept: dict[str, Any] = {}

    def save(potential: Any, path: Any) -> None:
        kept[str(path)] = potential

    potential = with_prediction()()
    assert check_save_load(potential, save=save, load=lambda path: kept[str(path)]).error == 0.0
    with pytest.raises(ContractViolation):
        check_save_load(potential, save=save, load=lambda path: sound(torch.float32))


class Following(torch.nn.Module):
    """A module of one's own that can be cast as a whole."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = sound()
        self.elements, self.r_max = self.inner.elements, self.inner.r_max

    @property
    def dtype(self) -> torch.dtype:
        return self.inner.dtype

    def forward(self, batch: Any, **options: bool) -> Any:
        return self.inner(batch, **options)


def test_dtype_of_a_module_of_ones_own():
    potential = Following()
    result = check_dtype(potential)
    assert result.passed and not result.skipped
    assert potential.dtype == torch.float64
    assert check_dtype(with_prediction()()).skipped  # says float64 whatever it is cast to
