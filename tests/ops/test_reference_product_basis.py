"""The product basis of the reference backend against sums over all index tuples."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest
import torch

from clebsch.o3 import Irreps
from clebsch.ops import ElementGroups, ProductBasisDescriptor, get_backend

CHANNELS, ATOMS, ELEMENTS = 2, 3, 2
SPECIES = torch.tensor([1, 1, 0])
GROUPS = ElementGroups.of(SPECIES, ELEMENTS)
CASES = [
    ("0e+1o", "0e+1o", 3, False),
    ("0e+1o", "0e+1o+1e", 3, True),
    ("0e+1o+2e", "2e+0e", 2, False),
    ("0e+0o+1e", "0o+1o+1e", 3, False),
    ("1o+1e", "1o+0o", 2, True),
    ("0e+1o", "2e+1o", 1, False),
    ("0e+1o", "0e", 4, False),
]


def inputs(descriptor: ProductBasisDescriptor, atoms: int = ATOMS, seed: int = 0):
    """Random factors (equal or not) and the weights of every block in float64."""
    rng = np.random.default_rng(seed)
    count = descriptor.correlation if descriptor.distinct else 1
    factors = [torch.from_numpy(rng.normal(size=(descriptor.features.dim, atoms, CHANNELS))) for _ in range(count)]
    weights = [
        torch.from_numpy(rng.normal(size=(ELEMENTS, block.coupling.num_paths, CHANNELS))) for block in descriptor.blocks
    ]
    return factors, weights


def product_basis(descriptor: ProductBasisDescriptor, dtype: torch.dtype = torch.float64):
    return get_backend("reference").product_basis(descriptor, dtype)


def packed(weights) -> torch.Tensor:
    """The weights of all blocks, one after another."""
    return torch.cat(list(weights), dim=1)


def tensors(descriptor: ProductBasisDescriptor, number: int) -> np.ndarray:
    """C [paths, 2L + 1, dim, …] of a block over all index tuples; symmetric where the factors are equal."""
    block = descriptor.blocks[number]
    found = np.zeros((*block.coupling.coefficients.shape[:2], *(descriptor.features.dim,) * block.nu))
    for monomial, coefficient in zip(
        block.coupling.monomials, block.coupling.coefficients.transpose(2, 0, 1), strict=True
    ):
        places = {tuple(monomial)} if descriptor.distinct else set(permutations(monomial))
        for place in places:
            found[(slice(None), slice(None), *place)] += coefficient / len(places)
    return found


def over_all_tuples(descriptor: ProductBasisDescriptor, factors, weights) -> np.ndarray:
    """B of every atom and channel as the sum over all index tuples, element by element."""
    slices = descriptor.output.slices()
    result = np.zeros((descriptor.output.dim, ATOMS, CHANNELS))
    for number, block in enumerate(descriptor.blocks):
        coupling = tensors(descriptor, number)
        used = [factors[position if descriptor.distinct else 0].numpy() for position in range(block.nu)]
        for place in product(range(descriptor.features.dim), repeat=block.nu):
            c = coupling[(slice(None), slice(None), *place)]
            if c.any():
                monomial = np.prod([a[index] for a, index in zip(used, place, strict=True)], axis=0)
                w = weights[number].numpy()[SPECIES.numpy()]  # [atoms, paths, channels]
                result[slices[block.output]] += np.einsum("pm,npk,nk->mnk", c, w, monomial)
    return result


@pytest.mark.parametrize(("features", "output", "correlation", "distinct"), CASES)
def test_it_is_the_sum_over_all_index_tuples(features: str, output: str, correlation: int, distinct: bool):
    descriptor = ProductBasisDescriptor(Irreps(features), Irreps(output), correlation, distinct)
    factors, weights = inputs(descriptor)
    found = product_basis(descriptor)(factors, packed(weights), GROUPS)
    np.testing.assert_allclose(found.numpy(), over_all_tuples(descriptor, factors, weights), atol=1e-12)


@pytest.mark.parametrize(("features", "output", "correlation", "distinct"), CASES)
def test_without_weights_it_is_the_coupling_of_o3(features: str, output: str, correlation: int, distinct: bool):
    descriptor = ProductBasisDescriptor(Irreps(features), Irreps(output), correlation, distinct)
    factors, _ = inputs(descriptor)
    for block, found in zip(descriptor.blocks, product_basis(descriptor).uncontracted(factors), strict=True):
        used = [factors[position if distinct else 0].numpy() for position in range(block.nu)]
        monomials = np.prod([a[index] for a, index in zip(used, block.coupling.monomials.T, strict=True)], axis=0)
        expected = np.einsum("pmc,cnk->pmnk", block.coupling.coefficients, monomials)
        np.testing.assert_allclose(found.numpy(), expected, atol=1e-13)


def test_equal_factors_may_be_permuted():
    """The symmetric tensors do not change under permutations; those of distinct factors do."""
    for distinct in (False, True):
        descriptor = ProductBasisDescriptor(Irreps("0e+1o"), Irreps("1o"), 3, distinct)
        coupling = tensors(descriptor, 2)
        changes = [np.abs(coupling - coupling.transpose(0, 1, *order)).max() for order in permutations((2, 3, 4))]
        assert (max(changes) < 1e-13) == (not distinct)


def test_distinct_factors_are_taken_in_their_order():
    descriptor = ProductBasisDescriptor(Irreps("0e+1o"), Irreps("1o"), 2, True)
    (first, second), weights = inputs(descriptor)
    basis = product_basis(descriptor)
    assert not torch.allclose(
        basis([first, second], packed(weights), GROUPS), basis([second, first], packed(weights), GROUPS)
    )
    scaled = basis([2 * first, second], packed(weights), GROUPS)
    torch.testing.assert_close(scaled, 2 * basis([first, second], packed(weights), GROUPS))


def test_known_invariants():
    """The square of a vector, and the scalar times the vector, each with the weight of the atom's element."""
    descriptor = ProductBasisDescriptor(Irreps("0e+1o"), Irreps("0e+1o"), 2)
    (a,), weights = inputs(descriptor)
    found = product_basis(descriptor)([a], packed(weights), GROUPS)
    w = [weight[SPECIES] for weight in weights]  # 0e: A, (A A, v v); 1o: v, A v
    invariant = w[0][:, 0] * a[0] + w[1][:, 0] * a[0] ** 2 + w[1][:, 1] * (a[1:] ** 2).sum(0) / 3**0.5
    vector = w[2][:, 0] * a[1:] + w[3][:, 0] * 2**0.5 * a[0] * a[1:]
    torch.testing.assert_close(found, torch.cat([invariant[None], vector]))


def test_irreps_without_couplings_are_zero():
    descriptor = ProductBasisDescriptor(Irreps("0e+1o"), Irreps("0o+0e+2o"), 2)
    factors, weights = inputs(descriptor)
    found = product_basis(descriptor)(factors, packed(weights), GROUPS)
    assert found.shape == (7, ATOMS, CHANNELS) and found[1].any()
    assert not found[0].any() and not found[2:].any()


@pytest.mark.parametrize("distinct", [False, True])
def test_no_atoms(distinct: bool):
    descriptor = ProductBasisDescriptor(Irreps("0e+1o"), Irreps("0e+1o"), 3, distinct)
    factors, weights = inputs(descriptor, atoms=0)
    found = product_basis(descriptor)(factors, packed(weights), ElementGroups.of(SPECIES[:0], ELEMENTS))
    assert found.shape == (4, 0, CHANNELS)


def test_every_block_needs_its_weights():
    descriptor = ProductBasisDescriptor(Irreps("0e+1o"), Irreps("0e"), 2)
    factors, weights = inputs(descriptor)
    with pytest.raises(RuntimeError, match="split_with_sizes"):
        product_basis(descriptor)(factors, weights[0], GROUPS)


def test_float32_stays_float32():
    descriptor = ProductBasisDescriptor(Irreps.spherical_harmonics(3), Irreps("0e+1o+2e"), 3)
    factors, weights = inputs(descriptor)
    found = product_basis(descriptor, torch.float32)([f.float() for f in factors], packed(weights).float(), GROUPS)
    expected = product_basis(descriptor)(factors, packed(weights), GROUPS)
    torch.testing.assert_close(found, expected.float(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("distinct", [False, True])
def test_derivatives(distinct: bool):
    descriptor = ProductBasisDescriptor(Irreps("0e+1o"), Irreps("0e+1o"), 3 if distinct else 2, distinct)
    factors, weights = inputs(descriptor, atoms=2)
    basis, variables = product_basis(descriptor), [value.requires_grad_(True) for value in (*factors, *weights)]
    groups = ElementGroups.of(SPECIES[:2], ELEMENTS)

    def function(*values: torch.Tensor) -> torch.Tensor:
        return basis(values[: len(factors)], packed(values[len(factors) :]), groups)

    assert torch.autograd.gradcheck(function, variables)
    assert torch.autograd.gradgradcheck(function, variables)
