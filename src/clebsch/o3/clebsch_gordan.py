"""Clebsch–Gordan coefficients of real spherical harmonics."""

from __future__ import annotations

from fractions import Fraction
from functools import cache
from math import factorial, prod, sqrt

import numpy as np
from jaxtyping import Float

from clebsch.errors import ClebschError

ZERO_TOLERANCE = 1e-12
"""Coefficients below it are rounding of zero and are stored as exact zeros."""


@cache
def clebsch_gordan(l1: int, l2: int, l3: int) -> Float[np.ndarray, "d1 d2 d3"]:
    """Return the real coupling tensor of l1 ⊗ l2 → l3, unique up to the sign that this library shares with e3nn.

    C_{abc} = Σ_{m1 m2 m3} U^{l1}_{m1 a} U^{l2}_{m2 b} conj(U^{l3}_{m3 c}) ⟨l1 m1 l2 m2 | l3 m3⟩, divided by its
    Frobenius norm, with U the unitary change from real to complex spherical harmonics. So Σ_abc C² = 1,
    Σ_ab C_abc C_abd = δ_cd / (2 l3 + 1), and C_abc x_a y_b transforms as l3.

    Args:
        l1, l2, l3: degrees.

    Returns:
        float64 [2 l1 + 1, 2 l2 + 1, 2 l3 + 1], read-only; zeros are exact.

    Raises:
        ClebschError: the degrees violate |l1 - l2| <= l3 <= l1 + l2.

    Source: Racah's formula, e.g. Varshalovich et al., Quantum Theory of Angular Momentum (1988), eq. 8.2.1(3).
    """
    if min(l1, l2, l3) < 0 or not abs(l1 - l2) <= l3 <= l1 + l2:
        raise ClebschError(
            f"clebsch_gordan: expected degrees with |l1 - l2| <= l3 <= l1 + l2, got ({l1}, {l2}, {l3}); "
            f"the products of {l1} and {l2} are l3 = {abs(l1 - l2)} to {l1 + l2}"
        )
    u1, u2, u3 = (_complex_from_real(l) for l in (l1, l2, l3))
    coupled = np.einsum("ijk,ia,jb,kc->abc", _complex_clebsch_gordan(l1, l2, l3), u1, u2, u3.conj(), optimize=True)
    real = np.ascontiguousarray(coupled.real)
    real /= np.linalg.norm(real)
    real[np.abs(real) < ZERO_TOLERANCE] = 0.0
    real.setflags(write=False)
    return real


def _complex_from_real(l: int) -> np.ndarray:
    """Return U[m, a], complex harmonics m (Condon–Shortley) over real ones a; the phase (-i)^l keeps C real."""
    u = np.zeros((2 * l + 1, 2 * l + 1), dtype=complex)
    u[l, l] = 1.0
    for m in range(1, l + 1):
        u[l - m, [l + m, l - m]] = np.array([1.0, -1.0j]) / sqrt(2)
        u[l + m, [l + m, l - m]] = (-1) ** m * np.array([1.0, 1.0j]) / sqrt(2)
    return (-1j) ** l * u


def _complex_clebsch_gordan(l1: int, l2: int, l3: int) -> np.ndarray:
    """Return ⟨l1 m1 l2 m2 | l3 m3⟩ as [m1, m2, m3]."""
    table = np.zeros((2 * l1 + 1, 2 * l2 + 1, 2 * l3 + 1))
    for m1 in range(-l1, l1 + 1):
        for m2 in range(max(-l2, -l3 - m1), min(l2, l3 - m1) + 1):
            table[l1 + m1, l2 + m2, l3 + m1 + m2] = _racah(l1, m1, l2, m2, l3)
    return table


def _racah(l1: int, m1: int, l2: int, m2: int, l3: int) -> float:
    """Return ⟨l1 m1 l2 m2 | l3 m1+m2⟩ from integers: exact but for the last square root and product."""
    f, m3 = factorial, m1 + m2
    triangle = Fraction(f(l1 + l2 - l3) * f(l1 - l2 + l3) * f(-l1 + l2 + l3) * (2 * l3 + 1), f(l1 + l2 + l3 + 1))
    states = f(l1 + m1) * f(l1 - m1) * f(l2 + m2) * f(l2 - m2) * f(l3 + m3) * f(l3 - m3)
    series = Fraction(0)
    for k in range(max(0, l2 - l3 - m1, l1 - l3 + m2), min(l1 + l2 - l3, l1 - m1, l2 + m2) + 1):
        numbers = (k, l1 + l2 - l3 - k, l1 - m1 - k, l2 + m2 - k, l3 - l2 + m1 + k, l3 - l1 - m2 + k)
        series += Fraction((-1) ** k, prod(f(n) for n in numbers))
    return sqrt(triangle * states) * float(series)
