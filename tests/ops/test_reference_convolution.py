"""The convolution of the reference backend against its definition, written as loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clebsch.errors import ClebschError
from clebsch.o3 import Irrep, Irreps, clebsch_gordan
from clebsch.ops import ConvolutionDescriptor, Edges, get_backend

IRREPS = [Irrep(l, p) for l in range(3) for p in (1, -1)]
CHANNELS, ATOMS, EDGES = 2, 3, 5
DESCRIPTORS = st.tuples(
    st.lists(st.sampled_from(IRREPS), min_size=1, max_size=3).map(Irreps),
    st.integers(0, 3),
    st.lists(st.sampled_from(IRREPS), min_size=1, max_size=4, unique=True).map(Irreps),
    st.sampled_from(["linear", "sum"]),
)


def inputs(descriptor: ConvolutionDescriptor, seed: int = 0, edges: int = EDGES, atoms: int = ATOMS):
    """Random features, harmonics and weights in float64, centres ascending, neighbours."""
    rng = np.random.default_rng(seed)
    return (
        torch.from_numpy(rng.normal(size=(descriptor.features.dim, atoms, CHANNELS))),
        torch.from_numpy(rng.normal(size=(edges, (descriptor.l_max + 1) ** 2))),
        torch.from_numpy(rng.normal(size=(edges, len(descriptor.paths), CHANNELS))),
        torch.from_numpy(np.sort(rng.integers(atoms, size=edges))) if edges else torch.zeros(0, dtype=torch.long),
        torch.from_numpy(rng.integers(atoms, size=edges)) if edges else torch.zeros(0, dtype=torch.long),
        atoms,
    )


def edges_of(centers: torch.Tensor, neighbors: torch.Tensor, atoms: int) -> Edges:
    """Edges between ``atoms`` atoms of one element."""
    return Edges.of(centers, neighbors, torch.zeros(atoms, dtype=torch.long), 1)


def convolve(
    descriptor: ConvolutionDescriptor, features, harmonics, weights, *ends, dtype: torch.dtype = torch.float64
):
    convolution = get_backend("reference").convolution(descriptor, dtype)
    return convolution(features, harmonics, weights, edges_of(*ends))


def loops(descriptor: ConvolutionDescriptor, features, harmonics, weights, centers, neighbors, num_atoms):
    """A_{i,pk,m3} = sum_j R sqrt(2 l3 + 1) sum_{m1 m2} C h Y, with paths found anew from the selection rules."""
    results, path = [], 0
    for target in descriptor.output:
        blocks = []
        for left, components in zip(descriptor.features, descriptor.features.slices(), strict=True):
            for l2 in range(descriptor.l_max + 1):
                if not (abs(left.l - l2) <= target.l <= left.l + l2 and left.p * (-1) ** l2 == target.p):
                    continue
                block = np.zeros((target.dim, num_atoms, features.shape[2]))
                coupling = math.sqrt(target.dim) * clebsch_gordan(left.l, l2, target.l)
                for edge, (i, j) in enumerate(zip(centers, neighbors, strict=True)):
                    for m1, m2, m3 in np.argwhere(coupling):
                        h, y = features[components.start + m1, j], harmonics[edge, l2**2 + m2]
                        block[m3, i] += weights[edge, path] * coupling[m1, m2, m3] * h * y
                blocks.append(block)
                path += 1
        if descriptor.mixing == "sum":
            results.append(np.sum(blocks, axis=0) / math.sqrt(len(blocks)))
        else:
            results.append(np.concatenate(blocks, axis=2))
    assert path == weights.shape[1]
    return results


@settings(max_examples=60)
@given(DESCRIPTORS, st.integers(0, 2**16))
def test_it_is_the_sum_over_edges_paths_and_components(choice: tuple, seed: int):
    descriptor = ConvolutionDescriptor(*choice)
    if not descriptor.paths:
        return
    arguments = inputs(descriptor, seed)
    expected = loops(descriptor, *[a.numpy() if isinstance(a, torch.Tensor) else a for a in arguments])
    found = convolve(descriptor, *arguments)
    assert len(found) == len(expected) == len(descriptor.output)
    for part, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(part.numpy(), other, atol=1e-12)


@pytest.mark.parametrize("mixing", ["linear", "sum"])
def test_without_features_h_is_one(mixing):
    descriptor = ConvolutionDescriptor(Irreps("0e"), 3, Irreps("0e+1o+2e+3o"), mixing)
    features, *others = inputs(descriptor)
    expected = convolve(descriptor, torch.ones_like(features), *others)
    for part, other in zip(convolve(descriptor, None, *others), expected, strict=True):
        torch.testing.assert_close(part, other, rtol=0, atol=1e-14)


def test_without_features_only_scalars():
    descriptor = ConvolutionDescriptor(Irreps("0e+1o"), 1, Irreps("0e"))
    with pytest.raises(ClebschError, match=r"features: expected a tensor with the irreps '0e.1o', got None"):
        convolve(descriptor, None, *inputs(descriptor)[1:])


@pytest.mark.parametrize("atoms", [0, 3])
@pytest.mark.parametrize("mixing", ["linear", "sum"])
def test_no_edges(atoms: int, mixing):
    descriptor = ConvolutionDescriptor(Irreps("0e+1o"), 2, Irreps("0e+1o+2e"), mixing)
    found = convolve(descriptor, *inputs(descriptor, edges=0, atoms=atoms))
    widths = [multiplicity * CHANNELS for multiplicity in descriptor.multiplicities]
    assert [part.shape for part in found] == [(2 * l + 1, atoms, width) for l, width in enumerate(widths)]
    assert all(not part.any() for part in found)


def test_atoms_without_neighbors_receive_nothing():
    descriptor = ConvolutionDescriptor(Irreps("0e+1o"), 1, Irreps("0e+1o"))
    features, harmonics, weights, _, neighbors, atoms = inputs(descriptor)
    centers = torch.ones(EDGES, dtype=torch.long)
    for part in convolve(descriptor, features, harmonics, weights, centers, neighbors, atoms):
        assert part[:, 1].any() and not part[:, [0, 2]].any()


def test_the_order_of_the_edges_of_one_center_does_not_matter():
    descriptor = ConvolutionDescriptor(Irreps("0e+1o"), 2, Irreps("0e+1o"))
    features, *edges, atoms = inputs(descriptor, edges=12)
    order = torch.from_numpy(np.lexsort((np.random.default_rng(1).random(12), edges[2].numpy())))
    assert not torch.equal(order, torch.arange(12))
    shuffled = convolve(descriptor, features, *[values[order] for values in edges], atoms)
    for part, other in zip(convolve(descriptor, features, *edges, atoms), shuffled, strict=True):
        torch.testing.assert_close(part, other)


def test_float32_stays_float32():
    descriptor = ConvolutionDescriptor(Irreps("0e+1o+2e"), 3, Irreps("0e+1o+2e+3o"))
    arguments = inputs(descriptor)
    low = [a.float() if isinstance(a, torch.Tensor) and a.is_floating_point() else a for a in arguments]
    for part, other in zip(
        convolve(descriptor, *low, dtype=torch.float32), convolve(descriptor, *arguments), strict=True
    ):
        torch.testing.assert_close(part, other.float(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("mixing", ["linear", "sum"])
@pytest.mark.parametrize(("features", "targets"), [("0e+1o", "0e+1o+1e"), ("1e+0o", "1o+0o"), (None, "0e+1o")])
def test_derivatives(features: str | None, targets: str, mixing):
    descriptor = ConvolutionDescriptor(Irreps(features or "0e"), 1, Irreps(targets), mixing)
    h, harmonics, weights, centers, neighbors, atoms = inputs(descriptor, edges=3, atoms=2)
    convolution, edges = (
        get_backend("reference").convolution(descriptor, torch.float64),
        edges_of(centers, neighbors, atoms),
    )
    variables = [value.requires_grad_(True) for value in ([h] if features else []) + [harmonics, weights]]

    def function(*values: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return convolution(*([] if features else [None]), *values, edges)

    assert torch.autograd.gradcheck(function, variables)
    assert torch.autograd.gradgradcheck(function, variables)
