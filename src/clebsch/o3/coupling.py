"""Generalised Clebsch–Gordan coefficients: equivariant products of several factors.

A coupling tree multiplies factors from left to right, ((i1 ⊗ i2)_{j2} ⊗ i3)_{j3} …, through intermediate irreps j.
All trees over one ordered choice of irreps span every equivariant multilinear map of them, so the trees over all
choices are complete; with equal factors they become linearly dependent and a basis has to be picked.

The basis is part of the file format of a potential: weights are stored per path. It is therefore defined by a
procedure and not by a numerical decomposition, and must not be changed:

1. Blocks: multisets (equal factors) or tuples (distinct factors) of positions in ``irreps``, in lexicographic order.
2. Trees of a block: factors in the block's order, intermediates j2, j3, … in lexicographic order of their degree.
3. Equal factors: each tree is symmetrised, made orthogonal to the accepted ones of its block and accepted if anything
   remains (Gram–Schmidt in the order of the trees, no pivoting by size: rounding decides nothing). The number to
   accept is known as an integer from counting weights; any other outcome is an error.
4. Sign: the first, in the order of monomials and then M = -L, …, L, of a path's coefficients of largest magnitude is
   positive.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations_with_replacement, product
from math import factorial, prod, sqrt

import numpy as np
from jaxtyping import Float64, Int64

from clebsch.errors import ClebschError
from clebsch.o3.clebsch_gordan import ZERO_TOLERANCE, clebsch_gordan
from clebsch.o3.irreps import Irrep, Irreps, as_irrep

INDEPENDENCE_TOLERANCE = 1e-6
"""A unit tree whose part outside the accepted ones is shorter than this is linearly dependent on them."""

SIGN_TOLERANCE = 1e-6
"""Relative difference below which two magnitudes count as equal when the sign of a path is fixed."""


@dataclass(frozen=True, eq=False)
class Coupling:
    """Equivariant polynomials B_{path,M} = Σ_mono coefficients[path, M, mono] Π_f A_f[monomials[mono, f]].

    Each path, as a tensor C_{M,a,b,…} over all tuples of component indices (symmetric for equal factors), has
    Σ C² = 2L+1; different paths are orthogonal.

    Args:
        monomials: [n_monomials, nu], component indices of the factors; a <= b <= … for equal factors. Only monomials
            with a non-zero coefficient are listed, in lexicographic order.
        coefficients: [paths, 2L+1, n_monomials]. Both arrays are read-only.
    """

    monomials: Int64[np.ndarray, "monomials nu"]
    coefficients: Float64[np.ndarray, "paths components monomials"]

    @property
    def num_paths(self) -> int:
        """Number of independent equivariant polynomials (0 when the symmetry allows none)."""
        return self.coefficients.shape[0]


def symmetric_coupling(irreps: Irreps | str, output: Irrep | str, nu: int) -> Coupling:
    """Return an orthogonal basis of all equivariant polynomials of degree nu in one feature.

    B_{η,M} = Σ_{a<=b<=…} c^η_{M,ab…} A_a A_b …, complete and linearly independent, with Σ_{all abc…} C² = 2L+1 where
    C_{M,ab…} = c_{M,ab…} / (number of distinct orderings of a, b, …). The order, the basis and the signs of the paths
    are those of the module's procedure: weights of saved potentials refer to them.

    Args:
        irreps: irreps of the feature A.
        output: irrep (L, P) of the result.
        nu: correlation order, >= 1.

    Returns:
        Coupling, cached; without paths where the symmetry allows none.

    Raises:
        ClebschError: nu < 1 or an irrep cannot be read.

    Source: generalised Clebsch–Gordan coefficients of MACE (arXiv 2206.07697, eq. 10), here symmetrised; see Dusson
    et al. (arXiv 1911.03550, section 3) for the dependence among the non-symmetrised ones.
    """
    return _symmetric_coupling(Irreps(irreps), as_irrep(output), _checked_nu(nu))


def distinct_coupling(irreps: Irreps | str, output: Irrep | str, nu: int) -> Coupling:
    """Return an orthogonal basis of all equivariant products of nu different features of the same irreps.

    B_{η,M} = Σ_{abc…} C^η_{M,abc…} A¹_a A²_b A³_c …, one path per coupling tree, with Σ C² = 2L+1, in the order of the
    module's procedure: weights of saved potentials refer to it.

    Args:
        irreps: irreps of every factor.
        output: irrep (L, P) of the result.
        nu: number of factors, >= 1.

    Returns:
        Coupling, cached; without paths where the symmetry allows none.

    Raises:
        ClebschError: nu < 1 or an irrep cannot be read.
    """
    return _distinct_coupling(Irreps(irreps), as_irrep(output), _checked_nu(nu))


@cache
def _symmetric_coupling(irreps: Irreps, output: Irrep, nu: int) -> Coupling:
    blocks = []
    for block in combinations_with_replacement(range(len(irreps)), nu):
        count = _count_polynomials(irreps, block, output)
        if count:
            monomials, trees = _symmetrised_trees(irreps, block, output)
            blocks.append((monomials, _independent(trees, _orderings(monomials), count)))
    return _assemble(blocks, output, nu)


@cache
def _distinct_coupling(irreps: Irreps, output: Irrep, nu: int) -> Coupling:
    blocks = []
    for block in product(range(len(irreps)), repeat=nu):
        trees = list(_trees([irreps[i] for i in block], output))
        if trees:
            coefficients = np.stack(trees) * sqrt(output.dim)
            blocks.append((_index_tuples(irreps, block), coefficients))
    return _assemble(blocks, output, nu)


def _trees(factors: Sequence[Irrep], output: Irrep) -> Iterator[np.ndarray]:
    """Yield the coupling trees of factors to output as unit tensors [2L+1, Π dims], in the order of intermediates."""
    later = [sum(ir.l for ir in factors[i:]) for i in range(len(factors) + 1)]

    def grow(tree: np.ndarray, irrep: Irrep, used: int) -> Iterator[np.ndarray]:
        if used == len(factors):
            yield tree.T / sqrt(irrep.dim)
            return
        for following in irrep * factors[used]:
            if used + 1 == len(factors):
                keep = following == output
            else:
                keep = abs(following.l - output.l) <= later[used + 1]
            if keep:
                c = sqrt(following.dim) * clebsch_gordan(irrep.l, factors[used].l, following.l)
                grown = (tree @ c.reshape(irrep.dim, -1)).reshape(-1, following.dim)
                yield from grow(grown, following, used + 1)

    if len(factors) > 1 or factors[0] == output:
        yield from grow(np.eye(factors[0].dim), factors[0], 1)


def _symmetrised_trees(
    irreps: Irreps, block: tuple[int, ...], output: Irrep
) -> tuple[np.ndarray, Iterator[np.ndarray]]:
    """Return the block's monomials and its trees as polynomials [2L+1, n_monomials] in them."""
    tuples = np.sort(_index_tuples(irreps, block), axis=1)
    monomials, inverse = np.unique(tuples, axis=0, return_inverse=True)
    order = np.argsort(inverse.ravel(), kind="stable")
    starts = np.searchsorted(inverse.ravel()[order], np.arange(len(monomials)))
    trees = _trees([irreps[i] for i in block], output)
    return monomials, (np.add.reduceat(tree[:, order], starts, axis=1) for tree in trees)


def _independent(trees: Iterator[np.ndarray], orderings: np.ndarray, count: int) -> np.ndarray:
    """Return the first ``count`` independent trees, orthogonal, with Σ C² = 2L+1 over all index tuples.

    A monomial's coefficient is spread over its ``orderings`` index tuples, so Σ C² = Σ_mono c² / orderings.
    """
    metric = np.sqrt(orderings)
    accepted: list[np.ndarray] = []
    for polynomial in trees:
        if len(accepted) == count:
            break
        tensor = polynomial / metric
        size = np.linalg.norm(tensor)
        if size < INDEPENDENCE_TOLERANCE:
            continue
        tensor /= size
        for _ in range(2):  # a second pass removes what rounding left of the first
            for other in accepted:
                tensor -= np.vdot(other, tensor) * other
        size = np.linalg.norm(tensor)
        if size > INDEPENDENCE_TOLERANCE:
            accepted.append(tensor / size)
    if len(accepted) != count:
        raise RuntimeError(f"coupling: counting weights gives {count} polynomials, the trees {len(accepted)}")
    return np.stack(accepted) * (sqrt(len(accepted[0])) * metric)


def _count_polynomials(irreps: Irreps, block: tuple[int, ...], output: Irrep) -> int:
    """Return how often the output occurs among the block's monomials: (number of weight L) - (number of weight L+1).

    The count holds in the basis of complex harmonics, where component m of an irrep has weight m.
    """
    if prod(irreps[i].p for i in block) != output.p:
        return 0
    total = sum(irreps[i].l for i in block)
    weights = np.array([1], dtype=np.int64)
    for i in sorted(set(block)):
        weights = np.convolve(weights, _symmetric_power_weights(irreps[i].l, block.count(i)))
    weights = np.concatenate([weights, [0]])
    return int(weights[total + output.l] - weights[total + output.l + 1]) if output.l <= total else 0


def _symmetric_power_weights(l: int, power: int) -> np.ndarray:
    """Return the number of monomials of degree ``power`` in 2l+1 variables per weight -power·l, …, power·l."""
    sums = [sum(ms) for ms in combinations_with_replacement(range(2 * l + 1), power)]
    return np.bincount(sums, minlength=2 * l * power + 1)


def _index_tuples(irreps: Irreps, block: tuple[int, ...]) -> np.ndarray:
    """Return the component indices [Π dims, nu] of a block of irreps, last factor fastest."""
    slices = irreps.slices()
    grids = np.meshgrid(*(np.arange(slices[i].start, slices[i].stop) for i in block), indexing="ij")
    return np.stack(grids, axis=-1).reshape(-1, len(block)).astype(np.int64)


def _orderings(monomials: np.ndarray) -> np.ndarray:
    """Return the number of distinct orderings of each sorted index tuple."""
    nu = monomials.shape[1]
    run, repeats = np.ones(len(monomials), dtype=np.int64), np.ones(len(monomials), dtype=np.int64)
    for f in range(1, nu):
        run = np.where(monomials[:, f] == monomials[:, f - 1], run + 1, 1)
        repeats *= run
    return factorial(nu) // repeats


def _assemble(blocks: list[tuple[np.ndarray, np.ndarray]], output: Irrep, nu: int) -> Coupling:
    """Join blocks of (monomials, coefficients [paths, 2L+1, n]) that share no monomial."""
    if not blocks:
        return _frozen(np.zeros((0, nu), dtype=np.int64), np.zeros((0, output.dim, 0)))
    monomials, inverse = np.unique(np.concatenate([m for m, _ in blocks]), axis=0, return_inverse=True)
    columns = np.split(inverse.ravel(), np.cumsum([len(m) for m, _ in blocks])[:-1])
    coefficients = np.zeros((sum(len(c) for _, c in blocks), output.dim, len(monomials)))
    row = 0
    for (_, block), column in zip(blocks, columns, strict=True):
        coefficients[row : row + len(block), :, column] = block
        row += len(block)
    coefficients[np.abs(coefficients) < ZERO_TOLERANCE] = 0.0
    kept = np.any(coefficients != 0.0, axis=(0, 1))
    return _frozen(monomials[kept], _with_fixed_sign(np.ascontiguousarray(coefficients[:, :, kept])))


def _with_fixed_sign(coefficients: np.ndarray) -> np.ndarray:
    """Make the first coefficient of largest magnitude of each path positive."""
    flat = coefficients.transpose(0, 2, 1).reshape(len(coefficients), -1)
    magnitude = np.abs(flat)
    largest = np.argmax(magnitude >= (1 - SIGN_TOLERANCE) * magnitude.max(axis=1, keepdims=True), axis=1)
    signs = np.sign(flat[np.arange(len(flat)), largest])
    return coefficients * signs[:, None, None] + 0.0  # no negative zeros


def _frozen(monomials: np.ndarray, coefficients: np.ndarray) -> Coupling:
    monomials.setflags(write=False)
    coefficients.setflags(write=False)
    return Coupling(monomials, coefficients)


def _checked_nu(nu: int) -> int:
    if nu < 1:
        raise ClebschError(f"nu: expected a correlation order >= 1, got {nu}; 1 is the feature itself")
    return int(nu)
