"""Rotation matrices: homomorphism, the harmonics they turn, improper rotations."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from clebsch.errors import ClebschError
from clebsch.o3 import Irreps, irreps_rotation, random_rotation, spherical_harmonics, wigner_d

L_MAX = 6
SEEDS = st.integers(0, 2**32 - 1)
SIGNS = st.sampled_from([1, -1])


@given(SEEDS, SIGNS)
def test_harmonics_turn_by_wigner_d(seed: int, sign: int):
    rng = np.random.default_rng(seed)
    rotation, vectors = sign * random_rotation(rng), rng.normal(size=(5, 3))
    y, turned = spherical_harmonics(L_MAX, vectors), spherical_harmonics(L_MAX, vectors @ rotation.T)
    for l in range(L_MAX + 1):
        block = slice(l * l, (l + 1) ** 2)
        np.testing.assert_allclose(wigner_d(l, rotation) @ y[block], turned[block], atol=1e-12)
    np.testing.assert_allclose(irreps_rotation(Irreps.spherical_harmonics(L_MAX), rotation) @ y, turned, atol=1e-12)


@given(SEEDS, SIGNS, SIGNS)
def test_product_of_rotations_is_the_product_of_matrices(seed: int, sign_1: int, sign_2: int):
    rng = np.random.default_rng(seed)
    r1, r2 = sign_1 * random_rotation(rng), sign_2 * random_rotation(rng)
    irreps = Irreps("0e+0o+1o+1e+2e+2o+4e")
    d1, d2 = irreps_rotation(irreps, r1), irreps_rotation(irreps, r2)
    np.testing.assert_allclose(d1 @ d2, irreps_rotation(irreps, r1 @ r2), atol=1e-13)
    np.testing.assert_allclose(d1 @ d1.T, np.eye(irreps.dim), atol=1e-13)


def test_matrices_are_those_of_e3nn(e3nn_o3, rng: np.random.Generator):
    """To single precision, which is what e3nn's matrices carry."""
    angles = torch.tensor(rng.uniform(0, np.pi, size=3))
    rotation = e3nn_o3.angles_to_matrix(*angles).numpy()
    for l in range(L_MAX + 1):
        np.testing.assert_allclose(wigner_d(l, rotation), e3nn_o3.wigner_D(l, *angles).numpy(), atol=5e-6)
    irreps, inverted = "0e+0o+1e+1o+2e+3e", torch.tensor(1.0)
    expected = e3nn_o3.Irreps(irreps).D_from_angles(*angles, inverted).numpy()
    np.testing.assert_allclose(irreps_rotation(irreps, -rotation), expected, atol=5e-6)


def test_inversion_gives_the_parity():
    expected = np.diag([-1] + [1] * 3 + [-1] * 5)
    np.testing.assert_allclose(irreps_rotation("0o+1e+2o", -np.eye(3)), expected, atol=1e-14)


def test_a_pseudovector_turns_like_a_cross_product(rng: np.random.Generator):
    rotation, (a, b) = -random_rotation(rng), rng.normal(size=(2, 3))
    np.testing.assert_allclose(irreps_rotation("1e", rotation) @ np.cross(a, b), np.cross(rotation @ a, rotation @ b))


def test_random_rotations_are_proper_and_uniform(rng: np.random.Generator):
    """Haar measure: the mean matrix vanishes and so does the mean of every D_l, l > 0."""
    rotations = [random_rotation(rng) for _ in range(4000)]
    for rotation in rotations[:50]:
        np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-14)
        assert np.linalg.det(rotation) > 0
    assert np.abs(np.mean(rotations, axis=0)).max() < 0.05
    assert np.abs(np.mean([wigner_d(2, r) for r in rotations], axis=0)).max() < 0.05


@pytest.mark.parametrize("rotation", [2 * np.eye(3), np.eye(4), np.full((3, 3), np.nan)])
def test_a_matrix_that_is_no_rotation_is_an_error(rotation: np.ndarray):
    with pytest.raises(ClebschError, match="orthogonal 3 x 3 matrix"):
        wigner_d(1, rotation)
    with pytest.raises(ClebschError, match="orthogonal 3 x 3 matrix"):
        irreps_rotation("1o", rotation)


def test_a_negative_degree_is_an_error():
    with pytest.raises(ClebschError, match="l: expected an integer >= 0, got -1"):
        wigner_d(-1, np.eye(3))
