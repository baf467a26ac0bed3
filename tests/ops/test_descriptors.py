"""Descriptors: the published numbers and orders of paths, and what is refused."""

from __future__ import annotations

from collections import Counter

import pytest

from clebsch.errors import ClebschError
from clebsch.o3 import Irrep, Irreps
from clebsch.ops import ConvolutionDescriptor, ConvolutionPath, ProductBasisDescriptor

BOTH = {l: Irreps([Irrep(degree, p) for degree in range(l + 1) for p in (1, -1)]) for l in (2, 3)}
NATURAL = Irreps.spherical_harmonics(3)


def path_texts(descriptor: ConvolutionDescriptor) -> list[str]:
    """The paths as "1ox2->3o"."""
    return [f"{descriptor.features[p.feature]}x{p.l2}->{descriptor.output[p.output]}" for p in descriptor.paths]


def counts(descriptor: ConvolutionDescriptor) -> dict[str, int]:
    return dict(zip(map(str, descriptor.output), descriptor.multiplicities, strict=True))


def test_paths_of_maces_second_layer():
    """The 17 paths in the order in which the published code keeps their weights."""
    descriptor = ConvolutionDescriptor(Irreps("0e+1o+2e"), 3, NATURAL)
    expected = """0ex0->0e 1ox1->0e 2ex2->0e 0ex1->1o 1ox0->1o 1ox2->1o 2ex1->1o 2ex3->1o 0ex2->2e 1ox1->2e 1ox3->2e
        2ex0->2e 2ex2->2e 0ex3->3o 1ox2->3o 2ex1->3o 2ex3->3o"""
    assert path_texts(descriptor) == expected.split()
    assert counts(descriptor) == {"0e": 3, "1o": 5, "2e": 5, "3o": 4}


@pytest.mark.parametrize(
    ("features", "l_max", "targets", "paths"),
    [
        ("0e", 3, NATURAL, 4),  # first layer of MACE and BOTNet
        ("0e+1o+2e", 3, NATURAL, 17),  # later layers of MACE and PACE
        ("0e+1o+2e+3o", 3, NATURAL, 23),  # level of PACE's edge booster
        ("0e+1o+2e+3o", 3, BOTH[3], 34),  # BOTNet, second to fourth layer
        ("0e+1o+1e+2o+2e+3o+3e", 3, BOTH[3], 64),
        (BOTH[3], 3, BOTH[3], 68),
        ("0e", 2, BOTH[2], 3),  # NequIP, all layers
        ("0e+1o+2e", 2, BOTH[2], 15),
        ("0e+1o+1e+2o+2e", 2, BOTH[2], 27),
        ("0e+0o+1o+1e+2o+2e", 2, "0e", 3),
    ],
)
def test_published_path_counts(features, l_max: int, targets, paths: int):
    descriptor = ConvolutionDescriptor(Irreps(features), l_max, Irreps(targets))
    assert len(descriptor.paths) == sum(descriptor.multiplicities) == paths
    assert len(set(descriptor.paths)) == paths


def test_unreached_targets_are_left_out():
    descriptor = ConvolutionDescriptor(Irreps("0e"), 1, Irreps("2e+0o+1o+0e"))
    assert descriptor.output == Irreps("1o+0e")
    assert descriptor.paths == (ConvolutionPath(0, 1, 0), ConvolutionPath(0, 0, 1))


def test_summed_paths_have_one_block():
    descriptor = ConvolutionDescriptor(Irreps("0e+1o"), 1, Irreps("0e+1o"), mixing="sum")
    assert descriptor.multiplicities == (1, 1) and len(descriptor.paths) == 4


def test_repeated_features_have_paths_of_their_own():
    assert len(ConvolutionDescriptor(Irreps("0e+0e"), 1, Irreps("0e+1o")).paths) == 4


@pytest.mark.parametrize("l_max", range(4))
def test_every_coupling_of_a_wanted_irrep_is_a_path(l_max: int):
    features = Irreps("0e+0o+1o+2o")
    descriptor = ConvolutionDescriptor(features, l_max, BOTH[3])
    expected = Counter(
        (f, harmonic.l, irrep)
        for f, left in enumerate(features)
        for harmonic in Irreps.spherical_harmonics(l_max)
        for irrep in left * harmonic
        if irrep.l <= 3
    )
    assert Counter((p.feature, p.l2, descriptor.output[p.output]) for p in descriptor.paths) == expected


@pytest.mark.parametrize(
    ("distinct", "expected"),
    [(False, [1, 4, 8, 1, 3, 12, 1, 5, 14]), (True, [1, 4, 23, 1, 6, 51, 1, 7, 65])],
)
def test_product_paths_of_mace_and_pace(distinct: bool, expected: list[int]):
    descriptor = ProductBasisDescriptor(NATURAL, Irreps("0e+1o+2e"), 3, distinct)
    assert [block.coupling.num_paths for block in descriptor.blocks] == expected
    assert [(block.output, block.nu) for block in descriptor.blocks] == [(o, nu) for o in range(3) for nu in (1, 2, 3)]


def test_irreps_without_couplings_have_no_block():
    descriptor = ProductBasisDescriptor(Irreps("0e+1o"), Irreps("0o+1e+0e"), 2)
    assert [(block.output, block.nu) for block in descriptor.blocks] == [(2, 1), (2, 2)]


def test_descriptors_are_values():
    one, two = (ConvolutionDescriptor(Irreps("0e"), 2, Irreps("0e+1o")) for _ in range(2))
    assert one == two and hash(one) == hash(two) and one != ConvolutionDescriptor(Irreps("0e"), 1, Irreps("0e+1o"))


def test_wrong_descriptors_are_errors():
    with pytest.raises(ClebschError, match=r"targets: expected each irrep once, got '1o.0e.1o'"):
        ConvolutionDescriptor(Irreps("0e"), 2, Irreps("1o+0e+1o"))
    with pytest.raises(ClebschError, match=r"l_max: expected an integer >= 0, got -1"):
        ConvolutionDescriptor(Irreps("0e"), -1, Irreps("0e"))
    with pytest.raises(ClebschError, match=r"correlation: expected an integer >= 1, got 0"):
        ProductBasisDescriptor(Irreps("0e"), Irreps("0e"), 0)
