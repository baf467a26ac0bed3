"""Spherical harmonics of edge vectors and their first and second derivatives."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from clebsch.o3 import clebsch_gordan, recursion_factors
from clebsch.ops.cpu.algebra import Expressions, Node
from clebsch.ops.cpu.compile import REAL, CompiledKernel, load_kernel
from clebsch.ops.cpu.emit import Kernel
from clebsch.ops.cpu.threads import num_threads
from clebsch.ops.reference.harmonics import SphericalHarmonics as Reference

# What every kernel reads and writes of an edge: r vectors, g upstream of Y, t upstream of the gradient by r.
READS = {"value": "r", "gradient": "rg", "second": "rgt"}
WRITES = {"value": "Y", "gradient": "r", "second": "gr"}

_library = torch.library.Library("clebsch", "FRAGMENT")
_library.define("spherical_harmonics(Tensor r, int l_max) -> Tensor")
_library.define("spherical_harmonics_backward(Tensor r, Tensor g, int l_max) -> Tensor")
_library.define("spherical_harmonics_second(Tensor r, Tensor g, Tensor t, int l_max) -> (Tensor, Tensor)")


def _sizes(l_max: int) -> dict[str, int]:
    return {"r": 3, "t": 3, "g": (l_max + 1) ** 2, "Y": (l_max + 1) ** 2}


def _harmonics(graph: Expressions, vector: list[Node], l_max: int) -> list[Node]:
    """Y of the direction of a vector, by coupling with l = 1 (see the reference backend)."""
    inverse = graph.inverse_root(graph.dot(vector, vector))
    first = [graph.multiply(graph.constant(3**0.5), graph.multiply(inverse, x)) for x in vector]
    degrees = [[graph.constant(1.0)]]
    for degree, factor in enumerate(recursion_factors(l_max)):
        coupling = factor * clebsch_gordan(degree, 1, degree + 1)
        following = []
        for c in range(2 * degree + 3):
            total = graph.constant(0.0)
            for a, left in enumerate(degrees[-1]):
                for b, right in enumerate(first):
                    if abs(coupling[a, b, c]) > 1e-12:
                        product = graph.multiply(left, right)
                        total = graph.add(total, graph.multiply(graph.constant(coupling[a, b, c]), product))
            following.append(total)
        degrees.append(following)
    return [node for degree in degrees for node in degree]


def _outputs(kind: str, graph: Expressions, places: dict[str, list[Node]], l_max: int) -> list[list[Node]]:
    """Expressions of what a kernel writes."""
    harmonics = _harmonics(graph, places["r"], l_max)
    if kind == "value":
        return [harmonics]
    gradient = graph.gradient(graph.dot(places["g"], harmonics), places["r"])
    if kind == "gradient":
        return [gradient]
    slope = graph.dot(places["t"], gradient)
    return [graph.gradient(slope, places["g"]), graph.gradient(slope, places["r"])]


def _emit(kind: str, l_max: int, real: str, name: str) -> str:
    sizes, graph_size = _sizes(l_max), 0
    places: dict[str, list[Node]] = {}
    for letter in READS[kind]:
        places[letter] = list(range(graph_size, graph_size + sizes[letter]))
        graph_size += sizes[letter]
    graph = Expressions(graph_size)
    outputs = _outputs(kind, graph, places, l_max)
    inputs, results = [f"in_{letter}" for letter in READS[kind]], [f"out_{letter}" for letter in WRITES[kind]]
    kernel = Kernel(name, real, 1, dict.fromkeys([*inputs, *results], "real*"))
    with kernel.loop(kernel["start"], kernel["stop"]) as edge:
        variables = [
            kernel.load_number(kernel[source], kernel.linear((edge, sizes[letter]), place))
            for source, letter in zip(inputs, READS[kind], strict=True)
            for place in range(sizes[letter])
        ]
        values = iter(graph.emit(kernel, variables, [node for part in outputs for node in part]))
        for result, letter in zip(results, WRITES[kind], strict=True):
            for place in range(sizes[letter]):
                kernel.store_number(next(values), kernel[result], kernel.linear((edge, sizes[letter]), place))
    return kernel.finish()


@lru_cache
def _kernel(kind: str, l_max: int, dtype: torch.dtype) -> CompiledKernel:
    count = len(READS[kind]) + len(WRITES[kind])
    key = f"spherical harmonics {kind} {l_max} {dtype}"
    return load_kernel(key, count, lambda name: _emit(kind, l_max, REAL[dtype], name))


def _run(kind: str, l_max: int, *inputs: Tensor) -> list[Tensor]:
    edges, sizes = inputs[0].shape[0], _sizes(l_max)
    results = [inputs[0].new_empty(edges, sizes[letter]) for letter in WRITES[kind]]
    threads = num_threads(edges, 20.0 * sizes["Y"] * edges)
    _kernel(kind, l_max, inputs[0].dtype)(edges, [x.contiguous() for x in inputs] + results, threads=threads)
    return results


def _value(r: Tensor, l_max: int) -> Tensor:
    return _run("value", l_max, r)[0]


def _gradient(r: Tensor, g: Tensor, l_max: int) -> Tensor:
    return _run("gradient", l_max, r, g)[0]


def _second(r: Tensor, g: Tensor, t: Tensor, l_max: int) -> tuple[Tensor, Tensor]:
    found = _run("second", l_max, r, g, t)
    return found[0], found[1]


def _save(ctx: Any, inputs: tuple, output: object) -> None:
    *tensors, ctx.l_max = inputs
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*tensors)


def _backward_of_value(ctx: Any, g: Tensor | None) -> tuple:
    (r,) = ctx.saved_tensors
    return (None if g is None else torch.ops.clebsch.spherical_harmonics_backward(r, g, ctx.l_max)), None


def _backward_of_gradient(ctx: Any, t: Tensor | None) -> tuple:
    if t is None:
        return None, None, None
    r, g = ctx.saved_tensors
    by_upstream, by_vectors = torch.ops.clebsch.spherical_harmonics_second(r, g, t, ctx.l_max)
    return by_vectors, by_upstream, None


def _backward_of_second(ctx: Any, *grads: Tensor | None) -> tuple:
    """Third and higher derivatives: those of the reference."""
    inputs = ctx.saved_tensors
    reference = Reference(ctx.l_max, inputs[0].dtype)
    with torch.enable_grad():
        r, g, t = (x if x.requires_grad else x.detach().requires_grad_() for x in inputs)
        (gradient,) = torch.autograd.grad(reference(r), r, g, create_graph=True)
        outputs = torch.autograd.grad(gradient, (g, r), t, create_graph=True, materialize_grads=True)
        pairs = [(o, u) for o, u in zip(outputs, grads, strict=True) if u is not None and o.requires_grad]
    if not pairs:
        return None, None, None, None
    found = torch.autograd.grad(
        [o for o, _ in pairs],
        (r, g, t),
        [u for _, u in pairs],
        create_graph=torch.is_grad_enabled(),
        allow_unused=True,
    )
    return (*found, None)


for _name, _call, _fake, _backward in (
    ("spherical_harmonics", _value, lambda r, l_max: r.new_empty(r.shape[0], (l_max + 1) ** 2), _backward_of_value),
    ("spherical_harmonics_backward", _gradient, lambda r, g, l_max: torch.empty_like(r), _backward_of_gradient),
    (
        "spherical_harmonics_second",
        _second,
        lambda r, g, t, l_max: (torch.empty_like(g), torch.empty_like(r)),
        _backward_of_second,
    ),
):
    _library.impl(_name, _call, "CPU")
    torch.library.register_fake(f"clebsch::{_name}", _fake, lib=_library)
    torch.library.register_autograd(f"clebsch::{_name}", _backward, setup_context=_save, lib=_library)


class SphericalHarmonics(nn.Module):
    """Real spherical harmonics of the directions of vectors, as the reference backend defines them.

    Args:
        l_max: highest degree.
        dtype: of the arithmetic.
    """

    def __init__(self, l_max: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.l_max = l_max

    def forward(self, vectors: Tensor) -> Tensor:
        """Vectors [edges, 3] of any length but zero to harmonics [edges, (l_max + 1)^2]."""
        if self.l_max == 0:
            return torch.ones_like(vectors[:, :1])
        return torch.ops.clebsch.spherical_harmonics(vectors, self.l_max)
