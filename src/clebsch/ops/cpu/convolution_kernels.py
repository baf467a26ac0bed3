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

from clebsch.o3 import clebsch_gordan
from clebsch.ops.cpu.emit import Kernel, Value
from clebsch.ops.descriptors import ConvolutionDescriptor


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

    def rows_of(self, path: int, memory: Value, place: Value | int, h: list[Value], into: list[Value]) -> list[Value]:
        """into + M h, row by row."""
        result = list(into)
        for index, entry in enumerate(self.program.paths[path].entries):
            coupling = self.coupling(memory, place, path, index)
            result[entry.row] = self.kernel.fma(coupling, h[entry.column], result[entry.row])
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
        """sums + R (M h), or its derivative R (M h_dot + M_dot h) + R_dot (M h)."""
        kernel, program, along = self.kernel, self.program, self.along
        edge, neighbor, channel, place = where
        path, memory = program.paths[index], self.memory
        nothing: list[Value | None] = [None] * path.rows
        radial, slope = self.radial(edge, index, channel)
        h = self.features("h", path, neighbor, channel)
        if not along or slope is not None:
            rows = self.rows_of(index, memory, place, h, nothing)
            sums = _weighted(kernel, slope if along else radial, rows, sums)
        rows = nothing
        if "h" in along:
            rows = self.rows_of(index, memory, place, self.features("h_dot", path, neighbor, channel), rows)
        if "Y" in along:
            rows = self.rows_of(index, memory, kernel.linear(place, program.num_entries), h, rows)
        return _weighted(kernel, radial, rows, sums)


def _shared_rows(program: ConvolutionProgram) -> list[list[int]]:
    """Paths that add to the same rows of the output, together."""
    groups: dict[tuple[int, int], list[int]] = {}
    for index, path in enumerate(program.paths):
        groups.setdefault((path.output, path.block), []).append(index)
    return list(groups.values())


def _weighted(kernel: Kernel, weight: Value, rows: list[Value | None], sums: list[Value]) -> list[Value]:
    """sums + weight * rows, where there is a row."""
    return [total if row is None else kernel.fma(weight, row, total) for row, total in zip(rows, sums)]


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
        self.slopes = kernel.scratch(program.harmonics + 4)
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
        for place in range(program.harmonics + 4):
            kernel.store(kernel.zero(), self.slopes, place * kernel.width)
        center = kernel.load_index(kernel["centers"], edge)
        for index in range(len(program.paths)):
            self._path(index, edge, atom, center)
        if "Y" in self.which:
            self._finish("dY", edge, program.harmonics, 0)
        if "b" in self.which:
            self._finish("db", edge, 4, program.harmonics)

    def _finish(self, name: str, edge: Value, count: int, first: int) -> None:
        """Sum the collected vectors over their channels."""
        kernel = self.kernel
        for place in range(count):
            total = kernel.sum_of_channels(kernel.load(self.slopes, (first + place) * kernel.width))
            kernel.store_number(total, kernel[name], kernel.linear((edge, count), place))

    def _path(self, index: int, edge: Value, atom: Value, center: Value) -> None:
        """One path of one edge, over all channels; what is summed over channels is carried in registers."""
        kernel, path = self.kernel, self.program.paths[index]
        pairs = len(path.entries) if "Y" in self.which else 0
        splines = 4 if "b" in self.which else 0

        def add_channels(channel: Value, sums: list[Value]) -> list[Value]:
            return self._channels(index, (edge, atom, center, channel), sums[:pairs], sums[pairs:])

        sums = kernel.accumulate(0, self.channels, kernel.width, [kernel.zero()] * (pairs + splines), add_channels)
        for entry, total in zip(path.entries, sums[:pairs]):
            for m2, coefficient in entry.terms:
                kernel.store(
                    kernel.fma(kernel.constant(coefficient), total, kernel.load(self.slopes, m2 * kernel.width)),
                    self.slopes,
                    m2 * kernel.width,
                )
        for s, total in enumerate(sums[pairs:]):
            kernel.add_to(total, self.slopes, (self.program.harmonics + s) * kernel.width)

    def _channels(
        self, index: int, where: tuple[Value, Value, Value, Value], pairs: list[Value], splines: list[Value]
    ) -> list[Value]:
        kernel, path, along = self.kernel, self.program.paths[index], self.along
        edge, atom, center, channel = where
        upstream = [
            kernel.load(kernel[f"G{path.output}"], self.output_place(path, row, center, channel))
            for row in range(path.rows)
        ]
        h = self.features("h", path, atom, channel)
        h_dot = self.features("h_dot", path, atom, channel) if "h" in along else None
        if set(self.which) & set("hY"):
            radial, slope = self.radial(edge, index, channel)
            weighted = [kernel.mul(radial, g) for g in upstream]
            sloped = None if slope is None else [kernel.mul(slope, g) for g in upstream]
            if "h" in self.which:
                self._add_to_features(index, atom, channel, weighted, sloped)
            if "Y" in self.which:
                # along a direction: (R_dot G) h + (R G) h_dot, else (R G) h
                terms = [(weighted, h)] if not along else [(sloped, h), (weighted, h_dot)]
                for left, right in terms:
                    if left is not None and right is not None:
                        pairs = [
                            kernel.fma(left[entry.row], right[entry.column], total)
                            for entry, total in zip(path.entries, pairs)
                        ]
        if set(self.which) & set("bR"):
            splines = self._radial_gradient(index, where, upstream, (h, h_dot), splines)
        return [*pairs, *splines]

    def _add_to_features(
        self, index: int, atom: Value, channel: Value, weighted: list[Value], sloped: list[Value] | None
    ) -> None:
        """dh += Mᵀ (R G), along a direction M_dotᵀ (R G) + Mᵀ (R_dot G)."""
        kernel, path = self.kernel, self.program.paths[index]
        places = []
        for m in range(path.columns):
            row = kernel.linear((path.feature + m, kernel["sources"]), atom)
            places.append(kernel.linear((row, self.channels), channel))
        sums = [kernel.load(kernel["dh"], place) for place in places]
        terms = [(0, weighted)] if not self.along else [(0, sloped)]
        if "Y" in self.along:
            terms.append((self.program.num_entries, weighted))
        for start, factor in terms:
            if factor is not None:
                for number, entry in enumerate(path.entries):
                    coupling = self.coupling(self.memory, start, index, number)
                    sums[entry.column] = kernel.fma(coupling, factor[entry.row], sums[entry.column])
        for place, total in zip(places, sums):
            kernel.store(total, kernel["dh"], place)

    def _radial_gradient(
        self,
        index: int,
        where: tuple[Value, Value, Value, Value],
        upstream: list[Value],
        features: tuple[list[Value], list[Value] | None],
        splines: list[Value],
    ) -> list[Value]:
        """dR = sum of G (M h), along a direction G (M h_dot + M_dot h); to the edge, the spline values or the table."""
        kernel, along, which = self.kernel, self.along, self.which
        edge, _, _, channel = where
        nothing = [None] * self.program.paths[index].rows
        h, h_dot = features
        rows = nothing if along else self.rows_of(index, self.memory, 0, h, nothing)
        if h_dot is not None:
            rows = self.rows_of(index, self.memory, 0, h_dot, rows)
        if "Y" in along:
            rows = self.rows_of(index, self.memory, self.program.num_entries, h, rows)
        gradient = _dot(kernel, upstream, rows)
        places = self.radial_places(edge, index, channel)
        if not self.program.table:
            kernel.store(kernel.zero() if gradient is None else gradient, kernel["dR"], places[0])
            return splines
        if "b" in which and gradient is not None:
            controls = [kernel.load(kernel["R"], place) for place in places]
            splines = [kernel.fma(gradient, control, total) for control, total in zip(controls, splines)]
        if "R" in which:
            plain = None
            if "b" in along:
                plain = _dot(kernel, upstream, self.rows_of(index, self.memory, 0, h, nothing))
            for s, place in enumerate(places):
                total = kernel.load(kernel["dR"], place)
                if gradient is not None:
                    total = kernel.fma(self.basis("b", edge)[s], gradient, total)
                if plain is not None:
                    total = kernel.fma(self.basis("b_dot", edge)[s], plain, total)
                kernel.store(total, kernel["dR"], place)
        return splines


def _dot(kernel: Kernel, left: list[Value], right: list[Value | None]) -> Value | None:
    """Sum of products, rows without a value left out."""
    total = None
    for a, b in zip(left, right, strict=True):
        if b is not None:
            total = kernel.fma(a, b, total)
    return total
