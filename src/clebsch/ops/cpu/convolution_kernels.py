r"""Vector code of the convolution and of its derivatives.

Everything is a partial derivative of one form that is linear in each of its operands,

.. math:: \Phi(G, h, Y, R) = \sum_e \sum_p \sum_k R_{e,pk} \sum_{m_1 m_3} G_{i,pk,m_3} M_{e,p,m_3 m_1} h_{j,k,m_1},
          \qquad M_{e,p,m_3 m_1} = \sum_{m_2} C^{l_1 l_2 l_3}_{m_1 m_2 m_3} Y_{e,l_2 m_2},

or of its derivative along a direction :math:`(\dot h, \dot Y, \dot R)`. The weights R are given for every edge, or as
:math:`R_{e,pk} = \sum_{s<4} b_{e,s} T_{n_e + s,pk}` with a table T of spline control points, which then is the operand
"R" and b the operand "b". Two kernels compute them: ``pool`` runs over the
edges of every centre and returns :math:`\partial\Phi/\partial G` (the convolution), ``send`` runs over the edges of
every neighbour and returns any of :math:`\partial\Phi/\partial h, \partial\Phi/\partial Y, \partial\Phi/\partial R`.
The couplings M are numbers of an edge, shared by all channels; no message is ever stored.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

from clebsch.o3 import clebsch_gordan
from clebsch.ops.cpu.emit import Kernel, Value
from clebsch.ops.descriptors import ConvolutionDescriptor

Columns = Any  # one value per component of h, None where it is zero
BothColumns = tuple[Columns, Columns]  # of the operands, and of the direction


@dataclass(frozen=True)
class Entry:
    """One number M[m3, m1] of a path: sum over ``terms`` (m2, coefficient) of coefficient * Y[m2]."""

    row: int
    column: int
    terms: tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class Path:
    """A path as the kernels see it: components of h, rows of the output, and its couplings."""

    feature: int  # first component of h
    columns: int  # 2 l1 + 1
    output: int
    block: int  # which block of channels of the output
    rows: int  # 2 l3 + 1
    entries: tuple[Entry, ...]


@dataclass(frozen=True)
class ConvolutionProgram:
    """What a convolution kernel is compiled for.

    Attributes:
        descriptor: paths and mixing.
        channels: K.
        width: channels of a vector.
        real: "float" or "double".
        table: whether the radial weights come as a table of spline control points.
        constant: whether h = 1, without an array.
    """

    descriptor: ConvolutionDescriptor
    channels: int
    width: int
    real: str
    table: bool
    constant: bool = False

    @cached_property
    def paths(self) -> tuple[Path, ...]:
        """The paths in the order of the radial weights."""
        return kernel_paths(self.descriptor)

    @cached_property
    def first_entry(self) -> list[int]:
        """Place of the first coupling of every path, and their number at the end."""
        places = [0]
        for path in self.paths:
            places.append(places[-1] + len(path.entries))
        return places

    @property
    def num_entries(self) -> int:
        """Couplings of one edge."""
        return self.first_entry[-1]

    @cached_property
    def signature(self) -> bytes:
        """Everything that the emitters read, as text; ``repr`` of a float is exact."""
        descriptor = self.descriptor
        layout = (str(descriptor.features), descriptor.l_max, str(descriptor.output), descriptor.multiplicities)
        return repr((self.channels, self.width, self.real, self.table, self.constant, layout, self.paths)).encode()

    @property
    def harmonics(self) -> int:
        """Components of Y."""
        return (self.descriptor.l_max + 1) ** 2

    def pool_arguments(self, along: bool) -> dict[str, str]:
        """Arguments of the pooling kernel."""
        names = ["h", "Y", "R", "b"] + (["h_dot", "Y_dot", "R_dot", "b_dot"] if along else [])
        arguments = dict.fromkeys(names, "real*")
        arguments |= {f"out{index}": "real*" for index in range(len(self.descriptor.output))}
        indices = dict.fromkeys(["rows", "neighbors", "center_start"], "index*")
        return arguments | indices | {"targets": "index", "sources": "index"}

    def send_arguments(self, along: bool) -> dict[str, str]:
        """Arguments of the sending kernel."""
        names = ["h", "Y", "R", "b"] + (["h_dot", "Y_dot", "R_dot", "b_dot"] if along else [])
        arguments = dict.fromkeys([*names, "dh", "dY", "dR", "db"], "real*")
        arguments |= {f"G{index}": "real*" for index in range(len(self.descriptor.output))}
        indices = dict.fromkeys(["rows", "centers", "by_neighbor", "neighbor_start"], "index*")
        return arguments | indices | {"targets": "index", "sources": "index"}


@lru_cache
def kernel_paths(descriptor: ConvolutionDescriptor) -> tuple[Path, ...]:
    """The couplings of every path as sparse matrices of Y."""
    slices = descriptor.features.slices()
    counts = [sum(path.output == index for path in descriptor.paths) for index in range(len(descriptor.output))]
    seen = [0] * len(counts)
    paths = []
    for path in descriptor.paths:
        l1, l3 = descriptor.features[path.feature].l, descriptor.output[path.output].l
        summed = descriptor.mixing == "sum"
        scale = math.sqrt((2 * l3 + 1) / (counts[path.output] if summed else 1))
        coupling = scale * clebsch_gordan(l1, path.l2, l3)
        entries = []
        for row in range(2 * l3 + 1):
            for column in range(2 * l1 + 1):
                terms = [(path.l2**2 + m2, float(c)) for m2, c in enumerate(coupling[column, :, row]) if abs(c) > 1e-12]
                if terms:
                    entries.append(Entry(row, column, tuple(terms)))
        block = 0 if summed else seen[path.output]
        seen[path.output] += 1
        start = slices[path.feature].start
        paths.append(Path(start, 2 * l1 + 1, path.output, block, 2 * l3 + 1, tuple(entries)))
    return tuple(paths)


class _Emitter:
    """What both kernels share: couplings of an edge, loads of features, output rows and radial weights."""

    def __init__(self, program: ConvolutionProgram, name: str, arguments: dict[str, str], along: str) -> None:
        self.program, self.along = program, along
        self.kernel = Kernel(name, program.real, program.width, arguments)
        self.channels = program.channels
        multiplicities = program.descriptor.multiplicities
        self.widths = [multiplicity * program.channels for multiplicity in multiplicities]

    def couplings(self, edge: Value, harmonics: str, memory: Value, place: Value | int) -> None:
        """Write M of an edge to ``memory[place]`` and on."""
        kernel, count = self.kernel, self.program.harmonics
        values = [kernel.load_number(kernel[harmonics], kernel.linear((edge, count), m)) for m in range(count)]
        number = 0
        for path in self.program.paths:
            for entry in path.entries:
                total = None
                for m2, coefficient in entry.terms:
                    total = kernel.fma(values[m2], kernel.number(coefficient), total)
                kernel.store_number(total, memory, kernel.linear(place, number))
                number += 1

    def coupling(self, memory: Value, place: Value | int, path: int, index: int) -> Value:
        """Entry ``index`` of a path in every channel."""
        number = self.program.first_entry[path] + index
        return self.kernel.broadcast(self.kernel.load_number(memory, self.kernel.linear(place, number)))

    def features(self, name: str, path: Path, atom: Value, channel: Value) -> list[Value]:
        """The components of h that a path couples."""
        kernel = self.kernel
        if self.program.constant:
            return [kernel.constant(1.0)]
        found = []
        for m in range(path.columns):
            row = kernel.linear((path.feature + m, kernel["sources"]), atom)
            found.append(kernel.load(kernel[name], kernel.linear((row, self.channels), channel)))
        return found

    def output_place(self, path: Path, row: int, atom: Value, channel: Value) -> Value:
        """Where component ``row`` of a path lies in its output."""
        kernel = self.kernel
        place = kernel.linear((row, kernel["targets"]), atom)
        return kernel.linear((place, self.widths[path.output]), path.block * self.channels, channel)

    def radial_places(self, edge: Value, path: int, channel: Value) -> list[Value]:
        """Where the weights of an edge and path lie: one place, or those of four control points."""
        kernel, paths = self.kernel, len(self.program.paths)
        if not self.program.table:
            return [kernel.linear((edge, paths * self.channels), path * self.channels, channel)]
        first = kernel.linear((kernel.load_index(kernel["rows"], edge), paths * self.channels), channel)
        return [kernel.linear(first, (s * paths + path) * self.channels) for s in range(4)]

    def basis(self, name: str, edge: Value) -> list[Value]:
        """The four spline values of an edge in every channel."""
        kernel = self.kernel
        return [kernel.broadcast(kernel.load_number(kernel[name], kernel.linear((edge, 4), s))) for s in range(4)]

    def radial(self, edge: Value, path: int, channel: Value) -> tuple[Value, Value]:
        """R of an edge and path, and its derivative along the direction (None without)."""
        kernel = self.kernel
        places = self.radial_places(edge, path, channel)
        controls = [kernel.load(kernel["R"], place) for place in places]
        if not self.program.table:
            return controls[0], kernel.load(kernel["R_dot"], places[0]) if "R" in self.along else None
        value = kernel.dot(self.basis("b", edge), controls)
        slope = kernel.dot(self.basis("b_dot", edge), controls) if "b" in self.along else None
        return value, slope

    def weighted(self, radial: tuple[Value, Value], h: list[Value], h_dot: list[Value] | None) -> list[Value] | None:
        """R h, or its derivative R h_dot + R_dot h, None where that is zero."""
        kernel, (value, slope) = self.kernel, radial
        if not self.along:
            return [kernel.mul(value, x) for x in h]
        found = None if h_dot is None else [kernel.mul(value, x) for x in h_dot]
        if slope is None:
            return found
        return [kernel.fma(slope, x, found and found[column]) for column, x in enumerate(h)]

    def rows_of(self, path: int, memory: Value, place: Value | int, h: list[Value], into: list[Value]) -> list[Value]:
        """into + M h, row by row."""
        result = list(into)
        for index, entry in enumerate(self.program.paths[path].entries):
            coupling = self.coupling(memory, place, path, index)
            result[entry.row] = self.kernel.fma(coupling, h[entry.column], result[entry.row])
        return result

    def columns_of(self, path: int, memory: Value, place: Value | int, rows: list[Value]) -> list[Value | None]:
        """Mᵀ applied to rows, column by column; None for a column without couplings."""
        result: list[Value | None] = [None] * self.program.paths[path].columns
        for index, entry in enumerate(self.program.paths[path].entries):
            coupling = self.coupling(memory, place, path, index)
            result[entry.column] = self.kernel.fma(coupling, rows[entry.row], result[entry.column])
        return result


def emit_pool(program: ConvolutionProgram, name: str, along: str) -> str:
    """Assembly of the convolution, or of its derivative along a direction of the operands in ``along`` ("hYRb")."""
    return _PoolEmitter(program, name, along).emit()


class _PoolEmitter(_Emitter):
    """The kernel that runs over the edges of every centre, in blocks whose couplings fit into the cache."""

    MEMORY = 2**14  # numbers

    def __init__(self, program: ConvolutionProgram, name: str, along: str) -> None:
        super().__init__(program, name, program.pool_arguments(bool(along)), along)
        self.stride = program.num_entries * (2 if "Y" in along else 1)
        self.block = max(4, self.MEMORY // self.stride)

    def emit(self) -> str:
        kernel = self.kernel
        self.memory = kernel.scratch(-(-self.block * self.stride // self.program.width))
        with kernel.loop(kernel["start"], kernel["stop"]) as atom:
            first = kernel.load_index(kernel["center_start"], atom)
            last = kernel.load_index(kernel["center_start"], kernel.linear(atom, 1))
            with kernel.loop(first, kernel.maximum(last, kernel.linear(first, 1)), self.block) as start:
                edges = (start, kernel.minimum(last, kernel.linear(start, self.block)))
                self._couple(*edges)
                with kernel.loop(0, self.channels, kernel.width) as channel:
                    for group in _shared_rows(self.program):
                        self._rows(group, atom, channel, edges, kernel.equal(start, first))
        return kernel.finish()

    def _couple(self, start: Value, stop: Value) -> None:
        """The couplings of a block of edges, and along a direction those of Y_dot behind them."""
        kernel = self.kernel
        with kernel.loop(start, stop) as edge:
            place = self._place(edge, start)
            self.couplings(edge, "Y", self.memory, place)
            if "Y" in self.along:
                self.couplings(edge, "Y_dot", self.memory, kernel.linear(place, self.program.num_entries))

    def _place(self, edge: Value, start: Value) -> Value:
        return self.kernel.linear((self.kernel.linear(edge, (start, -1)), self.stride))

    def _rows(self, group: list[int], atom: Value, channel: Value, edges: tuple[Value, Value], fresh: Value) -> None:
        """Sum the messages of some paths into the rows they share."""
        kernel, (start, stop) = self.kernel, edges
        path = self.program.paths[group[0]]
        output = kernel[f"out{path.output}"]
        places = [self.output_place(path, row, atom, channel) for row in range(path.rows)]
        before = [kernel.select(fresh, kernel.zero(), kernel.load(output, place)) for place in places]

        def add_edge(edge: Value, sums: list[Value]) -> list[Value]:
            neighbor = kernel.load_index(kernel["neighbors"], edge)
            for index in group:
                sums = self._add_message(index, (edge, neighbor, channel, self._place(edge, start)), sums)
            return sums

        sums = kernel.accumulate(start, stop, 1, before, add_edge)
        for total, place in zip(sums, places):
            kernel.store(total, output, place)

    def _add_message(self, index: int, where: tuple[Value, Value, Value, Value], sums: list[Value]) -> list[Value]:
        """sums + M (R h), or its derivative M (R h_dot + R_dot h) + M_dot (R h)."""
        program, along = self.program, self.along
        edge, neighbor, channel, place = where
        path, memory = program.paths[index], self.memory
        radial = self.radial(edge, index, channel)
        h, h_dot = self.features("h", path, neighbor, channel), None
        if "h" in along:
            h_dot = self.features("h_dot", path, neighbor, channel)
        weighted = self.weighted(radial, h, h_dot)
        if weighted is not None:
            sums = self.rows_of(index, memory, place, weighted, sums)
        if "Y" in along:
            plain = [self.kernel.mul(radial[0], x) for x in h]
            sums = self.rows_of(index, memory, self.kernel.linear(place, program.num_entries), plain, sums)
        return sums


def _shared_rows(program: ConvolutionProgram) -> list[list[int]]:
    """Paths that add to the same rows of the output, together."""
    groups: dict[tuple[int, int], list[int]] = {}
    for index, path in enumerate(program.paths):
        groups.setdefault((path.output, path.block), []).append(index)
    return list(groups.values())


def emit_send(program: ConvolutionProgram, name: str, along: str, which: str) -> str:
    """Assembly of the derivatives by the operands in ``which`` ("hYRb"), or those of the derivative along ``along``."""
    return _SendEmitter(program, name, along, which).emit()


class _SendEmitter(_Emitter):
    """The kernel that runs over the edges of every neighbour."""

    def __init__(self, program: ConvolutionProgram, name: str, along: str, which: str) -> None:
        super().__init__(program, name, program.send_arguments(bool(along)), along)
        self.which = which

    def emit(self) -> str:
        kernel, program = self.kernel, self.program
        self.memory = kernel.scratch(-(-2 * program.num_entries // program.width))
        self.components = sum(irrep.dim for irrep in program.descriptor.features)
        with kernel.loop(kernel["start"], kernel["stop"]) as atom:
            if "h" in self.which:
                self._clear(atom)
            first = kernel.load_index(kernel["neighbor_start"], atom)
            last = kernel.load_index(kernel["neighbor_start"], kernel.linear(atom, 1))
            with kernel.loop(first, last) as turn:
                self._edge(kernel.load_index(kernel["by_neighbor"], turn), atom)
        return kernel.finish()

    def _clear(self, atom: Value) -> None:
        kernel = self.kernel
        with kernel.loop(0, self.channels, kernel.width) as channel:
            for component in range(self.components):
                row = kernel.linear((component, kernel["sources"]), atom)
                kernel.store(kernel.zero(), kernel["dh"], kernel.linear((row, self.channels), channel))

    def _edge(self, edge: Value, atom: Value) -> None:
        kernel, program = self.kernel, self.program
        self.couplings(edge, "Y", self.memory, 0)
        if "Y" in self.along:
            self.couplings(edge, "Y_dot", self.memory, program.num_entries)
        center = kernel.load_index(kernel["centers"], edge)
        slopes: list[Value | None] = [None] * program.harmonics
        splines = [kernel.zero()] * (4 if "b" in self.which else 0)
        for index in self._by_harmonic:  # those of one degree follow each other, so that few sums are held at a time
            splines = self._path(index, (edge, atom, center), slopes, splines)
        if "Y" in self.which:
            self._store_sums("dY", edge, [kernel.zero() if slope is None else slope for slope in slopes])
        if "b" in self.which:
            self._store_sums("db", edge, splines)

    @property
    def _by_harmonic(self) -> list[int]:
        """The paths by the degree of their harmonic."""
        paths = self.program.descriptor.paths
        return sorted(range(len(paths)), key=lambda index: paths[index].l2)

    def _store_sums(self, name: str, edge: Value, vectors: list[Value]) -> None:
        """Write the sums over the channels, as many at once as make a power of two."""
        kernel, first = self.kernel, 0
        never, one = kernel.equal(kernel.integer(0), kernel.integer(1)), kernel.constant(1.0)
        while first < len(vectors):
            count = min(kernel.width, 1 << (len(vectors) - first).bit_length() - 1)
            place = kernel.linear((edge, len(vectors)), first)
            kernel.store_sums(vectors[first : first + count], one, kernel[name], place, never)
            first += count

    def _path(
        self, index: int, where: tuple[Value, Value, Value], slopes: list[Value | None], splines: list[Value]
    ) -> list[Value]:
        """One path of one edge, over all channels; what is summed over channels is carried in registers."""
        kernel, path = self.kernel, self.program.paths[index]
        pairs = len(path.entries) if "Y" in self.which else 0

        def add_channels(channel: Value, sums: list[Value]) -> list[Value]:
            return self._channels(index, (*where, channel), sums[:pairs], sums[pairs:])

        start = [kernel.zero()] * pairs + splines
        sums = kernel.accumulate(0, self.channels, kernel.width, start, add_channels)
        for entry, total in zip(path.entries, sums[:pairs]):
            for m2, coefficient in entry.terms:
                slopes[m2] = kernel.fma(kernel.constant(coefficient), total, slopes[m2])
        return sums[pairs:]

    def _channels(
        self, index: int, where: tuple[Value, Value, Value, Value], pairs: list[Value], splines: list[Value]
    ) -> list[Value]:
        """Some channels of a path; what a kernel does not write is left out by the compiler."""
        kernel, program, along = self.kernel, self.program, self.along
        path, (_, atom, center, channel) = program.paths[index], where
        upstream = [
            kernel.load(kernel[f"G{path.output}"], self.output_place(path, row, center, channel))
            for row in range(path.rows)
        ]
        h = self.features("h", path, atom, channel)
        h_dot = self.features("h_dot", path, atom, channel) if "h" in along else None
        back = self.columns_of(index, self.memory, 0, upstream)
        back_dot = self.columns_of(index, self.memory, program.num_entries, upstream) if "Y" in along else None
        if set(self.which) & set("hY"):
            radial = self.radial(where[0], index, channel)
            if "h" in self.which:
                self._add_to_features(path, atom, channel, radial, (back, back_dot))
            weighted = self.weighted(radial, h, h_dot)
            if "Y" in self.which and weighted is not None:
                pairs = [
                    kernel.fma(upstream[entry.row], weighted[entry.column], total)
                    for entry, total in zip(path.entries, pairs)
                ]
        if set(self.which) & set("bR"):
            splines = self._radial_gradient(index, where, (h, h_dot), (back, back_dot), splines)
        return [*pairs, *splines]

    def _add_to_features(self, path: Path, atom: Value, channel: Value, radial: Columns, back: BothColumns) -> None:
        """dh += R (Mᵀ G), along a direction R (M_dotᵀ G) + R_dot (Mᵀ G)."""
        kernel, (plain, moved), (value, slope) = self.kernel, back, radial
        terms = [(value, plain)] if not self.along else [(slope, plain), (value, moved)]
        for m in range(path.columns):
            row = kernel.linear((path.feature + m, kernel["sources"]), atom)
            place = kernel.linear((row, self.channels), channel)
            total = kernel.load(kernel["dh"], place)
            for factor, columns in terms:
                if factor is not None and columns is not None and columns[m] is not None:
                    total = kernel.fma(factor, columns[m], total)
            kernel.store(total, kernel["dh"], place)

    def _radial_gradient(
        self,
        index: int,
        where: tuple[Value, Value, Value, Value],
        features: BothColumns,
        back: BothColumns,
        splines: list[Value],
    ) -> list[Value]:
        """dR = h (Mᵀ G), along a direction h_dot (Mᵀ G) + h (M_dotᵀ G); to the edge, the spline values or the table."""
        kernel, which, (edge, _, _, channel) = self.kernel, self.which, where
        (h, h_dot), (plain, moved) = features, back
        pairs = [(h, plain)] if not self.along else [(h_dot, plain), (h, moved)]
        gradient = self._products(pairs)
        places = self.radial_places(edge, index, channel)
        if not self.program.table:
            kernel.store(kernel.zero() if gradient is None else gradient, kernel["dR"], places[0])
            return splines
        if "b" in which and gradient is not None:
            controls = [kernel.load(kernel["R"], place) for place in places]
            splines = [kernel.fma(gradient, control, total) for control, total in zip(controls, splines)]
        if "R" in which:
            unmoved = self._products([(h, plain)]) if "b" in self.along else None
            for s, place in enumerate(places):
                total = kernel.load(kernel["dR"], place)
                if gradient is not None:
                    total = kernel.fma(self.basis("b", edge)[s], gradient, total)
                if unmoved is not None:
                    total = kernel.fma(self.basis("b_dot", edge)[s], unmoved, total)
                kernel.store(total, kernel["dR"], place)
        return splines

    def _products(self, pairs: list[BothColumns]) -> Value | None:
        """Sum of the products of columns, those without a value left out."""
        total = None
        for left, right in pairs:
            for a, b in zip(left or (), right or ()):
                if b is not None:
                    total = self.kernel.fma(a, b, total)
        return total
