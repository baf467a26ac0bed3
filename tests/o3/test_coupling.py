"""Generalised Clebsch–Gordan coefficients: equivariant, orthogonal, complete, and always the same basis."""

from __future__ import annotations

import json
from itertools import permutations
from math import factorial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import clebsch.o3.coupling
from clebsch.errors import ClebschError
from clebsch.o3 import (
    Coupling,
    Irrep,
    Irreps,
    clebsch_gordan,
    distinct_coupling,
    irreps_rotation,
    random_rotation,
    symmetric_coupling,
)

HARMONICS = Irreps.spherical_harmonics(3)
IRREP = st.builds(Irrep, st.integers(0, 2), st.sampled_from([1, -1]))
CASES = st.tuples(st.lists(IRREP, min_size=1, max_size=4).map(Irreps), IRREP, st.integers(1, 4))
SEEDS = st.integers(0, 2**32 - 1)


def evaluate(coupling: Coupling, *factors: np.ndarray) -> np.ndarray:
    """Return B [paths, 2L+1] of feature vectors, one per factor."""
    product = np.prod([a[index] for a, index in zip(factors, coupling.monomials.T, strict=True)], axis=0)
    return coupling.coefficients @ product


def dense(coupling: Coupling, dim: int) -> np.ndarray:
    """Return the tensors C [paths, 2L+1, dim, …], each monomial's coefficient at its own index tuple."""
    nu = coupling.monomials.shape[1]
    tensor = np.zeros((*coupling.coefficients.shape[:2], *(dim,) * nu))
    tensor[(slice(None), slice(None), *coupling.monomials.T)] = coupling.coefficients
    return tensor


def symmetrised(tensor: np.ndarray) -> np.ndarray:
    """Average over all permutations of the factors."""
    nu = tensor.ndim - 2
    orders = list(permutations(range(2, 2 + nu)))
    return np.mean([tensor.transpose(0, 1, *order) for order in orders], axis=0)


def flattened(tensor: np.ndarray) -> np.ndarray:
    """Return one row per path, also where there is none."""
    return tensor.reshape(len(tensor), int(np.prod(tensor.shape[1:])))


def gram(tensor: np.ndarray) -> np.ndarray:
    """Return the inner products of the paths."""
    return flattened(tensor) @ flattened(tensor).T


def number_of_polynomials(irreps: Irreps, output: Irrep, nu: int) -> int:
    """Integrate the characters over O(3): ⟨χ(Sym^nu V) χ(L)⟩, with Newton's identities for the symmetric power."""
    angles = 2 * np.pi * np.arange(256) / 256
    weights = (1 - np.cos(angles)) / len(angles)

    def character(some: Irreps, power: int, inverted: bool) -> np.ndarray:
        turns = [
            np.exp(1j * power * angles * m) * ir.p ** (power * inverted) for ir in some for m in range(-ir.l, ir.l + 1)
        ]
        return np.sum(turns, axis=0).real

    total = 0.0
    for inverted in (False, True):
        powers = [character(irreps, k, inverted) for k in range(1, nu + 1)]
        symmetric = [np.ones(len(angles))]
        for n in range(1, nu + 1):
            symmetric.append(np.sum([powers[k] * symmetric[n - 1 - k] for k in range(n)], axis=0) / n)
        total += np.sum(weights * symmetric[nu] * character(Irreps([output]), 1, inverted)) / 2
    assert abs(total - round(total)) < 1e-8
    return round(total)


@settings(max_examples=60)
@given(CASES, SEEDS, st.sampled_from([1, -1]))
def test_equal_factors_are_equivariant(case: tuple[Irreps, Irrep, int], seed: int, sign: int):
    (irreps, output, nu), rng = case, np.random.default_rng(seed)
    rotation, a = sign * random_rotation(rng), rng.normal(size=irreps.dim)
    coupling = symmetric_coupling(irreps, output, nu)
    turned = evaluate(coupling, *[irreps_rotation(irreps, rotation) @ a] * nu)
    expected = evaluate(coupling, *[a] * nu) @ irreps_rotation(Irreps([output]), rotation).T
    np.testing.assert_allclose(turned, expected, atol=1e-10 * (1 + np.abs(expected).max(initial=0)))


@settings(max_examples=40)
@given(CASES, SEEDS, st.sampled_from([1, -1]))
def test_distinct_factors_are_equivariant(case: tuple[Irreps, Irrep, int], seed: int, sign: int):
    (irreps, output, nu), rng = case, np.random.default_rng(seed)
    nu = min(nu, 3)
    rotation, factors = sign * random_rotation(rng), rng.normal(size=(nu, irreps.dim))
    coupling = distinct_coupling(irreps, output, nu)
    turned = evaluate(coupling, *factors @ irreps_rotation(irreps, rotation).T)
    expected = evaluate(coupling, *factors) @ irreps_rotation(Irreps([output]), rotation).T
    np.testing.assert_allclose(turned, expected, atol=1e-10 * (1 + np.abs(expected).max(initial=0)))


@settings(max_examples=60)
@given(CASES)
def test_equal_factors_are_complete(case: tuple[Irreps, Irrep, int]):
    irreps, output, nu = case
    assert symmetric_coupling(irreps, output, nu).num_paths == number_of_polynomials(irreps, output, nu)


@pytest.mark.parametrize("irreps", ["0e+1o+2e+3o", "0e+0o+1o+1e", "0e+1o+1o", "0e+0o+1e+1o+2e+2o+3e+3o"])
@pytest.mark.parametrize("output", ["0e", "0o", "1o", "1e", "2e", "3o"])
def test_three_equal_factors_are_complete(irreps: str, output: str):
    count = number_of_polynomials(Irreps(irreps), Irrep.parse(output), 3)
    assert symmetric_coupling(irreps, output, 3).num_paths == count


def test_complete_by_the_dimension_of_the_fixed_space(rng: np.random.Generator):
    """Tensors V⊗V⊗V⊗L fixed by two random rotations, the inversion and all permutations, without any character."""
    irreps, output = Irreps("0e+1o+1e"), Irrep(1, -1)
    shape = (output.dim, *(irreps.dim,) * 3)
    symmetric = np.unique(symmetrised(np.eye(int(np.prod(shape))).reshape(-1, *shape)), axis=0)
    change = []
    for rotation in (random_rotation(rng), random_rotation(rng), -np.eye(3)):
        d, f = irreps_rotation(Irreps([output]), rotation), irreps_rotation(irreps, rotation)
        turned = np.einsum("Mm,ai,bj,ck,nmijk->nMabc", d, f, f, f, symmetric, optimize=True)
        change.append(flattened(turned - symmetric))
    singular = np.linalg.svd(np.concatenate(change, axis=1), compute_uv=False)
    assert symmetric_coupling(irreps, output, 3).num_paths == np.sum(singular < 1e-9) > 0


@settings(max_examples=40)
@given(CASES)
def test_equal_factors_are_symmetrised_distinct_factors(case: tuple[Irreps, Irrep, int]):
    """The symmetric paths and the trees averaged over all permutations span the same space."""
    irreps, output, nu = case[0], case[1], min(case[2], 3)
    coupling = symmetric_coupling(irreps, output, nu)
    tensor = flattened(symmetrised(dense(coupling, irreps.dim)))
    np.testing.assert_allclose(gram(tensor), (2 * output.l + 1) * np.eye(coupling.num_paths), atol=1e-10)
    trees = distinct_coupling(irreps, output, nu)
    averaged = flattened(symmetrised(dense(trees, irreps.dim)))
    projected = averaged @ tensor.T @ tensor / (2 * output.l + 1)
    np.testing.assert_allclose(projected, averaged, atol=1e-10)
    rank = np.linalg.matrix_rank(averaged, tol=1e-8) if trees.num_paths else 0
    assert rank == coupling.num_paths


@settings(max_examples=40)
@given(CASES)
def test_distinct_factors_are_orthogonal(case: tuple[Irreps, Irrep, int]):
    irreps, output, nu = case[0], case[1], min(case[2], 3)
    tensor = dense(distinct_coupling(irreps, output, nu), irreps.dim)
    np.testing.assert_allclose(gram(tensor), (2 * output.l + 1) * np.eye(len(tensor)), atol=1e-10)


def test_four_equal_factors_are_orthogonal_without_dense_tensors():
    coupling = symmetric_coupling(HARMONICS, "1o", 4)
    repeats = [np.prod([factorial(n) for n in np.unique(m, return_counts=True)[1]]) for m in coupling.monomials]
    tensor = coupling.coefficients / np.sqrt(factorial(4) / np.array(repeats))
    np.testing.assert_allclose(gram(tensor), 3 * np.eye(coupling.num_paths), atol=1e-10)


@pytest.mark.parametrize(("output", "paths", "monomials"), [("0e", 8, 77), ("1o", 12, 278), ("2e", 14, 348)])
def test_counts_of_three_equal_factors(output: str, paths: int, monomials: int):
    coupling = symmetric_coupling(HARMONICS, output, 3)
    assert coupling.coefficients.shape == (paths, Irrep.parse(output).dim, monomials)
    assert np.all(np.any(coupling.coefficients != 0, axis=(0, 1)))


@pytest.mark.parametrize(("output", "paths"), [("0e", 23), ("1o", 51), ("2e", 65)])
def test_counts_of_three_distinct_factors(output: str, paths: int):
    assert distinct_coupling(HARMONICS, output, 3).num_paths == paths


@pytest.mark.parametrize(("nu", "paths"), [(1, 1), (2, 4), (3, 8), (4, 23), (5, 45)])
def test_counts_of_invariants(nu: int, paths: int):
    assert (
        symmetric_coupling(HARMONICS, "0e", nu).num_paths == paths == number_of_polynomials(HARMONICS, Irrep(0, 1), nu)
    )


def test_one_factor_is_the_feature_itself(rng: np.random.Generator):
    a = rng.normal(size=9)
    for coupling in (symmetric_coupling("1o+1o+1e", "1o", 1), distinct_coupling("1o+1o+1e", "1o", 1)):
        np.testing.assert_array_equal(evaluate(coupling, a), a[:6].reshape(2, 3))


def test_known_invariants(rng: np.random.Generator):
    """Of one vector: its square, up to the norm Σ C² = 1; of three: the triple product."""
    v = rng.normal(size=(3, 3))
    np.testing.assert_allclose(evaluate(symmetric_coupling("1o", "0e", 2), v[0], v[0]), [[v[0] @ v[0] / np.sqrt(3)]])
    triple = evaluate(distinct_coupling("1o", "0o", 3), *v)
    np.testing.assert_allclose(abs(triple), [[abs(np.linalg.det(v)) / np.sqrt(6)]])
    assert symmetric_coupling("1o", "0o", 3).num_paths == 0


def test_no_coupling_is_empty_and_of_the_right_shape():
    for coupling in (symmetric_coupling("0e+1o", "0o", 2), distinct_coupling("0e", "2e", 3)):
        assert coupling.num_paths == 0
        assert coupling.monomials.shape[0] == coupling.coefficients.shape[2] == 0


def test_layout():
    for coupling in (symmetric_coupling(HARMONICS, "2e", 3), distinct_coupling(HARMONICS, "2e", 3)):
        assert coupling.monomials.dtype == np.int64 and coupling.coefficients.dtype == np.float64
        assert np.array_equal(coupling.monomials, np.unique(coupling.monomials, axis=0))
        nonzero = coupling.coefficients[coupling.coefficients != 0]
        assert np.abs(nonzero).min() > 1e-3 and not np.any(
            np.signbit(coupling.coefficients[coupling.coefficients == 0])
        )
        assert not coupling.monomials.flags.writeable and not coupling.coefficients.flags.writeable
    assert np.all(np.diff(symmetric_coupling(HARMONICS, "2e", 3).monomials, axis=1) >= 0)
    assert symmetric_coupling("0e+1o+2e+3o", Irrep(2, 1), 3) is symmetric_coupling(HARMONICS, "2e", 3)


def test_the_basis_never_changes():
    """Saved potentials refer to these very polynomials: a failure here breaks every file written so far."""
    factors = np.cos(1.0 + np.arange(16) + 20 * np.arange(4)[:, None])
    for case in json.loads((Path(__file__).parent / "coupling_basis.json").read_text()):
        nu, output = case["nu"], case["output"]
        if case["factors"] == "equal":
            found = evaluate(symmetric_coupling(HARMONICS, output, nu), *factors[[0] * nu])
        else:
            found = evaluate(distinct_coupling(HARMONICS, output, nu), *factors[:nu])
        np.testing.assert_allclose(found[:, 0], case["first_component"], rtol=0, atol=1e-9, err_msg=str(case))


@pytest.mark.parametrize(("output", "nu"), [("2e", 3), ("1o", 4)])
def test_rounding_does_not_decide_the_basis(output: str, nu: int, monkeypatch: pytest.MonkeyPatch, rng):
    """Clebsch–Gordan coefficients of another machine, off by a thousand roundings, give the same basis."""
    expected = symmetric_coupling(HARMONICS, output, nu)

    def inaccurate(l1: int, l2: int, l3: int) -> np.ndarray:
        c = clebsch_gordan(l1, l2, l3)
        return c * (1 + 1e-13 * rng.normal(size=c.shape))

    monkeypatch.setattr(clebsch.o3.coupling, "clebsch_gordan", inaccurate)
    found = clebsch.o3.coupling._symmetric_coupling.__wrapped__(HARMONICS, Irrep.parse(output), nu)
    np.testing.assert_array_equal(found.monomials, expected.monomials)
    np.testing.assert_allclose(found.coefficients, expected.coefficients, rtol=0, atol=1e-10)
    assert np.any(found.coefficients != expected.coefficients)


def test_wrong_arguments_are_errors():
    with pytest.raises(ClebschError, match="nu: expected a correlation order >= 1, got 0"):
        symmetric_coupling("0e", "0e", 0)
    with pytest.raises(ClebschError, match="got 'x'"):
        symmetric_coupling("0e", "x", 2)
