"""The screened nuclear repulsion: known values, where it ends, how it is shared."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from ase.data import atomic_numbers, covalent_radii
from ase.units import Bohr, Hartree

from clebsch.models import ZBL
from clebsch.models.core import CoreRadii
from clebsch.ops import Edges

ELEMENTS = ("O", "H", "C", "Au")


def repulsion(first: str, second: str, r: float) -> float:
    """E of a pair in eV, written with ASE's constants: Z Z e^2 / r times screening times (1 - x)^3 (…)."""
    z1, z2 = atomic_numbers[first], atomic_numbers[second]
    x = r * (z1**0.23 + z2**0.23) / (0.8854 * Bohr)
    terms = {3.2: 0.1818, 0.9423: 0.5099, 0.4028: 0.2802, 0.2016: 0.02817}
    screening = sum(factor * math.exp(-rate * x) for rate, factor in terms.items())
    s = r / (covalent_radii[z1] + covalent_radii[z2])
    switch = (1 - s) ** 3 * sum(math.comb(k + 2, 2) * s**k for k in range(6)) if s < 1 else 0.0
    return Hartree * Bohr * z1 * z2 / r * screening * switch


def zbl(r_max: float = 5.0, radii: dict[str, float] | None = None) -> ZBL:
    return ZBL(ELEMENTS, CoreRadii(ELEMENTS, r_max, radii))


def edges_of(centers: list[int], neighbors: list[int], species: torch.Tensor) -> Edges:
    ends = (torch.tensor(atoms, dtype=torch.long) for atoms in (centers, neighbors))
    return Edges.of(*ends, species, len(ELEMENTS))


def pair(first: str, second: str, r: float, r_max: float = 5.0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    """Energies of the two atoms."""
    vectors = torch.tensor([[0.0, r, 0.0], [0.0, -r, 0.0]], dtype=dtype)
    species = torch.tensor([ELEMENTS.index(first), ELEMENTS.index(second)])
    return zbl(r_max)(vectors, edges_of([0, 1], [1, 0], species))


@pytest.mark.parametrize("r", [0.05, 0.3, 0.55])
@pytest.mark.parametrize(("first", "second"), [("H", "H"), ("C", "O"), ("Au", "H"), ("C", "C")])
def test_the_formula(first: str, second: str, r: float):
    energies = pair(first, second, r)
    assert energies.sum().item() == pytest.approx(repulsion(first, second, r), rel=1e-7)
    assert energies[0].item() == pytest.approx(energies[1].item(), rel=1e-15)


def test_close_nuclei_repel_like_charges():
    """Unscreened at the origin: 14.4 eV Å Z Z / r."""
    assert pair("C", "O", 1e-5).sum().item() == pytest.approx(14.399645 * 48 / 1e-5, rel=5e-4)


@pytest.mark.parametrize(("first", "second", "reach"), [("H", "H", 0.62), ("C", "O", 1.42)])
def test_it_ends_at_the_sum_of_the_covalent_radii(first: str, second: str, reach: float):
    assert not pair(first, second, reach + 1e-9).any()
    assert 0 < pair(first, second, reach - 0.01).sum().item() < 1e-3


def test_it_never_reaches_beyond_the_neighbor_list():
    assert pair("Au", "Au", 1.99, r_max=2.0).sum().item() > 0
    assert not pair("Au", "Au", 2.0, r_max=2.0).any()


def test_it_repels_at_every_distance():
    energies = [pair("C", "O", r).sum().item() for r in np.linspace(0.1, 1.41, 100)]
    assert np.all(np.diff(energies) < 0)


def test_float64_whatever_comes_in():
    assert pair("C", "O", 0.5, dtype=torch.float32).dtype == torch.float64
    cast = zbl().float()
    assert cast.numbers.dtype == cast.core.radii.dtype == torch.float64 and not cast.state_dict()


def test_atoms_add_over_their_neighbors():
    vectors = torch.tensor([[0.4, 0, 0], [0, 0.5, 0], [-0.4, 0, 0], [0, -0.5, 0]], dtype=torch.float64)
    energies = zbl()(vectors, edges_of([0, 0, 1, 2], [1, 2, 0, 0], torch.tensor([2, 1, 0])))
    expected = [repulsion("C", "H", 0.4) / 2, repulsion("C", "O", 0.5) / 2]
    torch.testing.assert_close(
        energies, torch.tensor([sum(expected), *expected], dtype=torch.float64), rtol=1e-7, atol=0
    )


def test_no_edges():
    assert torch.equal(zbl()(torch.zeros(0, 3), edges_of([], [], torch.tensor([1]))), torch.zeros(1).double())
