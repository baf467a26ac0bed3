"""Emitted kernels of equivariant linear maps: matrix products of rows that need not lie side by side.

A row is one component of the features of one atom. Jobs say which rows of an input are mapped to which rows of the
result by which matrix; a matrix per element maps the atoms of its own. Rows are taken a few at a time, with the part of
the result they give in registers, so that small products, a few atoms of an element, run as fast as large ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from clebsch.ops.cpu.emit import Kernel, Value

# What a job is, in this order: number of the input, number of the matrix, first components of input and result,
# components, channels of input and result, whether an earlier job reads the same rows of the input (0 or 1), and
# whether the job adds to what is in the result.
JOB = ("source", "weight", "first_in", "first_out", "dim", "width_in", "width_out", "again", "adds")
ROWS = 96  # rows whose places are found at once
SLOTS = 64  # parts of a matrix that threads share

# Sizes of the part of a result that is held in registers: rows and vectors of columns, or rows and single columns.
VALUE_TILES = ((6, 2), (4, 3), (2, 6), (1, 8))
TRANSPOSED_TILES = ((1, 8),)
WEIGHTS_TILES = ((6, 2), (2, 6), (1, 8))


@dataclass(frozen=True)
class LinearProgram:
    """What a kernel is made of.

    Attributes:
        kind: "value" x W, "transposed" G Wᵀ or "weights" xᵀ G.
        by_element: whether there is one matrix per element.
        width: channels of a vector.
        real: "float" or "double".
    """

    kind: str
    by_element: bool
    width: int
    real: str

    @property
    def arguments(self) -> dict[str, str]:
        """Names and kinds; ``inputs`` and ``matrices`` are addresses, of parts of x or of its gradient and of W."""
        pointers = {"jobs": "index*", "inputs": "index*", "matrices": "index*", "scales": "real*", "result": "real*"}
        names = ("num_jobs", "atoms", "rows_in", "rows_out", "elements")
        sizes = dict.fromkeys(names, "index")  # rows: atoms that input and result have room for
        return {**pointers, "order": "index*", "first": "index*", **sizes}  # order and first: of the element groups

    @property
    def signature(self) -> bytes:
        """All that decides the kernel."""
        sizes = (self, JOB, ROWS, SLOTS, VALUE_TILES, TRANSPOSED_TILES, WEIGHTS_TILES)
        return repr(sizes).encode()


@dataclass
class _Job:
    """The values of a job and element under emission: `JOB`, addresses, and the range of its atoms by element."""

    values: dict[str, Value]
    input: Value
    matrix: Value
    scale: Value
    begin: Value
    count: Value


@dataclass
class _Chunk:
    """Rows whose places are known: how many, where they begin in input and result, and whether there were others."""

    size: Value
    at_input: Value
    at_result: Value
    again: Value


def emit_linear(program: LinearProgram, name: str) -> str:
    """LLVM assembly of a kernel."""
    kernel = Kernel(name, program.real, program.width, program.arguments)
    emit = {"value": _emit_value, "transposed": _emit_transposed, "weights": _emit_weights}[program.kind]
    whole = program.kind == "weights"  # threads share the matrices; else the atoms
    with _jobs(kernel, program, whole) as job, _chunks(kernel, program, job) as chunk:
        emit(kernel, job, chunk)
    return kernel.finish()


@contextmanager
def _jobs(kernel: Kernel, program: LinearProgram, whole: bool) -> Iterator[_Job]:
    """The loops over jobs and elements."""
    with kernel.loop(0, kernel["num_jobs"]) as number, kernel.loop(0, kernel["elements"]) as element:
        places = (kernel.linear((number, len(JOB)), place) for place in range(len(JOB)))
        values = {name: kernel.load_index(kernel["jobs"], place) for name, place in zip(JOB, places, strict=True)}
        size = kernel.linear((values["width_in"], values["width_out"]))
        matrix = kernel.pointer(kernel.load_index(kernel["matrices"], values["weight"]))
        begin, end = kernel.integer(0), kernel["atoms"]
        if program.by_element:
            matrix = kernel.shifted(matrix, kernel.linear((element, size)))
            begin = kernel.load_index(kernel["first"], element)
            end = kernel.load_index(kernel["first"], kernel.linear(element, 1))
        if not whole:
            begin, end = kernel.maximum(begin, kernel["start"]), kernel.minimum(end, kernel["stop"])
        yield _Job(
            values,
            kernel.pointer(kernel.load_index(kernel["inputs"], values["source"])),
            matrix,
            kernel.broadcast(kernel.load_number(kernel["scales"], values["weight"])),
            begin,
            kernel.linear(end, (begin, -1)),
        )


@contextmanager
def _chunks(kernel: Kernel, program: LinearProgram, job: _Job) -> Iterator[_Chunk]:
    """The loop over chunks of a job's rows."""
    rows = kernel.linear((job.count, job.values["dim"]))
    at_input, at_result = kernel.scratch_integers(ROWS), kernel.scratch_integers(ROWS)
    one = kernel.integer(1)
    # A matrix that no row belongs to has a gradient, of zeros.
    with kernel.loop(0, kernel.maximum(rows, one) if program.kind == "weights" else rows, ROWS) as begin:
        size = kernel.minimum(kernel.linear(rows, (begin, -1)), kernel.integer(ROWS))
        component, atom = kernel.divide(begin, kernel.maximum(job.count, one))

        def find(row: Value, place: list[Value]) -> list[Value]:
            component, number = place
            atom = kernel.linear(job.begin, number)
            if program.by_element:
                atom = kernel.load_index(kernel["order"], atom)
            ends = (
                (at_input, "first_in", "rows_in", job.values["width_in"]),
                (at_result, "first_out", "rows_out", job.values["width_out"]),
            )
            for places, first, rows, width in ends:
                number_of_row = kernel.linear((kernel.linear(component, job.values[first]), kernel[rows]), atom)
                kernel.store_index(kernel.linear((number_of_row, width)), places, row)
            following = kernel.linear(number, 1)
            last = kernel.equal(following, job.count)
            return [
                kernel.select(last, kernel.linear(component, 1), component),
                kernel.select(last, kernel.integer(0), following),
            ]

        kernel.accumulate(0, size, 1, [component, atom], find)
        yield _Chunk(size, at_input, at_result, kernel.less(kernel.integer(0), begin))


def _emit_value(kernel: Kernel, job: _Job, chunk: _Chunk) -> None:
    """result[row, n] = scale sum_k x[row, k] W[k, n]."""
    channels, width = job.values["width_out"], kernel.width

    def tile(first: Value, rows: int, column: Value, vectors: int) -> None:
        sources = [kernel.load_index(chunk.at_input, kernel.linear(first, row)) for row in range(rows)]
        offsets = range(0, vectors * width, width)

        def body(k: Value, sums: list[Value]) -> list[Value]:
            place = kernel.linear((k, channels), column)
            factors = [kernel.load(job.matrix, kernel.linear(place, offset)) for offset in offsets]
            found = []
            for row, source in enumerate(sources):
                x = kernel.broadcast(kernel.load_number(job.input, kernel.linear(source, k)))
                own = sums[row * vectors : (row + 1) * vectors]
                found += [kernel.fma(x, factor, total) for factor, total in zip(factors, own, strict=True)]
            return found

        sums = kernel.accumulate(0, job.values["width_in"], 1, [kernel.zero()] * (rows * vectors), body)
        targets = [kernel.load_index(chunk.at_result, kernel.linear(first, row)) for row in range(rows)]
        ends = [kernel.linear(target, column, offset) for target in targets for offset in offsets]

        def found_before(_: Value, __: list[Value]) -> list[Value]:
            return [kernel.load(kernel["result"], end) for end in ends]

        # A loop of one turn or none: what is not added to is not read.
        before = kernel.accumulate(0, job.values["adds"], 1, [kernel.zero()] * len(ends), found_before)
        for end, total, addend in zip(ends, sums, before, strict=True):
            kernel.store(kernel.fma(job.scale, total, addend), kernel["result"], end)

    _tile(kernel, VALUE_TILES, chunk.size, channels, width, tile)


def _emit_transposed(kernel: Kernel, job: _Job, chunk: _Chunk) -> None:
    """input[row, k] = scale sum_n G[row, n] W[k, n], summed over the irreps of the result that read the input."""
    channels, again = job.values["width_out"], kernel.equal(job.values["again"], kernel.integer(1))

    def tile(first: Value, rows: int, column: Value, columns: int) -> None:
        sources = [kernel.load_index(chunk.at_result, kernel.linear(first, row)) for row in range(rows)]
        places = [kernel.linear((kernel.linear(column, k), channels)) for k in range(columns)]

        def body(n: Value, sums: list[Value]) -> list[Value]:
            upstream = [kernel.load(kernel["result"], kernel.linear(source, n)) for source in sources]
            found = list(sums)
            for k, place in enumerate(places):
                factor = kernel.load(job.matrix, kernel.linear(place, n))
                for row, g in enumerate(upstream):
                    found[row * columns + k] = kernel.fma(g, factor, sums[row * columns + k])
            return found

        sums = kernel.accumulate(0, channels, kernel.width, [kernel.zero()] * (rows * columns), body)
        for row in range(rows):
            target = kernel.linear(kernel.load_index(chunk.at_input, kernel.linear(first, row)), column)
            own = sums[row * columns : (row + 1) * columns]
            kernel.store_sums(own, job.scale, job.input, target, again)

    _tile(kernel, TRANSPOSED_TILES, chunk.size, job.values["width_in"], 1, tile)


def _emit_weights(kernel: Kernel, job: _Job, chunk: _Chunk) -> None:
    """W[k, n] = scale sum_rows x[row, k] G[row, n], for the rows k of the matrix that are this thread's."""
    channels, width = job.values["width_out"], kernel.width
    begin, end = (
        kernel.divide(kernel.linear((job.values["width_in"], kernel[name])), kernel.integer(SLOTS))[0]
        for name in ("start", "stop")
    )

    def tile(first: Value, rows: int, column: Value, vectors: int) -> None:
        offsets = range(0, vectors * width, width)
        k = kernel.linear(begin, first)

        def body(row: Value, sums: list[Value]) -> list[Value]:
            source = kernel.linear(kernel.load_index(chunk.at_input, row), k)
            target = kernel.linear(kernel.load_index(chunk.at_result, row), column)
            factors = [kernel.load(kernel["result"], kernel.linear(target, offset)) for offset in offsets]
            found = []
            for place in range(rows):
                x = kernel.broadcast(kernel.load_number(job.input, kernel.linear(source, place)))
                own = sums[place * vectors : (place + 1) * vectors]
                found += [kernel.fma(x, factor, total) for factor, total in zip(factors, own, strict=True)]
            return found

        sums = kernel.accumulate(0, chunk.size, 1, [kernel.zero()] * (rows * vectors), body)
        for place in range(rows):
            target = kernel.linear((kernel.linear(k, place), channels), column)
            for vector, offset in enumerate(offsets):
                value = kernel.mul(job.scale, sums[place * vectors + vector])
                place_of_sum = kernel.linear(target, offset)
                before = kernel.select(chunk.again, kernel.load(job.matrix, place_of_sum), kernel.zero())
                kernel.store(kernel.add(before, value), job.matrix, place_of_sum)

    _tile(kernel, WEIGHTS_TILES, kernel.linear(end, (begin, -1)), channels, width, tile)


def _tile(
    kernel: Kernel,
    tiles: Sequence[tuple[int, int]],
    rows: Value,
    columns: Value,
    unit: int,
    tile: Callable[[Value, int, Value, int], None],
) -> None:
    """Cover rows and columns with tiles, of as many rows as fit first, then of fewer; columns come in units."""
    begin = kernel.integer(0)
    for height, units in tiles:
        whole = kernel.divide(kernel.linear(rows, (begin, -1)), kernel.integer(height))[0]
        end = kernel.linear(begin, (whole, height))
        column = kernel.integer(0)
        for count in dict.fromkeys((units, 1)):
            with kernel.loop(column, kernel.linear(columns, 1 - count * unit), count * unit) as place:
                with kernel.loop(begin, end, height) as row:
                    tile(row, height, place, count)
            column = place  # where the loop has ended
        begin = end
