"""Equivariant linear maps of all backends against loops over irreps, atoms and elements."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from clebsch.errors import ClebschError
from clebsch.models.linear import IrrepsLinear
from clebsch.o3 import Irreps
from clebsch.ops import ElementGroups, get_backend

ATOMS = 5
SPECIES = torch.tensor([2, 0, 2, 2, 0])  # element 1 of 3 does not occur
ELEMENTS = ElementGroups.of(SPECIES, 3)


@pytest.fixture(params=["reference", "cpu"])
def options(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Backend and dtype of a map."""
    return {"backend": get_backend(request.param), "dtype": torch.float64}


def inputs(irreps: Irreps, channels: list[int], atoms: int = ATOMS) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [
        torch.randn(irrep.dim, atoms, width, generator=generator, dtype=torch.float64)
        for irrep, width in zip(irreps, channels, strict=True)
    ]


@pytest.mark.parametrize("num_elements", [None, 3])
def test_every_irrep_of_every_atom_takes_its_matrix(
    options: dict[str, Any], num_elements: int | None, generator: torch.Generator
):
    irreps_in, channels, irreps_out = Irreps("0e+1o+2e"), [3, 6, 2], Irreps("1o+0e+1e+0e")
    linear = IrrepsLinear(irreps_in, channels, irreps_out, 4, num_elements=num_elements, generator=generator, **options)
    x = inputs(irreps_in, channels)
    found = linear(x, None if num_elements is None else ELEMENTS)
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


def test_repeated_irreps_have_maps_of_their_own(options: dict[str, Any], generator: torch.Generator):
    linear = IrrepsLinear(Irreps("0e"), 3, Irreps("0e+0e"), 3, generator=generator, **options)
    first, second = linear(inputs(Irreps("0e"), [3]))
    assert list(linear.weights) == ["0", "1"] and not torch.allclose(first, second)


def test_one_number_of_channels_for_all_irreps(options: dict[str, Any]):
    one, many = (IrrepsLinear(Irreps("0e+1o"), widths, Irreps("0e+1o"), 2, **options) for widths in (3, [3, 3]))
    assert [w.shape for w in one.weights.values()] == [w.shape for w in many.weights.values()]


def test_elements_may_not_be_forgotten(options: dict[str, Any]):
    linear = IrrepsLinear(Irreps("0e"), 2, Irreps("0e"), 2, num_elements=3, **options)
    with pytest.raises(ClebschError, match="elements: expected the atoms by element, got None"):
        linear(inputs(Irreps("0e"), [2]))


@pytest.mark.parametrize("num_elements", [None, 3])
def test_no_atoms(options: dict[str, Any], num_elements: int | None):
    options = {**options, "dtype": torch.float32}
    linear = IrrepsLinear(Irreps("0e+1o"), 2, Irreps("1o"), 4, num_elements=num_elements, **options)
    nothing = ElementGroups.of(SPECIES[:0], 3)
    assert linear([torch.zeros(1, 0, 2), torch.zeros(3, 0, 2)], nothing).shape == (3, 0, 4)


def test_derivatives(options: dict[str, Any]):
    linear = IrrepsLinear(Irreps("0e+1o"), 2, Irreps("1o+0e"), 2, num_elements=3, **options)
    x = [part.requires_grad_(True) for part in inputs(Irreps("0e+1o"), [2, 2])]
    assert torch.autograd.gradcheck(lambda *parts: linear(parts, ELEMENTS), x)
    linear(x, ELEMENTS).square().sum().backward()
    for weight in linear.weights.values():
        assert weight.grad is not None
        assert weight.grad[[0, 2]].any() and not weight.grad[1].any()


def test_unit_variance_at_the_start(options: dict[str, Any], generator: torch.Generator):
    linear = IrrepsLinear(Irreps("0e"), 256, Irreps("0e"), 256, generator=generator, **options)
    x = torch.randn(1, 500, 256, dtype=torch.float64, generator=generator)
    assert linear([x]).square().mean().item() == pytest.approx(1, abs=0.05)


def test_one_tensor_or_one_per_irrep(options: dict[str, Any], generator: torch.Generator):
    irreps = Irreps("0e+1o+2e")
    linear = IrrepsLinear(irreps, 2, Irreps("2e+1o+0o"), 3, generator=generator, **options)
    parts = inputs(irreps, [2, 2, 2])
    torch.testing.assert_close(linear(torch.cat(parts)), linear(parts), rtol=0, atol=1e-14)
