"""Steps of a program that run kernels of linear maps, convolutions and product bases."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from clebsch.deploy.compiled.program import Array, Program
from clebsch.models.linear import IrrepsLinear
from clebsch.o3 import Irreps
from clebsch.ops import ConvolutionDescriptor, ProductBasisDescriptor
from clebsch.ops.cpu.convolution_kernels import ConvolutionProgram, emit_pool, emit_send
from clebsch.ops.cpu.linear_kernels import JOB, LinearProgram, emit_linear
from clebsch.ops.cpu.product_basis_kernels import ProductBasisProgram, emit_product_basis

View = tuple[Array, int]  # an array, and how many numbers of every item come before


def components(irreps: Irreps) -> int:
    """Components of irreps."""
    return sum(irrep.dim for irrep in irreps)


@dataclass(frozen=True)
class _Job:
    """One matrix product of a map, as `linear_kernels.JOB` has it; ``source`` is the place among the inputs."""

    source: int
    weight: int
    first_in: int
    first_out: int
    dim: int
    width_in: int
    width_out: int
    adds: bool

    def numbers(self) -> list[int]:
        """The entry of the table."""
        return [*(getattr(self, name) for name in JOB if name not in ("again", "adds")), 0, int(self.adds)]


class LinearMap:
    """A map of features of targets, x W and its transposed, which is one with the transposed matrices.

    Args:
        program: what the steps are added to.
        module: the map.
        form: "packed", one array of all irreps, or "parts", one per irrep.
    """

    def __init__(self, program: Program, module: IrrepsLinear, form: str = "packed") -> None:
        self.program, self.module, self.form = program, module, form
        self.descriptor = module.descriptor
        self.parts = [irrep.dim * width for irrep, width in zip(self.descriptor.irreps_in, self.descriptor.channels_in)]

    def value(self, inputs: Sequence[View], unit: str = "TARGETS", into: Array | None = None) -> Array:
        """Return x W, in an array that has room for ``unit``, or added to one that is there."""
        descriptor = self.descriptor
        result = into or self.program.array(unit, descriptor.components * descriptor.channels)
        if into is None and None in descriptor.sources:
            self.program.step(f"zero(p, {result.at()}, {result.count});", result)
        jobs = []
        for (first_out, dim), source in zip(descriptor.places_out, descriptor.sources, strict=True):
            if source is not None:
                place, first_in = (0, descriptor.places_in[source][0]) if self.form == "packed" else (source, 0)
                widths = descriptor.channels_in[source], descriptor.channels
                jobs.append(_Job(place, len(jobs), first_in, first_out, dim, *widths, into is not None))
        self._run(jobs, list(self.module.weights.values()), inputs, (result, 0))
        return result

    def transposed(self, upstream: Array, into: Array | None = None) -> Array:
        """Return G Wᵀ, the irreps of the input one after another, or added to an array that is there."""
        descriptor, program = self.descriptor, self.program
        result = into or program.array("TARGETS", sum(self.parts))
        if into is None and not set(descriptor.sources).issuperset(range(len(descriptor.irreps_in))):
            program.step(f"zero(p, {result.at()}, {result.count});", result)
        matrices = [weight.mT.contiguous() for weight in self.module.weights.values()]
        groups: dict[int, list[_Job]] = {}
        numbers = iter(range(len(matrices)))
        for (first, dim), source in zip(descriptor.places_out, descriptor.sources, strict=True):
            if source is not None:
                group = groups.setdefault(source, [])
                first_out = descriptor.places_in[source][0] if self.form == "packed" else 0
                widths = descriptor.channels, descriptor.channels_in[source]
                adds = into is not None or bool(group)
                group.append(_Job(0, next(numbers), first, first_out, dim, *widths, adds))
        if self.form == "packed":
            groups = {0: [job for group in groups.values() for job in group]}
        for source, group in groups.items():
            self._run(group, matrices, [(upstream, 0)], (result, sum(self.parts[:source])))
        return result

    def views(self, array: Array) -> list[View]:
        """Return the inputs in one array."""
        if self.form == "packed":
            return [(array, 0)]
        return [(array, sum(self.parts[:index])) for index in range(len(self.parts))]

    def _run(self, jobs: Sequence[_Job], matrices: Sequence[Tensor], inputs: Sequence[View], result: View) -> None:
        program, descriptor = self.program, self.descriptor
        width = program.target.channel_width(math.gcd(*(job.width_out for job in jobs)), program.dtype)
        emitted = LinearProgram("value", descriptor.by_element, width, program.real)
        symbol = program.kernel("linear value", emitted.signature, lambda name: emit_linear(emitted, name))
        table = np.array([job.numbers() for job in jobs], dtype=np.int64)
        work = sum(job.dim * job.width_in * job.width_out for job in jobs)
        fields = (
            symbol,
            program.constant(table, "int64_t"),
            len(jobs),
            program.reals(np.array(descriptor.scales)),
            int(descriptor.by_element),
            f"{2.0 * work}",
        )
        addresses = ", ".join(array.at(first) for array, first in inputs)
        weights = ", ".join(program.reals(matrix) for matrix in matrices)
        rows = ["m" if array.unit == "SOURCES" else "n" for array in (inputs[0][0], result[0])]
        program.step(
            f"""{{
    static const linear_map map = {{{", ".join(map(str, fields))}}};
    const void *inputs[] = {{{addresses}}}, *matrices[] = {{{weights}}};
    run_linear(p, &map, inputs, matrices, {result[0].at(result[1])}, {", ".join(rows)});
  }}""",
            *(array for array, _ in inputs),
            result[0],
        )


class ConvolutionMap:
    """A convolution with radial weights by splines, and its derivatives.

    Args:
        program: what the steps are added to.
        descriptor: what is coupled with what.
        table: control points [rows, paths, channels].
        by_pair: whether they differ by element pair.
        constant: whether h = 1.
    """

    def __init__(
        self, program: Program, descriptor: ConvolutionDescriptor, table: Tensor, by_pair: bool, constant: bool
    ) -> None:
        self.program, self.descriptor, self.channels = program, descriptor, table.shape[2]
        width = program.target.channel_width(self.channels, program.dtype)
        self.emitted = ConvolutionProgram(descriptor, self.channels, width, program.real, True, constant)
        self.table, self.rows = program.reals(table), "p->pair_rows" if by_pair else "p->rows"
        self.widths = [
            irrep.dim * multiplicity * self.channels
            for irrep, multiplicity in zip(descriptor.output, descriptor.multiplicities, strict=True)
        ]

    def pool(self, sent: Array | None) -> Array:
        """Return A, its irreps one after another."""
        result = self.program.array("TARGETS", sum(self.widths))
        symbol = self.program.kernel(
            "convolution pool ", self.emitted.signature, lambda name: emit_pool(self.emitted, name, "")
        )
        operands = [*self._operands(sent), *self._outputs(result), self.rows, "p->neighbors", "p->center_start"]
        self._run(symbol, "n", operands, *_present(sent), result)
        return result

    def send(self, sent: Array | None, upstream: Array, *, wanted: bool, first: bool) -> Array | None:
        """Add the derivatives by harmonics and spline values to those of the pairs; return that by h.

        Args:
            sent: h.
            upstream: derivative by A.
            wanted: whether the derivative by h is.
            first: whether there is nothing to add to yet.
        """
        program, harmonics = self.program, self.emitted.harmonics
        found = program.array("SOURCES", sent.width) if sent is not None and wanted else None
        which = "Yb" if found is None else "hYb"
        symbol = program.kernel(
            f"convolution send - {which}",
            self.emitted.signature,
            lambda name: emit_send(self.emitted, name, "", which),
        )
        totals = {"p->harmonics_gradient": harmonics, "p->basis_gradient": 4}
        own = [] if first else [program.array("EDGES", width) for width in totals.values()]
        targets = list(totals) if first else [array.at() for array in own]
        results = [found.at() if found else "NULL", targets[0], "NULL", targets[1]]
        indices = [self.rows, "p->centers", "p->by_neighbor", "p->neighbor_start"]
        operands = [*self._operands(sent), *results, *self._outputs(upstream), *indices]
        self._run(symbol, "m", operands, *_present(sent, found), upstream, *own)
        for array, total in zip(own, totals):
            program.step(f"add(p, {array.at()}, {total}, {array.count});", array)
        return found

    def _operands(self, sent: Array | None) -> list[str]:
        return [sent.at() if sent else "NULL", "p->harmonics", self.table, "p->basis"]

    def _outputs(self, array: Array) -> list[str]:
        return [array.at(sum(self.widths[:index])) for index in range(len(self.widths))]

    def _run(self, symbol: str, items: str, operands: Sequence[str], *arrays: Array) -> None:
        work = f"{2.0 * self.emitted.num_entries * self.channels} * (double)e"
        self.program.step(kernel_call(symbol, items, work, operands, ("n", "m")), *arrays)


class ProductMap:
    """A product basis and its derivative by the factors.

    Args:
        program: what the steps are added to.
        descriptor: couplings.
        weights: [elements, paths, channels].
    """

    def __init__(self, program: Program, descriptor: ProductBasisDescriptor, weights: Tensor) -> None:
        self.program, self.descriptor = program, descriptor
        self.weights, self.elements, self.channels = program.reals(weights), weights.shape[0], weights.shape[2]

    def value(self, factors: Sequence[Array]) -> Array:
        """Return B of the factors."""
        result = self.program.array("TARGETS", components(self.descriptor.output) * self.channels)
        self._run("value", factors, [result])
        return result

    def gradient(self, factors: Sequence[Array], upstream: Array) -> list[Array]:
        """Return the derivatives by the factors."""
        found = [self.program.array("TARGETS", factor.width) for factor in factors]
        self._run("gradient", factors, [upstream, *found])
        return found

    def _run(self, kind: str, factors: Sequence[Array], others: Sequence[Array]) -> None:
        program = self.program
        width = program.target.channel_width(self.channels, program.dtype)
        emitted = ProductBasisProgram(self.descriptor, kind, False, self.channels, width, program.real)
        symbol = program.kernel("product basis", emitted.signature, lambda name: emit_product_basis(emitted, name))
        tables, _, couplings = emitted.tables
        operands = [array.at() for array in factors] + [self.weights] + [array.at() for array in others]
        operands += [program.reals(couplings), "p->order", "p->start", program.constant(tables, "int32_t")]
        work = f"{4.0 * len(couplings) * self.channels} * (double)n"
        call = kernel_call(symbol, "n", work, operands, ("n", str(self.elements)))
        program.step(call, *factors, *others)


def kernel_call(symbol: str, items: str, work: str, operands: Sequence[str], sizes: Sequence[str]) -> str:
    """Return the statement that calls a kernel with addresses and then integers."""
    given = [f"{{{operand}, 0}}" for operand in operands] + [f"{{NULL, {size}}}" for size in sizes]
    return f"""{{
    const operand operands[] = {{{", ".join(given)}}};
    run_kernel(p, {symbol}, {items}, {work}, operands, {len(given)});
  }}"""


def _present(*arrays: Array | None) -> list[Array]:
    return [array for array in arrays if array is not None]


def table_of(module: IrrepsLinear, embedding: Tensor, groups: object | None = None) -> Tensor:
    """Return a map of the embedding of every element, [components, elements, channels]."""
    with torch.no_grad():
        return module(embedding[None], groups)  # type: ignore[arg-type]
