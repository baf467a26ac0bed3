"""Spherical harmonics: e3nn's basis, normalisation, parity, products on one vector."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.polynomial.legendre import Legendre

from clebsch.errors import ClebschError
from clebsch.o3 import Irreps, clebsch_gordan, recursion_factors, spherical_harmonics

L_MAX = 6
SEEDS = st.integers(0, 2**32 - 1)


def degrees_of(y: np.ndarray) -> list[np.ndarray]:
    return [y[s] for s in Irreps.spherical_harmonics(L_MAX).slices()]


def random_vectors(seed: int, n: int = 20) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, 3))


def test_basis_and_signs_are_those_of_e3nn(e3nn_o3):
    vectors = random_vectors(0, 100)
    expected = e3nn_o3.spherical_harmonics(list(range(L_MAX + 1)), torch.tensor(vectors), True, "component")
    np.testing.assert_allclose(spherical_harmonics(L_MAX, vectors), expected.numpy().T, atol=1e-13)


def test_first_degree_is_the_unit_vector():
    vectors = random_vectors(1)
    expected = np.sqrt(3) * vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    np.testing.assert_allclose(spherical_harmonics(1, vectors)[1:], expected.T, atol=1e-15)


@given(SEEDS)
def test_addition_theorem(seed: int):
    """Σ_m Y_lm(a) Y_lm(b) = (2l+1) P_l(a·b); for a = b this is the component normalisation."""
    a, b = random_vectors(seed), random_vectors(seed + 1)
    cosine = np.sum(a * b, axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    pairs = zip(degrees_of(spherical_harmonics(L_MAX, a)), degrees_of(spherical_harmonics(L_MAX, b)), strict=True)
    for l, (y_a, y_b) in enumerate(pairs):
        np.testing.assert_allclose(np.sum(y_a * y_b, axis=0), (2 * l + 1) * Legendre.basis(l)(cosine), atol=1e-12)
        np.testing.assert_allclose(np.sum(y_a**2, axis=0), 2 * l + 1, rtol=1e-13)


@given(SEEDS, st.floats(1e-8, 1e8))
def test_only_the_direction_counts_and_inversion_gives_the_parity(seed: int, length: float):
    vectors = random_vectors(seed)
    y = spherical_harmonics(L_MAX, vectors)
    np.testing.assert_allclose(spherical_harmonics(L_MAX, length * vectors), y, atol=1e-12)
    for l, (inverted, y_l) in enumerate(
        zip(degrees_of(spherical_harmonics(L_MAX, -vectors)), degrees_of(y), strict=True)
    ):
        np.testing.assert_allclose(inverted, (-1) ** l * y_l, atol=1e-12)


@given(SEEDS)
def test_harmonics_of_one_vector_multiply_to_harmonics(seed: int):
    """[Y_l1 ⊗ Y_l2]_l3 = c Y_l3 with c = 0 for odd l1+l2+l3: the identity behind the edge booster."""
    y = degrees_of(spherical_harmonics(L_MAX, random_vectors(seed)))
    for l1 in range(4):
        for l2 in range(4):
            for l3 in range(abs(l1 - l2), l1 + l2 + 1):
                coupled = np.einsum("abc,an,bn->cn", clebsch_gordan(l1, l2, l3), y[l1], y[l2])
                factor = np.sum(coupled * y[l3], axis=0) / (2 * l3 + 1)
                np.testing.assert_allclose(coupled, factor[0] * y[l3], atol=1e-12)
                assert (abs(factor[0]) < 1e-12) == bool((l1 + l2 + l3) % 2)


def test_recursion_factors_are_positive_and_match_the_recursion():
    y = degrees_of(spherical_harmonics(L_MAX, random_vectors(2)))
    factors = recursion_factors(L_MAX)
    assert len(factors) == L_MAX and min(factors) > 0
    for l, factor in enumerate(factors):
        product = np.einsum("abc,an,bn->cn", clebsch_gordan(l, 1, l + 1), y[l], y[1])
        np.testing.assert_allclose(factor * product, y[l + 1], atol=1e-12)


def test_no_vectors_give_no_columns():
    assert spherical_harmonics(2, np.zeros((0, 3))).shape == (9, 0)
    np.testing.assert_array_equal(spherical_harmonics(0, np.eye(3)), np.ones((1, 3)))


@pytest.mark.parametrize("bad", [0.0, np.nan, np.inf])
def test_a_vector_without_direction_is_an_error(bad: float):
    with pytest.raises(ClebschError, match=r"non-zero finite vectors, got .* at 1"):
        spherical_harmonics(2, np.array([[1.0, 0.0, 0.0], [bad, 0.0, 0.0]]))


def test_wrong_arguments_are_errors():
    with pytest.raises(ClebschError, match=r"shape \[n, 3\], got \[3, 4\]"):
        spherical_harmonics(2, np.ones((3, 4)))
    with pytest.raises(ClebschError, match="l_max: expected an integer >= 0, got -1"):
        spherical_harmonics(-1, np.ones((1, 3)))
