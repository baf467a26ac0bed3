"""Equivariant linear maps of the cpu backend against plain torch: all sizes of tiles, remainders and threads."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from clebsch.o3 import Irreps
from clebsch.ops import ElementGroups, LinearDescriptor, get_backend

NUM_ELEMENTS = 4
TOLERANCE = {torch.float64: 1e-13, torch.float32: 1e-5}


def found_and_expected(
    descriptor: LinearDescriptor, x: Tensor | Sequence[Tensor], dtype: torch.dtype, atoms: int
) -> list[tuple[Tensor, Tensor]]:
    """Result and gradients by inputs and weights, of the backend and of the reference."""
    generator = torch.Generator().manual_seed(1)
    elements = ElementGroups.of(torch.randint(0, NUM_ELEMENTS - 1, (atoms,), generator=generator), NUM_ELEMENTS)
    leading = (NUM_ELEMENTS,) if descriptor.by_element else ()
    weights = [
        torch.randn(*leading, descriptor.channels_in[source], descriptor.channels, dtype=dtype, generator=generator)
        for source in descriptor.sources
        if source is not None
    ]
    inputs = [tensor.requires_grad_() for tensor in ([x] if isinstance(x, Tensor) else list(x)) + weights]
    upstream = torch.randn(descriptor.components, atoms, descriptor.channels, dtype=dtype, generator=generator)
    results = []
    for name in ("cpu", "reference"):
        y = get_backend(name).linear(descriptor, dtype)(x, weights, elements if descriptor.by_element else None)
        gradients = torch.autograd.grad(y, inputs, upstream, allow_unused=True, materialize_grads=True)
        results.append([y.detach(), *gradients])
    return list(zip(*results, strict=True))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("by_element", [False, True], ids=["all", "elements"])
@pytest.mark.parametrize("channels", [1, 10, 24, 64])
@pytest.mark.parametrize("atoms", [0, 1, 5, 131])
def test_agrees_with_plain_torch(channels: int, atoms: int, by_element: bool, dtype: torch.dtype, threads: int):
    """One irrep is read twice, one of the result has no source, one of the input no reader; one element has no atom."""
    generator = torch.Generator().manual_seed(2)
    for widths in ((channels,) * 4, (2 * channels, 3 * channels, channels + 3, channels)):
        descriptor = LinearDescriptor(Irreps("0e+1o+2e+1e"), widths, Irreps("1o+0e+1o+3o+2e"), channels, by_element)
        x = [
            torch.randn(irrep.dim, atoms, k, dtype=dtype, generator=generator)
            for irrep, k in zip(descriptor.irreps_in, widths)
        ]
        given = torch.cat(x) if len(set(widths)) == 1 else x
        for found, expected in found_and_expected(descriptor, given, dtype, atoms):
            size = float(expected.abs().max()) if expected.numel() else 0.0
            torch.testing.assert_close(found, expected, rtol=0, atol=TOLERANCE[dtype] * (1.0 + size))


@pytest.fixture(params=[1, 3])
def threads(request: pytest.FixtureRequest):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def test_threads_do_not_change_the_result():
    descriptor = LinearDescriptor(Irreps("0e+1o"), (32, 32), Irreps("0e+1o"), 32)
    x, results = torch.randn(4, 500, 32, generator=torch.Generator().manual_seed(0)), []
    for count in (1, 2, 5):
        torch.set_num_threads(count)
        results.append([found for found, _ in found_and_expected(descriptor, x, torch.float32, 500)])
    torch.set_num_threads(1)
    for others in results[1:]:
        assert all(torch.equal(found, other) for found, other in zip(results[0], others, strict=True))


def test_strided_tensors():
    descriptor = LinearDescriptor(Irreps("0e+1o"), (8, 8), Irreps("1o+0e"), 8)
    x = torch.randn(8, 9, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).permute(2, 1, 0)
    for found, expected in found_and_expected(descriptor, x, torch.float64, 9):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-13)
