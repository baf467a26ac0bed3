"""The contract every potential keeps, as checks for any potential of one's own.

``assert_contract(potential)`` runs all of them; in a test suite they are best parametrised::

    @pytest.mark.parametrize("check", CHECKS)
    def test_contract(check):
        check(my_potential)
"""

from __future__ import annotations

from clebsch.testing.contract import CheckResult, ContractViolation, PotentialLike
from clebsch.testing.derivatives import check_forces, check_second_derivatives, check_stress
from clebsch.testing.interface import check_no_edges, check_prediction
from clebsch.testing.limits import check_isolated_atom, check_locality, check_smoothness
from clebsch.testing.portability import check_backends, check_dtype, check_save_load
from clebsch.testing.suite import CHECKS, assert_contract, run_contract
from clebsch.testing.symmetry import (
    check_batching,
    check_inversion,
    check_permutation,
    check_rotation,
    check_translation,
)

__all__ = [
    "CHECKS",
    "CheckResult",
    "ContractViolation",
    "PotentialLike",
    "assert_contract",
    "run_contract",
    "check_backends",
    "check_batching",
    "check_dtype",
    "check_forces",
    "check_inversion",
    "check_isolated_atom",
    "check_locality",
    "check_no_edges",
    "check_permutation",
    "check_prediction",
    "check_rotation",
    "check_save_load",
    "check_second_derivatives",
    "check_smoothness",
    "check_stress",
    "check_translation",
]
