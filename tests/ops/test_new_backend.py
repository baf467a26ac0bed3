"""A backend is only kernels: made of the reference and put in place of the CPU's, they have all derivatives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from clebsch.o3 import Irreps
from clebsch.ops import (
    ConvolutionDescriptor,
    Edges,
    ElementGroups,
    LinearDescriptor,
    ProductBasisDescriptor,
    RadialTable,
    get_backend,
)
from clebsch.ops.operators import convolution, harmonics, linear, product_basis

REFERENCE = get_backend("reference")
Function = Callable[..., Sequence[Tensor]]  # float operands to results


def gradient(f: Function, x: Sequence[Any], G: Sequence[Tensor], along: Sequence[Any] = ()) -> list[Tensor]:
    """Gradients of G·f(x), or of its derivative along a direction, by every operand that is not None."""
    with torch.enable_grad():
        leaves = [None if a is None else a.detach().requires_grad_() for a in x]
        inputs = [leaf for leaf in leaves if leaf is not None]
        form = sum((g * part).sum() for g, part in zip(G, f(*leaves), strict=True))
        options: dict[str, Any] = {"allow_unused": True, "materialize_grads": True}
        found = torch.autograd.grad(form, inputs, create_graph=bool(along), **options)
        if along:
            dots = [dot for leaf, dot in zip(leaves, along, strict=True) if leaf is not None]
            slope = sum((a * dot).sum() for a, dot in zip(found, dots, strict=True) if dot is not None)
            found = torch.autograd.grad(slope, inputs, **options)
    return list(found)


def along(f: Function, x: Sequence[Any], dots: Sequence[Any]) -> list[Tensor]:
    """Derivative of f along a direction."""
    G = [torch.zeros_like(part) for part in f(*x)]

    def by_x(*upstream: Tensor) -> Sequence[Tensor]:
        with torch.enable_grad():
            leaves = [None if a is None else a.detach().requires_grad_() for a in x]
            form = sum((g * part).sum() for g, part in zip(upstream, f(*leaves), strict=True))
            inputs = [leaf for leaf in leaves if leaf is not None]
            return torch.autograd.grad(form, inputs, create_graph=True, allow_unused=True, materialize_grads=True)

    present = [(a, dot) for a, dot in zip(x, dots, strict=True) if a is not None]
    return gradient(by_x, G, [torch.zeros_like(a) if dot is None else dot for a, dot in present])


def chosen(letters: str, which: str, found: list[Tensor]) -> list[Tensor]:
    return [value for letter, value in zip(letters, found, strict=True) if letter in which]


# Kernels ------------------------------------------------------------------------------------------------------------


def convolve(key: str, indices: Sequence[Any]) -> Function:
    rows, centers, neighbors, *orders = indices
    species = torch.zeros(len(orders[2]) - 1, dtype=torch.long)
    edges = Edges(centers, neighbors, *orders, species, ElementGroups.of(species[: len(orders[0]) - 1], 1))

    def f(h: Tensor | None, Y: Tensor, R: Tensor, b: Tensor | None = None) -> Sequence[Tensor]:
        weights = R if b is None else RadialTable(R, rows, b)
        return REFERENCE.convolution(convolution.descriptor_of(key), Y.dtype)(h, Y, weights, edges)

    return f


def of_convolution(key: str, which: str, G: Sequence[Tensor], x: Sequence[Any], dots: Sequence[Any], e: Sequence[Any]):
    letters = "".join(letter for letter, a in zip("hYRb", x, strict=True) if a is not None)
    return chosen(letters, which, gradient(convolve(key, e), x, G, dots))


def multiply(key: str, species: Tensor) -> Function:
    def f(*operands: Tensor) -> Sequence[Tensor]:
        *x, w = operands
        module = REFERENCE.product_basis(product_basis.descriptor_of(key), w.dtype)
        return [module.of_species(x, w, species)]

    return f


def of_product(key: str, which: str, G: Tensor, x: list[Tensor], x_dot: list[Tensor], w: Tensor, species: Tensor):
    found = gradient(multiply(key, species), [*x, w], [G], [*x_dot, None] if x_dot else ())
    return chosen("x" * len(x) + "w", which, found)


def mix(key: str, groups: Sequence[Any], count: int) -> Function:
    def f(*operands: Tensor) -> Sequence[Tensor]:
        x, W, (order, start) = operands[:count], list(operands[count:]), groups
        elements = None
        if start is not None:
            by_element = torch.repeat_interleave(torch.arange(len(start) - 1), start.diff())
            elements = ElementGroups(torch.zeros_like(order).scatter(0, order, by_element), order, start)
        given = x[0] if len(x) == 1 else x
        return [REFERENCE.linear(linear.descriptor_of(key), operands[0].dtype)(given, W, elements)]

    return f


def of_linear(key: str, form: str, g: Tensor, x: list[Tensor], W: list[Tensor], groups: Sequence[Any]) -> list[Tensor]:
    return gradient(mix(key, groups, len(x)), [*x, *W], [g])


def rotate(l_max: str) -> Function:
    return lambda r: [REFERENCE.spherical_harmonics(int(l_max), r.dtype)(r)]


def second(l_max: str, r: Tensor, g: Tensor, t: Tensor) -> list[Tensor]:
    return [along(rotate(l_max), [r], [t])[0], *gradient(rotate(l_max), [r], [g], [t])]


KERNELS: dict[Any, Callable[..., Any]] = {
    convolution.convolution: lambda key, *a: list(convolve(key, a[4:])(*a[:4])),
    convolution.convolution_along: lambda key, *a: along(convolve(key, a[8:]), a[:4], a[4:8]),
    convolution.convolution_gradient: lambda key, which, G, *a: of_convolution(key, which, G, a[:4], (), a[4:]),
    convolution.convolution_gradient_along: lambda key, which, G, *a: of_convolution(
        key, which, G, a[:4], a[4:8], a[8:]
    ),
    product_basis.product_basis: lambda key, x, w, species, *_: multiply(key, species)(*x, w)[0],
    product_basis.product_basis_along: lambda key, x, x_dot, w, species, *_: along(
        multiply(key, species), [*x, w], [*x_dot, None]
    )[0],
    product_basis.product_basis_gradient: lambda key, which, G, x, w, species, *_: of_product(
        key, which, G, x, [], w, species
    ),
    product_basis.product_basis_gradient_along: lambda key, which, G, x, x_dot, w, species, *_: of_product(
        key, which, G, x, x_dot, w, species
    ),
    linear.linear: lambda key, form, x, W, *groups: mix(key, groups, len(x))(*x, *W)[0],
    linear.linear_transposed: lambda key, form, g, W, *groups: of_linear(
        key, form, g, [torch.zeros_like(x) for x in linear.empty_inputs(key, form, g)], W, groups
    )[: -len(W)],
    linear.linear_weights: lambda key, form, x, g, *groups: of_linear(
        key, form, g, x, [torch.zeros_like(W) for W in linear.empty_weights(key, g, groups[1])], groups
    )[len(x) :],
    harmonics.spherical_harmonics: lambda l_max, r: rotate(l_max)(r)[0],
    harmonics.spherical_harmonics_gradient: lambda l_max, r, g: gradient(rotate(l_max), [r], [g])[0],
    harmonics.spherical_harmonics_second: second,
}


# What is computed with them -----------------------------------------------------------------------------------------

INDEX = torch.tensor([0, 0, 1, 1]), torch.tensor([1, 0, 2, 0])
EDGES = Edges.of(*INDEX, torch.tensor([1, 0, 1]), 2, num_targets=2)


def draw(*shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randn(*shape, dtype=torch.float64, generator=generator).requires_grad_()


def convolution_problem(backend: str, *, table: bool, features: bool = True) -> tuple[Function, list[Tensor]]:
    descriptor = ConvolutionDescriptor(Irreps("0e+1o" if features else "0e"), 1, Irreps("0e+1o"), "sum")
    module, paths = get_backend(backend).convolution(descriptor, torch.float64), len(descriptor.paths)
    radial = [draw(8, paths, 2), draw(4, 4)] if table else [draw(4, paths, 2)]

    def call(*operands: Tensor) -> Sequence[Tensor]:
        h, Y, R, *b = operands if features else (None, *operands)
        return module(h, Y, RadialTable(R, torch.tensor([2, 0, 4, 1]), *b) if table else R, EDGES)

    return call, [*([draw(4, 3, 2)] if features else []), draw(4, 4), *radial]


def product_problem(backend: str, *, distinct: bool) -> tuple[Function, list[Tensor]]:
    descriptor = ProductBasisDescriptor(Irreps("0e+1o"), Irreps("1o"), 2, distinct)
    module = get_backend(backend).product_basis(descriptor, torch.float64)
    x = [draw(4, 3, 2) * factor for factor in ([1.0, 0.7] if distinct else [1.0])]
    w = draw(2, sum(block.coupling.num_paths for block in descriptor.blocks), 2)
    groups = ElementGroups.of(EDGES.species, 2)
    return lambda *operands: [module(operands[:-1], operands[-1], groups)], [*map(_leaf, x), w]


def linear_problem(backend: str, *, by_element: bool) -> tuple[Function, list[Tensor]]:
    descriptor = LinearDescriptor(Irreps("0e+1o"), (2, 2), Irreps("1o+0e+1o"), 2, by_element)
    module, shape = get_backend(backend).linear(descriptor, torch.float64), (2, 2, 2) if by_element else (2, 2)
    groups = ElementGroups.of(EDGES.species, 2) if by_element else None
    weights = [_leaf(draw(*shape) * factor) for factor in (1.0, 0.7, -0.4)]
    return lambda x, *W: [module(x, list(W), groups).sin()], [draw(4, 3, 2), *weights]


def harmonics_problem(backend: str) -> tuple[Function, list[Tensor]]:
    module = get_backend(backend).spherical_harmonics(2, torch.float64)
    return lambda r: [module(r)], [draw(3, 3)]


def _leaf(tensor: Tensor) -> Tensor:
    return tensor.detach().requires_grad_()


PROBLEMS: dict[str, tuple[Callable[..., tuple[Function, list[Tensor]]], dict[str, bool]]] = {
    "convolution": (convolution_problem, {"table": False}),
    "convolution with a table": (convolution_problem, {"table": True}),
    "convolution without features": (convolution_problem, {"table": True, "features": False}),
    "product basis": (product_problem, {"distinct": False}),
    "product basis of distinct factors": (product_problem, {"distinct": True}),
    "linear": (linear_problem, {"by_element": False}),
    "linear by element": (linear_problem, {"by_element": True}),
    "harmonics": (harmonics_problem, {}),
}


def derivatives(call: Function, operands: list[Tensor], order: int) -> list[Tensor]:
    """Value and all derivatives up to an order, each along fixed directions."""
    found, parts = list(call(*operands)), list(call(*operands))
    upstream = [_leaf(torch.cos(part)) for part in parts]
    form = torch.stack([(part * u).sum() for part, u in zip(parts, upstream, strict=True)]).sum()
    for _ in range(order):
        slopes = torch.autograd.grad(
            form, [*operands, *upstream], create_graph=True, allow_unused=True, materialize_grads=True
        )
        found += slopes
        form = torch.stack([(s * torch.sin(torch.arange(s.numel()).view(s.shape) + 1)).sum() for s in slopes]).sum()
    return found


@pytest.fixture
def new_backend(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The modules of `ops.operators` on these kernels; the names of those that ran."""
    ran: set[str] = set()
    for operator, kernel in KERNELS.items():
        name = operator.name
        monkeypatch.setattr(operator, "kernels", {"cpu": lambda *a, n=name, k=kernel: (ran.add(n), k(*a))[1]})
    return ran


@pytest.mark.parametrize("name", PROBLEMS)
def test_kernels_alone_give_all_derivatives(name: str, new_backend: set[str]):
    make, options = PROBLEMS[name]
    call, operands = make("cpu", **options)
    found = derivatives(call, operands, 3)
    expected = derivatives(make("reference", **options)[0], operands, 3)
    for value, other in zip(found, expected, strict=True):
        size = float(other.detach().abs().max())
        torch.testing.assert_close(value, other, rtol=1e-12, atol=1e-12 * size)
    assert torch.autograd.gradcheck(call, operands, fast_mode=True, check_undefined_grad=False)
    assert torch.autograd.gradgradcheck(call, operands, fast_mode=True, check_undefined_grad=False)
    kind = {"linear": 3, "convolution": 4, "product": 4, "harmonics": 3}[name.split()[0]]
    assert len(new_backend) == kind


def test_every_operator_has_such_a_kernel():
    assert len(KERNELS) == 14
