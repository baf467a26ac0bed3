"""Operators as PyTorch sees them: fake and meta tensors, devices without kernels, gradients that nobody uses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from clebsch.errors import BackendError
from clebsch.o3 import Irreps
from clebsch.ops import ConvolutionDescriptor, ElementGroups, LinearDescriptor, ProductBasisDescriptor, get_backend
from clebsch.ops.operators import Operator, convolution, harmonics, linear, product_basis

OPERATORS = {
    name: operator
    for module in (harmonics, convolution, product_basis, linear)
    for name, operator in vars(module).items()
    if isinstance(operator, Operator)
}
K, ATOMS, EDGES = 8, 4, 6
CONVOLUTION = ConvolutionDescriptor(Irreps("0e+1o"), 2, Irreps("0e+1o"))
PRODUCT = ProductBasisDescriptor(Irreps("0e+1o"), Irreps("0e+1o"), 3)
LINEAR = LinearDescriptor(Irreps("0e+1o"), (K, K), Irreps("1o+0e"), K, by_element=True)


def draw(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(sum(shape)))


def arguments_of(name: str) -> list[Any]:
    """Constants and operands of an operator, all that can have a gradient in float64."""
    if name.startswith("spherical"):
        r, g, t = draw(EDGES, 3), draw(EDGES, 16), draw(EDGES, 3)
        return ["3", *{"spherical_harmonics": [r], "spherical_harmonics_gradient": [r, g]}.get(name, [r, g, t])]
    elements = ElementGroups.of(torch.tensor([1, 0, 1, 1]), 3)
    if name.startswith("convolution"):
        paths = len(CONVOLUTION.paths)
        operands = [draw(4, ATOMS, K), draw(EDGES, 9), draw(20, paths, K), draw(EDGES, 4)]
        G = [draw(i.dim, ATOMS, m * K) for i, m in zip(CONVOLUTION.output, CONVOLUTION.multiplicities, strict=True)]
        centers, start = torch.tensor([0, 0, 1, 2, 2, 3]), torch.tensor([0, 2, 3, 5, 6])
        by_neighbor = torch.arange(EDGES)
        edges = [torch.tensor([3, 0, 16, 5, 5, 9]), centers, centers, start, by_neighbor, start]
        directions = [operand.cos() for operand in operands] if "along" in name else []
        which = ["hYRb", G] if "gradient" in name else []
        return [convolution.key_of(CONVOLUTION), *which, *operands, *directions, *edges]
    if name.startswith("product"):
        x = [draw(4, ATOMS, K)]
        w = draw(3, sum(block.coupling.num_paths for block in PRODUCT.blocks), K)
        which = ["xw", draw(4, ATOMS, K).sin()] if "gradient" in name else []
        along = [[x[0].cos()]] if "along" in name else []
        groups = [elements.species, elements.order, elements.start]
        return [product_basis.key_of(PRODUCT), *which, x, *along, w, *groups]
    x, W = [draw(4, ATOMS, K)], [draw(3, K, K), draw(3, K, K).sin()]
    operands = {"linear": [x, W], "linear_transposed": [x[0].cos(), W], "linear_weights": [x, x[0].cos()]}[name]
    return [linear.key_of(LINEAR), "packed", *operands, elements.order, elements.start]


def mapped(value: Any, function: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    """The arguments with ``function`` of every tensor."""
    if isinstance(value, (list, tuple)):
        return [mapped(part, function) for part in value]
    return function(value) if isinstance(value, torch.Tensor) else value


def tensors_in(value: Any) -> list[torch.Tensor]:
    if isinstance(value, (list, tuple)):
        return [tensor for part in value for tensor in tensors_in(part)]
    return [value] if isinstance(value, torch.Tensor) else []


def ready(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().requires_grad_(tensor.is_floating_point())


def value_and_gradients(operator: Operator, arguments: Sequence[Any]) -> list[torch.Tensor]:
    """What it returns, the gradients of its operands, and the gradients of these."""
    variables = [tensor for tensor in tensors_in(arguments) if tensor.is_floating_point()]
    found = tensors_in(operator(*arguments))
    gradients = torch.autograd.grad([part.sum() for part in found], variables, create_graph=True, allow_unused=True)
    present = [gradient for gradient in gradients if gradient is not None and gradient.requires_grad]
    second = torch.autograd.grad([part.sum() for part in present], variables, allow_unused=True) if present else ()
    return [*found, *tensors_in(list(gradients)), *tensors_in(list(second))]


def test_all_operators_are_here():
    assert len(OPERATORS) == 14 and all(operator.kernels.keys() >= {"cpu"} for operator in OPERATORS.values())


@pytest.mark.parametrize("name", OPERATORS)
def test_meta_tensors_give_shapes_and_never_crash(name: str):
    arguments = mapped(arguments_of(name), ready)
    expected = value_and_gradients(OPERATORS[name], arguments)
    assert len(expected) > len(tensors_in(OPERATORS[name](*arguments)))
    on_meta = mapped(arguments_of(name), lambda tensor: ready(tensor.to("meta")))
    found = value_and_gradients(OPERATORS[name], on_meta)
    assert {tensor.device.type for tensor in found} == {"meta"}
    assert [tensor.shape for tensor in found] == [tensor.shape for tensor in expected]
    assert {tensor.dtype for tensor in found} == {torch.float64}


@pytest.mark.parametrize("name", OPERATORS)
def test_a_device_without_kernels_is_an_error(name: str, monkeypatch: pytest.MonkeyPatch):
    operator = OPERATORS[name]
    monkeypatch.setattr(operator, "kernels", {"cuda": operator.kernels["cpu"]})
    for arguments in (arguments_of(name), mapped(arguments_of(name), ready)):
        with pytest.raises(
            BackendError, match=rf"{name}: there are kernels for cuda, but its tensors are on cpu\. Move"
        ):
            operator(*arguments)
    monkeypatch.setattr(operator, "kernels", {})
    with pytest.raises(
        BackendError, match=r"there are kernels for no device.*backend='reference', which runs on every"
    ):
        operator(*arguments_of(name))


@pytest.mark.parametrize("name", OPERATORS)
def test_tensors_on_several_devices_are_an_error(name: str):
    """Whichever of them is somewhere else, an index too."""
    arguments = arguments_of(name)
    count = len(tensors_in(arguments))
    for elsewhere in range(count) if count > 1 else []:
        places = iter(range(count))
        mixed = mapped(arguments, lambda x, places=places, n=elsewhere: x.to("meta") if next(places) == n else x)
        with pytest.raises(BackendError, match=f"{name}: its tensors are on several devices, cpu, meta; move all of"):
            OPERATORS[name](*mixed)


@pytest.mark.parametrize("name", OPERATORS)
def test_tracers_see_shapes(name: str):
    """Fake tensors, which have shapes without values: `torch.ops.clebsch` knows the operator by its name."""
    arguments = mapped(arguments_of(name), ready)
    expected = value_and_gradients(OPERATORS[name], arguments)
    with FakeTensorMode() as mode:
        fake = mapped(arguments, mode.from_tensor)
        found = value_and_gradients(OPERATORS[name], fake)
        directly = tensors_in(getattr(torch.ops.clebsch, name)(*fake))
    assert [tensor.shape for tensor in found] == [tensor.shape for tensor in expected]
    assert [tensor.shape for tensor in directly] == [tensor.shape for tensor in expected[: len(directly)]]


@pytest.mark.parametrize("name", OPERATORS)
def test_pytorch_calls_the_kernels_and_derivatives(name: str):
    """Through ``torch.ops``, as an exported program does: the numbers of the direct way, bit for bit."""
    operator = OPERATORS[name]
    expected = value_and_gradients(operator, mapped(arguments_of(name), ready))
    found = value_and_gradients(operator.traced, mapped(arguments_of(name), ready))  # type: ignore[arg-type]
    assert len(found) == len(expected)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_keys_hold_all_of_a_descriptor():
    summed = ConvolutionDescriptor(Irreps("0e+1o+1e"), 3, Irreps("0e+2e"), "sum")
    assert convolution.descriptor_of(convolution.key_of(summed)) == summed
    distinct = ProductBasisDescriptor(Irreps("0e+1o"), Irreps("1o"), 2, True)
    assert product_basis.descriptor_of(product_basis.key_of(distinct)) == distinct
    for by_element in (False, True):
        mixing = LinearDescriptor(Irreps("0e+1o"), (3, 6), Irreps("1o+0e+1o"), 4, by_element)
        assert linear.descriptor_of(linear.key_of(mixing)) == mixing
    nothing = LinearDescriptor(Irreps([]), (), Irreps("0e"), 4)
    assert linear.descriptor_of(linear.key_of(nothing)) == nothing


def test_gradients_that_nobody_uses_are_not_computed(monkeypatch: pytest.MonkeyPatch):
    """In dE/dx the weights have no part, in the gradient by the weights the positions have none."""
    calls: list[str] = []
    for operator in (linear.linear_transposed, linear.linear_weights):
        kernel, name = operator.kernels["cpu"], operator.name
        monkeypatch.setitem(operator.kernels, "cpu", lambda *a, n=name, k=kernel: (calls.append(n), k(*a))[1])
    mixing = get_backend("cpu").linear(LinearDescriptor(Irreps("0e"), (3,), Irreps("0e"), 2), torch.float32)
    positions, weight = torch.randn(1, 4, 3, requires_grad=True), torch.randn(3, 2, requires_grad=True)
    result = mixing(positions * 2, [weight * 1], None).square().sum()
    torch.autograd.grad(result, positions, retain_graph=True)
    assert calls == ["linear_transposed"]
    result.backward(inputs=[weight])
    assert calls == ["linear_transposed", "linear_weights"]


PIECES = LinearDescriptor(Irreps("0e+1e+1o"), (3, 3, 3), Irreps("0e+2o+1o+0e"), 4)


@pytest.mark.parametrize("form", ["packed", "parts"])
def test_rows_are_mixed_block_by_block(form: str):
    """One input is used twice, one not at all, one result gets nothing."""
    x, weights = draw(7, 5, 3), [draw(3, 4), draw(3, 4).sin(), draw(3, 4).cos()]
    given = x if form == "packed" else [x[:1], x[1:4], x[4:]]
    found = get_backend("cpu").linear(PIECES, torch.float64)(given, weights, None)
    torch.testing.assert_close(found[:1], x[:1] @ weights[0] / 3**0.5)
    assert not found[1:6].any()
    torch.testing.assert_close(found[6:9], x[4:] @ weights[1] / 3**0.5)
    torch.testing.assert_close(found[9:], x[:1] @ weights[2] / 3**0.5)


@pytest.mark.parametrize("form", ["packed", "parts"])
@pytest.mark.parametrize("by_element", [False, True], ids=["one map", "by element"])
def test_mixed_rows_have_derivatives_of_every_order(form: str, by_element: bool):
    descriptor = LinearDescriptor(PIECES.irreps_in, (2, 2, 2), PIECES.irreps_out, 2, by_element)
    mixing = get_backend("cpu").linear(descriptor, torch.float64)
    elements = ElementGroups.of(torch.tensor([2, 0, 2]), 3) if by_element else None
    shape = (3, 2, 2) if by_element else (2, 2)
    x = draw(7, 3, 2).requires_grad_()
    weights = [wave(draw(*shape)).requires_grad_() for wave in (torch.sin, torch.cos, torch.tanh)]

    def call(x: torch.Tensor, *weights: torch.Tensor) -> torch.Tensor:
        given = x if form == "packed" else [x[:1], x[1:4], x[4:]]
        return mixing(given, list(weights), elements).sin()

    def gradient(x: torch.Tensor, *weights: torch.Tensor) -> tuple[torch.Tensor, ...]:
        value = call(x, *weights).square().sum()
        return torch.autograd.grad(value, [x, *weights], create_graph=True)

    assert torch.autograd.gradcheck(call, (x, *weights), check_undefined_grad=False)
    assert torch.autograd.gradgradcheck(call, (x, *weights), check_undefined_grad=False)
    assert torch.autograd.gradgradcheck(gradient, (x, *weights), check_undefined_grad=False, fast_mode=True)


@pytest.mark.parametrize("name", ["cpu", "reference"])
def test_backends_have_a_name(name: str):
    assert get_backend(name).name == name
