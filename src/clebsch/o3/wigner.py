"""Rotation matrices of irreps."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from clebsch.errors import ClebschError
from clebsch.o3.clebsch_gordan import clebsch_gordan
from clebsch.o3.irreps import Irrep, Irreps


def wigner_d(l: int, rotation: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, "components components"]:
    """Return the matrix D with Y_l(R r) = D(R) Y_l(r), for proper and improper R.

    D_1 = R (the components of l = 1 are x, y, z) and
    D_{l+1} = (2l+3) Cᵀ (D_l ⊗ D_1) C with C = C(l, 1, l+1); D_l(-R) = (-1)^l D_l(R).

    Args:
        l: degree.
        rotation: orthogonal matrix R [3, 3] acting on column vectors.

    Returns:
        [2l+1, 2l+1], orthogonal.

    Raises:
        ClebschError: R is not an orthogonal 3 × 3 matrix or l is negative.
    """
    rotation = _orthogonal(rotation)
    if l < 0:
        raise ClebschError(f"l: expected an integer >= 0, got {l}; degrees count from 0")
    d = np.ones((1, 1))
    for step in range(l):
        c = clebsch_gordan(step, 1, step + 1)
        d = (2 * step + 3) * np.einsum("abc,ad,be,def->cf", c, d, rotation, c, optimize=True)
    return d


def irreps_rotation(irreps: Irreps | str, rotation: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, "dim dim"]:
    """Return the block-diagonal matrix by which a feature of these irreps turns when space turns by R.

    The block of (l, p) is D_l(R) for proper R and p D_l(-R) for improper R.

    Args:
        irreps: irreps of the feature, e.g. ``"0e+1o"``.
        rotation: orthogonal matrix R [3, 3].

    Returns:
        [irreps.dim, irreps.dim].

    Raises:
        ClebschError: R is not an orthogonal 3 × 3 matrix.
    """
    irreps, rotation = Irreps(irreps), _orthogonal(rotation)
    matrix = np.zeros((irreps.dim, irreps.dim))
    for irrep, block in zip(irreps, irreps.slices(), strict=True):
        matrix[block, block] = _irrep_rotation(irrep, rotation)
    return matrix


def random_rotation(rng: np.random.Generator) -> Float[np.ndarray, "3 3"]:
    """Draw a proper rotation uniformly (Haar), as the quaternion of four normal numbers.

    Args:
        rng: explicit source of randomness.
    """
    w, *v = rng.standard_normal(4)
    v = np.array(v)
    cross = np.array([[0, -v[2], v[1]], [v[2], 0, -v[0]], [-v[1], v[0], 0]])
    return ((w * w - v @ v) * np.eye(3) + 2 * np.outer(v, v) + 2 * w * cross) / (w * w + v @ v)


def _irrep_rotation(irrep: Irrep, rotation: np.ndarray) -> np.ndarray:
    if np.linalg.det(rotation) > 0:
        return wigner_d(irrep.l, rotation)
    return irrep.p * wigner_d(irrep.l, -rotation)


def _orthogonal(rotation: np.ndarray) -> np.ndarray:
    rotation = np.asarray(rotation, dtype=np.float64)
    if rotation.shape != (3, 3) or not np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-6):
        raise ClebschError(
            f"rotation: expected an orthogonal 3 x 3 matrix (R Rᵀ = 1), got shape {list(rotation.shape)}: "
            f"{rotation.tolist()}; orthogonalise it, or pass a float64 rotation"
        )
    return rotation
