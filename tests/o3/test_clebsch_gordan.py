"""Clebsch–Gordan coefficients: orthogonality, symmetry, sign, exact zeros."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from clebsch.o3 import clebsch_gordan, random_rotation, wigner_d

DEGREES = st.integers(0, 5)
TRIANGLES = [(a, b, c) for a in range(7) for b in range(7) for c in range(abs(a - b), min(a + b, 6) + 1)]


def test_signs_and_values_are_those_of_e3nn(e3nn_o3):
    for degrees in TRIANGLES:
        expected = e3nn_o3.wigner_3j(*degrees, dtype=torch.float64).numpy()
        np.testing.assert_allclose(clebsch_gordan(*degrees), expected, rtol=0, atol=2e-14, err_msg=str(degrees))


@given(DEGREES, DEGREES)
def test_couplings_of_two_degrees_are_a_complete_orthogonal_basis(l1: int, l2: int):
    columns = [np.sqrt(2 * l + 1) * clebsch_gordan(l1, l2, l) for l in range(abs(l1 - l2), l1 + l2 + 1)]
    basis = np.concatenate(columns, axis=2).reshape((2 * l1 + 1) * (2 * l2 + 1), -1)
    np.testing.assert_allclose(basis.T @ basis, np.eye(basis.shape[1]), atol=1e-13)
    np.testing.assert_allclose(basis @ basis.T, np.eye(basis.shape[0]), atol=1e-13)


@given(st.sampled_from(TRIANGLES))
def test_exchange_of_two_degrees_gives_the_sign_of_their_sum(degrees: tuple[int, int, int]):
    l1, l2, l3 = degrees
    sign = (-1) ** (l1 + l2 + l3)
    np.testing.assert_allclose(clebsch_gordan(l2, l1, l3), sign * clebsch_gordan(l1, l2, l3).swapaxes(0, 1), atol=1e-14)
    np.testing.assert_allclose(clebsch_gordan(l2, l3, l1), np.moveaxis(clebsch_gordan(l1, l2, l3), 0, 2), atol=1e-14)


@given(st.sampled_from([t for t in TRIANGLES if max(t) <= 4]), st.integers(0, 2**32 - 1))
def test_coupling_is_equivariant(degrees: tuple[int, int, int], seed: int):
    rotation = random_rotation(np.random.default_rng(seed))
    d1, d2, d3 = (wigner_d(l, rotation) for l in degrees)
    c = clebsch_gordan(*degrees)
    np.testing.assert_allclose(np.einsum("ai,bj,abk->ijk", d1, d2, c), np.einsum("kc,ijk->ijc", d3.T, c), atol=1e-13)


def test_zeros_are_exact_and_the_table_cannot_be_written():
    c = clebsch_gordan(4, 3, 2)
    assert np.abs(c[c != 0.0]).min() > 1e-3
    assert c is clebsch_gordan(4, 3, 2)
    with pytest.raises(ValueError, match="read-only"):
        c[0, 0, 0] = 1.0


@pytest.mark.parametrize("degrees", [(1, 1, 3), (0, 1, 2), (3, 1, 1), (-1, 1, 1)])
def test_outside_the_triangle_is_an_error(degrees: tuple[int, int, int]):
    with pytest.raises(ValueError, match=r"\|l1 - l2\| <= l3 <= l1 \+ l2"):
        clebsch_gordan(*degrees)
