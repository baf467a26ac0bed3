"""Equivariant linear maps against loops over irreps, atoms and elements."""

from __future__ import annotations

import math

import pytest
import torch

from clebsch.errors import ClebschError
from clebsch.models.linear import IrrepsLinear
from clebsch.o3 import Irreps

ATOMS = 5
SPECIES = torch.tensor([2, 0, 2, 2, 0])  # element 1 of 3 does not occur


def inputs(irreps: Irreps, channels: list[int], atoms: int = ATOMS) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [
        torch.randn(irrep.dim, atoms, width, generator=generator, dtype=torch.float64)
        for irrep, width in zip(irreps, channels, strict=True)
    ]


@pytest.mark.parametrize("num_elements", [None, 3])
def test_every_irrep_of_every_atom_takes_its_matrix(num_elements: int | None, generator: torch.Generator):
    irreps_in, channels, irreps_out = Irreps("0e+1o+2e"), [3, 6, 2], Irreps("1o+0e+1e+0e")
    options = {"num_elements": num_elements, "dtype": torch.float64, "generator": generator}
    linear = IrrepsLinear(irreps_in, channels, irreps_out, 4, **options)
    x = inputs(irreps_in, channels)
    found = linear(x, None if num_elements is None else SPECIES)
    assert found.shape == (irreps_out.dim, ATOMS, 4)
    for index, (irrep, components) in enumerate(zip(irreps_out, irreps_out.slices(), strict=True)):
        part = found[components]
        if irrep not in irreps_in:
            assert str(index) not in linear.weights and not part.any()
            continue
        source = irreps_in.index(irrep)
        for atom in range(ATOMS):
            matrix = linear.weights[str(index)]
            matrix = matrix if num_elements is None else matrix[SPECIES[atom]]
            torch.testing.assert_close(part[:, atom], x[source][:, atom] @ matrix / math.sqrt(channels[source]))


def test_repeated_irreps_have_maps_of_their_own(generator: torch.Generator):
    linear = IrrepsLinear(Irreps("0e"), 3, Irreps("0e+0e"), 3, dtype=torch.float64, generator=generator)
    first, second = linear(inputs(Irreps("0e"), [3]))
    assert list(linear.weights) == ["0", "1"] and not torch.allclose(first, second)


def test_one_number_of_channels_for_all_irreps(generator: torch.Generator):
    one, many = (
        IrrepsLinear(Irreps("0e+1o"), widths, Irreps("0e+1o"), 2, dtype=torch.float64, generator=None)
        for widths in (3, [3, 3])
    )
    assert [w.shape for w in one.weights.values()] == [w.shape for w in many.weights.values()]


def test_elements_may_not_be_forgotten(generator: torch.Generator):
    linear = IrrepsLinear(Irreps("0e"), 2, Irreps("0e"), 2, num_elements=3, dtype=torch.float64, generator=generator)
    with pytest.raises(ClebschError, match="species: expected the element index of every atom, got None"):
        linear(inputs(Irreps("0e"), [2]))


@pytest.mark.parametrize("num_elements", [None, 3])
def test_no_atoms(num_elements: int | None):
    linear = IrrepsLinear(Irreps("0e+1o"), 2, Irreps("1o"), 4, num_elements=num_elements, dtype=torch.float32)
    assert linear([torch.zeros(1, 0, 2), torch.zeros(3, 0, 2)], SPECIES[:0]).shape == (3, 0, 4)


def test_derivatives(generator: torch.Generator):
    linear = IrrepsLinear(Irreps("0e+1o"), 2, Irreps("1o+0e"), 2, num_elements=3, dtype=torch.float64)
    x = [part.requires_grad_(True) for part in inputs(Irreps("0e+1o"), [2, 2])]
    assert torch.autograd.gradcheck(lambda *parts: linear(parts, SPECIES), x)
    linear(x, SPECIES).square().sum().backward()
    for weight in linear.weights.values():
        assert weight.grad is not None
        assert weight.grad[[0, 2]].any() and not weight.grad[1].any()


def test_unit_variance_at_the_start(generator: torch.Generator):
    linear = IrrepsLinear(Irreps("0e"), 256, Irreps("0e"), 256, dtype=torch.float64, generator=generator)
    x = torch.randn(1, 500, 256, dtype=torch.float64, generator=generator)
    assert linear([x]).square().mean().item() == pytest.approx(1, abs=0.05)
