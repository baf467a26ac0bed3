"""The whole contract: all checks, run and reported."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from clebsch.testing.contract import CheckResult, ContractViolation, PotentialLike
from clebsch.testing.derivatives import check_forces, check_second_derivatives, check_stress
from clebsch.testing.interface import check_no_edges, check_prediction
from clebsch.testing.limits import check_isolated_atom, check_locality, check_smoothness
from clebsch.testing.portability import check_backends, check_dtype, check_save_load
from clebsch.testing.symmetry import (
    check_batching,
    check_inversion,
    check_permutation,
    check_rotation,
    check_translation,
)

Check = Callable[..., CheckResult]

CHECKS: tuple[Check, ...] = (
    check_prediction,
    check_no_edges,
    check_rotation,
    check_inversion,
    check_translation,
    check_permutation,
    check_batching,
    check_isolated_atom,
    check_locality,
    check_smoothness,
    check_forces,
    check_stress,
    check_second_derivatives,
    check_save_load,
    check_dtype,
    check_backends,
)


def run_contract(potential: PotentialLike, checks: Sequence[Check] = CHECKS, *, seed: int = 0) -> list[CheckResult]:
    """Return the outcome of every check; one that raises an exception has failed.

    Args:
        potential: the potential.
        checks: the checks to run.
        seed: of the random systems.
    """
    results = []
    for check in checks:
        try:
            results.append(check(potential, seed=seed))
        except ContractViolation as violation:
            results.append(violation.result)
        except Exception as error:
            name = check.__name__.removeprefix("check_")
            results.append(CheckResult(name, math.inf, math.nan, f"{type(error).__name__}: {error}"))
    return results


def assert_contract(potential: PotentialLike, checks: Sequence[Check] = CHECKS, *, seed: int = 0) -> None:
    """Run ``checks`` on ``potential``.

    Raises:
        ContractViolation: some checks failed; the message has one line for each.
    """
    failed = [result for result in run_contract(potential, checks, seed=seed) if not result.passed]
    if failed:
        raise ContractViolation(*failed)
