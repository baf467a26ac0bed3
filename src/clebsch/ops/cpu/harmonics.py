"""Kernels of the spherical harmonics and their first and second derivatives."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor

from clebsch.o3 import clebsch_gordan, recursion_factors
from clebsch.ops.cpu.algebra import Expressions, Node
from clebsch.ops.cpu.compile import REAL, CompiledKernel, load_kernel
from clebsch.ops.cpu.emit import Kernel
from clebsch.ops.cpu.threads import num_threads
from clebsch.ops.operators import harmonics as operators
from clebsch.ops.operators.operator import implement

# What every kernel reads and writes of an edge: r vectors, g upstream of Y, t upstream of the gradient by r.
READS = {"value": "r", "gradient": "rg", "second": "rgt"}
WRITES = {"value": "Y", "gradient": "r", "second": "gr"}


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


@lru_cache
def _program(kind: str, l_max: int) -> tuple[Expressions, list[Node]]:
    """The expressions of a kernel, and which of them it writes, one array after another."""
    sizes, graph_size = _sizes(l_max), 0
    places: dict[str, list[Node]] = {}
    for letter in READS[kind]:
        places[letter] = list(range(graph_size, graph_size + sizes[letter]))
        graph_size += sizes[letter]
    graph = Expressions(graph_size)
    return graph, [node for part in _outputs(kind, graph, places, l_max) for node in part]


def _emit(kind: str, l_max: int, real: str, name: str) -> str:
    sizes, (graph, outputs) = _sizes(l_max), _program(kind, l_max)
    inputs, results = [f"in_{letter}" for letter in READS[kind]], [f"out_{letter}" for letter in WRITES[kind]]
    kernel = Kernel(name, real, 1, dict.fromkeys([*inputs, *results], "real*"))
    with kernel.loop(kernel["start"], kernel["stop"]) as edge:
        variables = [
            kernel.load_number(kernel[source], kernel.linear((edge, sizes[letter]), place))
            for source, letter in zip(inputs, READS[kind], strict=True)
            for place in range(sizes[letter])
        ]
        values = iter(graph.emit(kernel, variables, outputs))
        for result, letter in zip(results, WRITES[kind], strict=True):
            for place in range(sizes[letter]):
                kernel.store_number(next(values), kernel[result], kernel.linear((edge, sizes[letter]), place))
    return kernel.finish()


def kernel_source(kind: str, l_max: int, dtype: torch.dtype) -> tuple[str, bytes, Callable[[str], str]]:
    """Return name, signature and emitter of a kernel ("value", "gradient", "second"), as `object_code` takes them."""
    graph, outputs = _program(kind, l_max)
    name = f"spherical harmonics {kind} {l_max} {REAL[dtype]}"
    return name, graph.signature(outputs), lambda symbol: _emit(kind, l_max, REAL[dtype], symbol)


@lru_cache
def _kernel(kind: str, l_max: int, dtype: torch.dtype) -> CompiledKernel:
    name, signature, emit = kernel_source(kind, l_max, dtype)
    return load_kernel(name, signature, len(READS[kind]) + len(WRITES[kind]), emit)


def _run(kind: str, l_max: int, *inputs: Tensor) -> list[Tensor]:
    edges, sizes = inputs[0].shape[0], _sizes(l_max)
    results = [inputs[0].new_empty(edges, sizes[letter]) for letter in WRITES[kind]]
    threads = num_threads(edges, 20.0 * sizes["Y"] * edges)
    _kernel(kind, l_max, inputs[0].dtype)(edges, [x.contiguous() for x in inputs] + results, threads=threads)
    return results


def _value(l_max: str, r: Tensor) -> Tensor:
    return _run("value", int(l_max), r)[0]


def _gradient(l_max: str, r: Tensor, g: Tensor) -> Tensor:
    return _run("gradient", int(l_max), r, g)[0]


def _second(l_max: str, r: Tensor, g: Tensor, t: Tensor) -> list[Tensor]:
    return _run("second", int(l_max), r, g, t)


implement(operators.spherical_harmonics, "cpu", _value)
implement(operators.spherical_harmonics_gradient, "cpu", _gradient)
implement(operators.spherical_harmonics_second, "cpu", _second)
