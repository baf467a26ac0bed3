"""The product basis as PyTorch operators: two orders of derivatives by kernels, higher ones by the reference."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from clebsch.o3 import Irreps
from clebsch.ops.cpu.compile import REAL, CompiledKernel, channel_width, load_kernel
from clebsch.ops.cpu.polynomials import Polynomials, polynomials
from clebsch.ops.cpu.product_basis_kernels import ProductBasisProgram, emit_product_basis
from clebsch.ops.cpu.threads import num_threads
from clebsch.ops.descriptors import ProductBasisDescriptor
from clebsch.ops.orders import group_by_element
from clebsch.ops.reference.product_basis import ProductBasis as Reference
from clebsch.ops.registration import register

_ATOMS = "Tensor order, Tensor start"


def key_of(descriptor: ProductBasisDescriptor) -> str:
    """The descriptor as a string that an exported program can carry."""
    kind = "distinct" if descriptor.distinct else "equal"
    return f"{descriptor.features} {descriptor.output} {descriptor.correlation} {kind}"


@lru_cache
def descriptor_of(key: str) -> ProductBasisDescriptor:
    """The descriptor of a key."""
    features, output, correlation, kind = key.split(" ")
    return ProductBasisDescriptor(Irreps(features), Irreps(output), int(correlation), kind == "distinct")


def _polynomials(key: str) -> Polynomials:
    return polynomials(descriptor_of(key))


@lru_cache
def _kernel(
    key: str, kind: str, dual: bool, channels: int, dtype: torch.dtype
) -> tuple[CompiledKernel, Tensor, Tensor]:
    """The kernel, its tables and the couplings."""
    width = channel_width(channels, dtype)
    program = ProductBasisProgram(descriptor_of(key), kind, dual, channels, width, REAL[dtype])
    compiled = load_kernel(
        "product basis", program.signature, len(program.arguments), lambda name: emit_product_basis(program, name)
    )
    tables, _, couplings = program.tables
    return compiled, torch.from_numpy(tables), torch.from_numpy(couplings).to(dtype)


def _run(
    key: str,
    kind: str,
    x: Sequence[Tensor],
    x_dot: Sequence[Tensor],
    results: Sequence[Tensor],
    atoms: Sequence[Tensor],
) -> None:
    """Run a kernel; ``results`` are what it reads and writes besides the variables."""
    order, start = atoms
    channels, count = x[0].shape[2], order.shape[0]
    kernel, tables, couplings = _kernel(key, kind, bool(x_dot), channels, x[0].dtype)
    items = channels // channel_width(channels, x[0].dtype) if kind == "weights" else count
    threads = num_threads(items, 4.0 * len(couplings) * channels * count)
    operands = [*x, *x_dot, *results, couplings, order, start, tables, count, start.shape[0] - 1]
    kernel(items, operands, threads=threads)


def _value(key: str, x: list[Tensor], w: Tensor, *atoms: Tensor) -> Tensor:
    return _tangent(key, x, [], w, *atoms)


def _tangent(key: str, x: list[Tensor], x_dot: list[Tensor], w: Tensor, *atoms: Tensor) -> Tensor:
    B = x[0].new_empty(_polynomials(key).outputs, *x[0].shape[1:])
    _run(key, "value", _contiguous(x), _contiguous(x_dot), [w.contiguous(), B], atoms)
    return B


def _backward(key: str, wanted: str, G: Tensor, x: list[Tensor], w: Tensor, *atoms: Tensor) -> list[Tensor]:
    return _backward_tangent(key, wanted, G, x, [], w, *atoms)


def _backward_tangent(
    key: str, wanted: str, G: Tensor, x: list[Tensor], x_dot: list[Tensor], w: Tensor, *atoms: Tensor
) -> list[Tensor]:
    x, x_dot, G = _contiguous(x), _contiguous(x_dot), G.contiguous()
    found = []
    if "x" in wanted:
        found += [torch.empty_like(factor) for factor in x]
        _run(key, "gradient", x, x_dot, [w.contiguous(), G, *found], atoms)
    if "w" in wanted:
        found.append(torch.zeros_like(w, memory_format=torch.contiguous_format))
        _run(key, "weights", x, x_dot, [found[-1], G], atoms)
    return found


def _contiguous(tensors: Sequence[Tensor]) -> list[Tensor]:
    return [tensor.contiguous() for tensor in tensors]


def _fake_value(key: str, x: list[Tensor], *rest: Any) -> Tensor:
    return x[0].new_empty(_polynomials(key).outputs, *x[0].shape[1:])


def _fake_gradients(key: str, wanted: str, G: Tensor, x: list[Tensor], *rest: Any) -> list[Tensor]:
    found = [torch.empty_like(factor) for factor in x] if "x" in wanted else []
    return found + ([torch.empty_like(rest[-3])] if "w" in wanted else [])


# Autograd ---------------------------------------------------------------------------------------------------------


def _wanted(by_x: Sequence[bool], by_w: Sequence[bool]) -> str:
    return ("x" if any(by_x) else "") + ("w" if any(by_w) else "")


def _split(wanted: str, found: Sequence[Any], factors: int) -> tuple[list[Any] | None, Any]:
    """Gradients by x and by w, None for those not wanted."""
    return list(found[:factors]) if "x" in wanted else None, found[-1] if "w" in wanted else None


def _backward_of_value(texts: tuple, arguments: list, grads: list, needed: list) -> list:
    (key,), (x, w, *atoms), (G,) = texts, arguments, grads
    wanted = _wanted(needed[0], needed[1])
    found = product_basis_backward(key, wanted, G, x, w, *atoms) if wanted else []
    return [*_split(wanted, found, len(x)), None, None]


def _backward_of_backward(texts: tuple, arguments: list, grads: list, needed: list) -> list:
    (key, wanted), (G, x, w, *atoms) = texts, arguments
    needs_G, needs_x = any(needed[0]), any(needed[1])
    by_G, by_x, by_w = None, None, None
    x_dot, w_dot = _split(wanted, grads, len(x))
    if w_dot is not None:  # the derivative along w is the value with other weights
        by_G = product_basis(key, x, w_dot, *atoms) if needs_G else None
        by_x = product_basis_backward(key, "x", G, x, w_dot, *atoms) if needs_x else None
    if x_dot is not None and any(dot is not None for dot in x_dot):
        x_dot = [torch.zeros_like(a) if dot is None else dot for a, dot in zip(x, x_dot, strict=True)]
        if needs_G:
            found = product_basis_tangent(key, x, x_dot, w, *atoms)
            by_G = found if by_G is None else by_G + found
        again = _wanted(needed[1], needed[2])
        if again:
            found = product_basis_backward_tangent(key, again, G, x, x_dot, w, *atoms)
            slope, by_w = _split(again, found, len(x))
            by_x = slope if by_x is None or slope is None else [a + b for a, b in zip(by_x, slope, strict=True)]
    return [by_G, by_x, by_w, None, None]


def _backward_of_tangent(texts: tuple, arguments: list, grads: list, needed: list) -> list:
    (key,), (x, x_dot, w, *atoms) = texts, arguments
    G = x[0].new_zeros(_polynomials(key).outputs, *x[0].shape[1:])
    found = _differentiate_reference(key, G, (x, x_dot, w, atoms), grads, "B")
    return [*found[:3], None, None]


def _backward_of_backward_tangent(texts: tuple, arguments: list, grads: list, needed: list) -> list:
    (key, wanted), (G, x, x_dot, w, *atoms) = texts, arguments
    found = _differentiate_reference(key, G, (x, x_dot, w, atoms), grads, wanted)
    return [found[3], *found[:3], None, None]


def _differentiate_reference(
    key: str, G: Tensor, operands: tuple, grads: Sequence[Tensor | None], wanted: str
) -> tuple[list[Tensor], list[Tensor], Tensor, Tensor]:
    """Derivatives by x, x_dot, w and G of what a tangent operator returns, weighted with ``grads``."""
    x, x_dot, w, (order, start) = operands
    create = torch.is_grad_enabled()
    with torch.enable_grad():
        x, x_dot = [_leaf(a) for a in x], [_leaf(a) for a in x_dot]
        w, G = _leaf(w), _leaf(G)
        reference = Reference(descriptor_of(key), w.dtype)
        sizes = [block.coupling.num_paths for block in reference.descriptor.blocks]
        species = torch.empty_like(order)
        species[order] = torch.repeat_interleave(torch.arange(len(start) - 1), start.diff())
        B = reference(x, w.split(sizes, dim=1), species)
        slopes = torch.autograd.grad(B, x, G, create_graph=True, materialize_grads=True)
        form = torch.stack([(slope * dot).sum() for slope, dot in zip(slopes, x_dot, strict=True)]).sum()
        sources = [G] if wanted == "B" else [*(x if "x" in wanted else []), *([w] if "w" in wanted else [])]
        outputs = torch.autograd.grad(form, sources, create_graph=True, materialize_grads=True)
        parts = [(o * u).sum() for o, u in zip(outputs, grads, strict=True) if u is not None]
        total = torch.stack(parts).sum() if parts else None
    inputs = [*x, *x_dot, w, G]
    if total is None or not total.requires_grad:
        found = [torch.zeros_like(a) for a in inputs]
    else:
        found = list(torch.autograd.grad(total, inputs, create_graph=create, materialize_grads=True))
    count = len(x)
    return list(found[:count]), list(found[count:-2]), found[-2], found[-1]


def _leaf(tensor: Tensor) -> Tensor:
    return tensor if tensor.requires_grad else tensor.detach().requires_grad_()


product_basis = register(
    f"product_basis(str key, Tensor[] x, Tensor w, {_ATOMS}) -> Tensor", _value, _fake_value, _backward_of_value
)
product_basis_tangent = register(
    f"product_basis_tangent(str key, Tensor[] x, Tensor[] x_dot, Tensor w, {_ATOMS}) -> Tensor",
    _tangent,
    _fake_value,
    _backward_of_tangent,
)
product_basis_backward = register(
    f"product_basis_backward(str key, str wanted, Tensor G, Tensor[] x, Tensor w, {_ATOMS}) -> Tensor[]",
    _backward,
    _fake_gradients,
    _backward_of_backward,
)
product_basis_backward_tangent = register(
    "product_basis_backward_tangent(str key, str wanted, Tensor G, Tensor[] x, Tensor[] x_dot, Tensor w, "
    f"{_ATOMS}) -> Tensor[]",
    _backward_tangent,
    _fake_gradients,
    _backward_of_backward_tangent,
)


class ProductBasis(nn.Module):
    """The product basis of :class:`~clebsch.ops.ProductBasisDescriptor`, in one pass over the atoms.

    Args:
        descriptor: factors, output and correlation order.
        dtype: of the arithmetic.
    """

    def __init__(self, descriptor: ProductBasisDescriptor, dtype: torch.dtype) -> None:
        super().__init__()
        self.descriptor = descriptor
        self.key = key_of(descriptor)
        self.dtype = dtype

    def forward(self, factors: Sequence[Tensor], weights: Sequence[Tensor], species: Tensor) -> Tensor:
        """Multiply, couple, weight and sum; arguments and result as in the reference backend."""
        if not self.descriptor.blocks:
            return factors[0].new_zeros(sum(i.dim for i in self.descriptor.output), *factors[0].shape[1:])
        packed = weights[0] if len(weights) == 1 else torch.cat(list(weights), dim=1)
        groups = group_by_element(species, packed.shape[0])
        return product_basis(self.key, list(factors), packed, *groups)

    def uncontracted(self, factors: Sequence[Tensor]) -> list[Tensor]:
        """The basis before the weights, as the reference backend computes it."""
        return Reference(self.descriptor, self.dtype).to(factors[0].device).uncontracted(factors)
