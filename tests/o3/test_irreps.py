"""Irreps: text, order, products, and the errors of a mistyped one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clebsch.errors import ClebschError
from clebsch.o3 import Irrep, Irreps

IRREPS = st.lists(st.builds(Irrep, st.integers(0, 12), st.sampled_from([1, -1])), max_size=8).map(Irreps)


@given(IRREPS)
def test_text_and_back(irreps: Irreps):
    assert Irreps(str(irreps)) == irreps
    assert Irreps(str(ir) for ir in irreps) == irreps


@given(IRREPS)
def test_slices_cover_the_components_in_order(irreps: Irreps):
    components = [c for s in irreps.slices() for c in range(s.start, s.stop)]
    assert components == list(range(irreps.dim))
    assert [s.stop - s.start for s in irreps.slices()] == [ir.dim for ir in irreps]


@given(st.builds(Irrep, st.integers(0, 9), st.sampled_from([1, -1])), st.integers(0, 9), st.sampled_from([1, -1]))
def test_product_keeps_the_dimension(first: Irrep, l: int, p: int):
    second = Irrep(l, p)
    products = first * second
    assert sum(ir.dim for ir in products) == first.dim * second.dim
    assert {ir.p for ir in products} == {first.p * p}
    assert sorted(products) == sorted(second * first)


def test_spherical_harmonics_have_natural_parity():
    irreps = Irreps.spherical_harmonics(3)
    assert str(irreps) == "0e+1o+2e+3o"
    assert (irreps.dim, irreps.l_max) == (16, 3)


def test_duplicates_and_spaces_are_kept_and_ignored():
    assert Irreps("0e + 1o+0e") == (Irrep(0, 1), Irrep(1, -1), Irrep(0, 1))
    assert Irreps("") == Irreps() and Irreps("").dim == 0
    assert hash(Irreps("1o")) == hash(Irreps("1o"))


@pytest.mark.parametrize("text", ["1", "1x", "e1", "-1o", "0e+", "1o,2e"])
def test_mistyped_irreps_name_themselves(text: str):
    with pytest.raises(ClebschError, match="expected a degree and a parity"):
        Irreps(text)


def test_channels_do_not_belong_into_irreps():
    with pytest.raises(ClebschError, match=r"'128x0e'; .*channels are a separate setting"):
        Irreps("128x0e+128x1o")


@pytest.mark.parametrize("value", [(-1, 1), (1, 0), (1, 2)])
def test_impossible_irreps_are_refused(value: tuple[int, int]):
    with pytest.raises(ClebschError, match=r"expected \(l >= 0, p = 1 or -1\)"):
        Irreps([Irrep(*value)])
