"""Operators as PyTorch sees them: fake tensors, gradients that nobody uses, rows mixed in place."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from clebsch.o3 import Irreps
from clebsch.ops import ConvolutionDescriptor, ProductBasisDescriptor, get_backend
from clebsch.ops.cpu import convolution as convolutions
from clebsch.ops.cpu.product_basis import key_of as product_key
from clebsch.ops.linear import Block, RowMixing, mix_rows


def test_operators_are_known_by_name():
    """Shapes without values, as a tracer sees them."""
    descriptor = ConvolutionDescriptor(Irreps("0e+1o"), 2, Irreps("0e+1o"))
    key, paths = convolutions.key_of(descriptor), len(descriptor.paths)
    with FakeTensorMode():
        index, starts = torch.zeros(6, dtype=torch.long), torch.zeros(5, dtype=torch.long)
        h, Y, R = torch.empty(4, 4, 8, requires_grad=True), torch.empty(6, 9), torch.empty(6, paths, 8)
        parts = torch.ops.clebsch.convolution(key, h, Y, None, R, None, index, index, starts, index, starts)
        widths = [multiplicity * 8 for multiplicity in descriptor.multiplicities]
        assert [tuple(part.shape) for part in parts] == [(1, 4, widths[0]), (3, 4, widths[1])]
        (gradient,) = torch.autograd.grad(sum(part.sum() for part in parts), h)
        assert gradient.shape == h.shape

        key = product_key(ProductBasisDescriptor(Irreps("0e+1o"), Irreps("0e+1o"), 3))
        w = torch.empty(2, 5, 8)
        B = torch.ops.clebsch.product_basis(
            key, [h], w, torch.zeros(4, dtype=torch.long), torch.zeros(3, dtype=torch.long)
        )
        assert B.shape == (4, 4, 8) and B.requires_grad
        Y = torch.ops.clebsch.spherical_harmonics("3", torch.empty(5, 3))
        assert Y.shape == (5, 16)


def test_descriptor_survives_its_key():
    descriptor = ConvolutionDescriptor(Irreps("0e+1o+1e"), 3, Irreps("0e+2e"), "sum")
    assert convolutions.descriptor_of(convolutions.key_of(descriptor)) == descriptor


def test_gradients_that_nobody_uses_are_not_computed(monkeypatch: pytest.MonkeyPatch):
    """In dE/dx the weights have no part, in the gradient by the weights the positions have none."""
    calls: list[str] = []
    for name in ("transposed", "weights"):
        original: Any = getattr(RowMixing, name)
        monkeypatch.setattr(RowMixing, name, lambda *a, _n=name, _o=original, **k: (calls.append(_n), _o(*a, **k))[1])
    mixing = RowMixing([Block(0, 0, 0, 0)], [1.0], [[4]], [4])
    positions, weight = torch.randn(4, 3, requires_grad=True), torch.randn(3, 2, requires_grad=True)
    result = mix_rows([positions * 2], [weight * 1], mixing).square().sum()
    torch.autograd.grad(result, positions, retain_graph=True)
    assert calls == ["transposed"]
    result.backward(inputs=[weight])
    assert calls == ["transposed", "weights"]


def mixing_of_pieces() -> RowMixing:
    """Three pieces in, three out: one source is used twice, one result gets two, one gets nothing."""
    blocks = [Block(0, 0, 0, 0), Block(0, 0, 2, 1), Block(0, 2, 2, 2)]
    return RowMixing(blocks, [0.5, 2.0, 1.0], [[2, 1, 2]], [2, 3, 2])


def test_rows_are_mixed_block_by_block():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(5, 3, generator=generator, dtype=torch.float64)
    weights = [torch.randn(3, 4, generator=generator, dtype=torch.float64) for _ in range(3)]
    found = mix_rows([x], weights, mixing_of_pieces())
    torch.testing.assert_close(found[:2], 0.5 * x[:2] @ weights[0])
    torch.testing.assert_close(found[5:], 2.0 * x[:2] @ weights[1] + x[3:] @ weights[2])
    assert not found[2:5].any()


def test_mixed_rows_have_derivatives_of_every_order():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(5, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    weights = [torch.randn(3, 4, generator=generator, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    mixing = mixing_of_pieces()

    def call(x: torch.Tensor, *weights: torch.Tensor) -> torch.Tensor:
        return mix_rows([x], list(weights), mixing).sin()

    def gradient(x: torch.Tensor, *weights: torch.Tensor) -> tuple[torch.Tensor, ...]:
        value = call(x, *weights).square().sum()
        return torch.autograd.grad(value, [x, *weights], create_graph=True)

    assert torch.autograd.gradcheck(call, (x, *weights), check_undefined_grad=False)
    assert torch.autograd.gradgradcheck(call, (x, *weights), check_undefined_grad=False)
    assert torch.autograd.gradgradcheck(gradient, (x, *weights), check_undefined_grad=False, fast_mode=True)


@pytest.mark.parametrize("name", ["cpu", "reference"])
def test_backends_have_a_name(name: str):
    assert get_backend(name).name == name
