"""A small emitter of vector code: the body of a kernel is written once in Python and becomes LLVM instructions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from llvmlite import ir

Value = Any  # an LLVM value; llvmlite has no useful static types
Index = ir.IntType(64)
Pointer = ir.PointerType()


class Kernel:
    """One kernel under construction: a loop over items ``start`` to ``stop``, which threads share between them.

    All values called vectors hold ``width`` neighbouring channels. Loops may carry values from one turn to the next.
    The function that is called takes one array of 64-bit integers: into how many parts the items are cut, the number of
    items, the addresses of two functions that return the number of the calling thread and how many there are, and the
    arguments, each with a stride: part t gets the argument plus t times its stride, for memory of its own.

    Args:
        name: symbol of the function.
        real: "float" or "double".
        width: channels of a vector.
        arguments: names with their kind, "real*" (numbers), "index*" or "small*" (integers of 64 or 32 bits)
            or "index" (one integer).
    """

    def __init__(self, name: str, real: str, width: int, arguments: dict[str, str]) -> None:
        self.name, self.width = name, width
        self.real = ir.FloatType() if real == "float" else ir.DoubleType()
        self.itemsize = 4 if real == "float" else 8
        self.vector = ir.VectorType(self.real, width)
        self.module = ir.Module(name)
        arguments = {**arguments, "start": "index", "stop": "index"}
        types = [Index if kind == "index" else Pointer for kind in arguments.values()]
        self.function = ir.Function(self.module, ir.FunctionType(ir.VoidType(), types), f"{name}_part")
        self.function.linkage = "internal"
        self.arguments: dict[str, Value] = dict(zip(arguments, self.function.args, strict=True))
        for (argument, kind), value in zip(arguments.items(), self.function.args, strict=True):
            value.name = argument
            if kind != "index":
                value.add_attribute("noalias")
        self.builder = ir.IRBuilder(self.function.append_basic_block("entry"))
        self._loops: list[tuple[Value, Value, Value, list[Value], Value | int]] = []
        self._intrinsics: dict[str, Value] = {}

    def __getitem__(self, name: str) -> Value:
        """The argument of that name."""
        return self.arguments[name]

    def finish(self) -> str:
        """End the function and return its LLVM assembly."""
        self.builder.ret_void()
        self._emit_entry()
        return str(self.module)

    def _emit_entry(self) -> None:
        """The function that is called: finds the parts of its thread and runs the kernel on them."""
        pointer, number = Pointer, ir.FunctionType(ir.IntType(32), [])
        part = self.function
        self.function = ir.Function(self.module, ir.FunctionType(ir.VoidType(), [pointer]), self.name)
        builder = self.builder = ir.IRBuilder(self.function.append_basic_block("entry"))
        (data,) = self.function.args
        parts, items = self.load_index(data, 0), self.load_index(data, 1)
        alone, before = builder.icmp_signed("==", parts, self.integer(1)), builder.block
        several, run = self.function.append_basic_block("several"), self.function.append_basic_block("run")
        builder.cbranch(alone, run, several)
        builder.position_at_end(several)
        asked = []
        for place in (2, 3):
            function = builder.inttoptr(self.load_index(data, place), number.as_pointer())
            asked.append(builder.sext(builder.call(function, []), Index))
        builder.branch(run)
        builder.position_at_end(run)
        phis = []
        for value, single in zip(asked, (0, 1)):
            phi = builder.phi(Index)
            phi.add_incoming(self.integer(single), before)
            phi.add_incoming(value, several)
            phis.append(phi)
        with self.loop(phis[0], parts, phis[1]) as thread:
            values = []
            for place, argument in enumerate(part.args[:-2]):
                stride = self.load_index(data, 5 + 2 * place)
                value = self.linear(self.load_index(data, 4 + 2 * place), (thread, stride))
                values.append(value if argument.type == Index else self.builder.inttoptr(value, pointer))
            for shifted in (thread, self.linear(thread, 1)):
                values.append(self.builder.sdiv(self.builder.mul(items, shifted), parts))
            self.builder.call(part, values)
        self.builder.ret_void()

    # Integers ---------------------------------------------------------------------------------------------------

    def integer(self, value: int | Value) -> Value:
        """A 64-bit constant; values pass through."""
        return ir.Constant(Index, value) if isinstance(value, int) else value

    def linear(self, *terms: tuple[Value | int, Value | int] | Value | int) -> Value:
        """The sum of terms, a pair standing for a product: linear((i, n), j) = i n + j."""
        total: Value = None
        for term in terms:
            if isinstance(term, tuple):
                left, right = (self.integer(factor) for factor in term)
                term = self.builder.mul(left, right)
            term = self.integer(term)
            total = term if total is None else self.builder.add(total, term)
        return total

    def load_index(self, pointer: Value, offset: Value | int) -> Value:
        """The integer at ``pointer[offset]``."""
        return self.builder.load(self._address(pointer, Index, offset), typ=Index)

    def store_index(self, value: Value, pointer: Value, offset: Value | int) -> None:
        """Write an integer to ``pointer[offset]``."""
        self.builder.store(value, self._address(pointer, Index, offset))

    def divide(self, left: Value, right: Value) -> tuple[Value, Value]:
        """Quotient and remainder of integers that are not negative."""
        return self.builder.sdiv(left, right), self.builder.srem(left, right)

    def pointer(self, address: Value) -> Value:
        """The pointer to an address."""
        return self.builder.inttoptr(address, Pointer)

    def shifted(self, pointer: Value, offset: Value | int) -> Value:
        """The pointer to the number at ``pointer[offset]``."""
        return self._address(pointer, self.real, offset)

    def minimum(self, left: Value, right: Value) -> Value:
        """The smaller of two integers."""
        return self.select(self.builder.icmp_signed("<", left, right), left, right)

    def maximum(self, left: Value, right: Value) -> Value:
        """The larger of two integers."""
        return self.select(self.builder.icmp_signed(">", left, right), left, right)

    def less(self, left: Value, right: Value) -> Value:
        """Whether one integer is smaller than another."""
        return self.builder.icmp_signed("<", left, right)

    def equal(self, left: Value, right: Value) -> Value:
        """Whether two integers are equal."""
        return self.builder.icmp_signed("==", left, right)

    def select(self, condition: Value, yes: Value, no: Value) -> Value:
        """One of two values."""
        return self.builder.select(condition, yes, no)

    def load_small(self, pointer: Value, offset: Value | int) -> Value:
        """The 32-bit integer at ``pointer[offset]``."""
        small = ir.IntType(32)
        return self.builder.sext(self.builder.load(self._address(pointer, small, offset), typ=small), Index)

    # Loops ------------------------------------------------------------------------------------------------------

    @contextmanager
    def loop(self, start: Value | int, stop: Value | int, step: Value | int = 1) -> Iterator[Value]:
        """``for index in range(start, stop, step)`` around the body."""
        carried = self._open(start, stop, step, [])
        yield carried[0]
        self._close([])

    def accumulate(
        self,
        start: Value | int,
        stop: Value | int,
        step: int,
        initial: Sequence[Value],
        body: Callable[[Value, list[Value]], Sequence[Value]],
    ) -> list[Value]:
        """Run ``values = body(index, values)`` over the range and return the last values."""
        index, *values = self._open(start, stop, step, initial)
        return self._close(list(body(index, values)))

    def _open(self, start: Value | int, stop: Value | int, step: Value | int, initial: Sequence[Value]) -> list[Value]:
        builder = self.builder
        before = builder.block
        head, body, after = (self.function.append_basic_block(part) for part in ("head", "body", "after"))
        builder.branch(head)
        builder.position_at_end(head)
        index = builder.phi(Index)
        index.add_incoming(self.integer(start), before)
        values = []
        for value in initial:
            phi = builder.phi(value.type)
            phi.add_incoming(value, before)
            values.append(phi)
        builder.cbranch(builder.icmp_signed("<", index, self.integer(stop)), body, after)
        builder.position_at_end(body)
        self._loops.append((head, after, index, values, step))
        return [index, *values]

    def _close(self, values: list[Value]) -> list[Value]:
        head, after, index, phis, step = self._loops.pop()
        following = self.builder.add(index, self.integer(step))
        end = self.builder.block
        index.add_incoming(following, end)
        for phi, value in zip(phis, values, strict=True):
            phi.add_incoming(value, end)
        self.builder.branch(head)
        self.builder.position_at_end(after)
        return list(phis)

    # Numbers ----------------------------------------------------------------------------------------------------

    def zero(self) -> Value:
        """The vector of zeros."""
        return ir.Constant(self.vector, [0.0] * self.width)

    def constant(self, value: float) -> Value:
        """The vector with ``value`` in every channel."""
        return ir.Constant(self.vector, [float(value)] * self.width)

    def load(self, pointer: Value, offset: Value | int) -> Value:
        """``width`` numbers from ``pointer[offset]`` on."""
        return self.builder.load(self._address(pointer, self.real, offset), typ=self.vector, align=self.itemsize)

    def store(self, value: Value, pointer: Value, offset: Value | int) -> None:
        """Write a vector to ``pointer[offset]`` and on."""
        self.builder.store(value, self._address(pointer, self.real, offset), align=self.itemsize)

    def add_to(self, value: Value, pointer: Value, offset: Value | int) -> None:
        """Add a vector to what is at ``pointer[offset]`` and on."""
        self.store(self.add(self.load(pointer, offset), value), pointer, offset)

    def load_number(self, pointer: Value, offset: Value | int) -> Value:
        """One number."""
        return self.builder.load(self._address(pointer, self.real, offset), typ=self.real)

    def store_number(self, value: Value, pointer: Value, offset: Value | int) -> None:
        """Write one number."""
        self.builder.store(value, self._address(pointer, self.real, offset))

    def number(self, value: float) -> Value:
        """A constant number, not a vector."""
        return ir.Constant(self.real, float(value))

    def broadcast(self, number: Value) -> Value:
        """One number in every channel."""
        undefined = ir.Constant(self.vector, ir.Undefined)
        single = self.builder.insert_element(undefined, number, ir.Constant(ir.IntType(32), 0))
        return self._shuffled(single, undefined, [0] * self.width)

    def add(self, left: Value, right: Value) -> Value:
        """Sum of two vectors or two numbers."""
        return self.builder.fadd(left, right)

    def mul(self, left: Value, right: Value) -> Value:
        """Product of two vectors or two numbers."""
        return self.builder.fmul(left, right)

    def fma(self, left: Value, right: Value, addend: Value | None) -> Value:
        """left * right + addend; an addend of None is zero."""
        if addend is None:
            return self.mul(left, right)
        return self._call("llvm.fma", left.type, [left, right, addend], 3)

    def inverse_root(self, number: Value) -> Value:
        """One over the root of a number."""
        root = self._call("llvm.sqrt", number.type, [number], 1)
        return self.builder.fdiv(self.number(1.0), root)

    def dot(self, left: Sequence[Value], right: Sequence[Value]) -> Value:
        """Sum of the products of vectors, channel by channel."""
        total = None
        for a, b in zip(left, right, strict=True):
            total = self.fma(a, b, total)
        return total

    def sum_of_channels(self, vector: Value) -> Value:
        """The sum over the channels of a vector, as a number."""
        length = self.width
        while length > 1:
            length //= 2
            vector = self._folded(vector, None, length)
        return self.builder.extract_element(vector, ir.Constant(ir.IntType(32), 0))

    def store_sums(self, vectors: Sequence[Value], factor: Value, pointer: Value, offset: Value, again: Value) -> None:
        """Write the sums over the channels of vectors, times a number, to ``pointer[offset]`` and on; ``again``: add.

        Vectors are folded together: half of the channels of one, and half of the next, make one vector.
        """
        if len(vectors) > self.width or len(vectors) & (len(vectors) - 1):
            for place in range(len(vectors)):
                self.store_sums(vectors[place : place + 1], factor, pointer, self.linear(offset, place), again)
            return
        sums, length = list(vectors), self.width  # of the segments that vectors consist of, one for every sum
        while length > 1:
            length //= 2
            pairs = zip(sums[0::2], sums[1::2], strict=True) if len(sums) > 1 else [(sums[0], None)]
            sums = [self._folded(left, right, length) for left, right in pairs]
        (total,) = sums
        address = self._address(pointer, self.real, offset)
        zeros = ir.Constant(total.type, [0.0] * total.type.count)
        before = self.select(again, self.builder.load(address, typ=total.type, align=self.itemsize), zeros)
        factors = self._shuffled(factor, factor, [0] * len(vectors))
        self.builder.store(self.fma(total, factors, before), address, align=self.itemsize)

    def _folded(self, left: Value, right: Value | None, length: int) -> Value:
        """First halves of all segments of one or two vectors plus second halves; ``length`` is that of a half."""
        size = left.type.count * (1 if right is None else 2)
        right = ir.Constant(left.type, ir.Undefined) if right is None else right
        first = [place for place in range(size) if place // length % 2 == 0]
        halves = [self._shuffled(left, right, [place + shift for place in first]) for shift in (0, length)]
        return self.builder.fadd(*halves)

    def _shuffled(self, left: Value, right: Value, places: list[int]) -> Value:
        """The numbers at ``places`` of two vectors, one after the other."""
        mask = ir.Constant(ir.VectorType(ir.IntType(32), len(places)), places)
        return self.builder.shuffle_vector(left, right, mask)

    def scratch(self, size: int) -> Value:
        """Memory of the function for ``size`` vectors, as a pointer to numbers."""
        return self._memory(self.vector, size)

    def scratch_integers(self, size: int) -> Value:
        """Likewise for 64-bit integers."""
        return self._memory(Index, size)

    def _memory(self, kind: Value, size: int) -> Value:
        with self.builder.goto_entry_block():
            memory = self.builder.alloca(kind, size=ir.Constant(Index, size))
        memory.align = 64  # pyright: ignore[reportAttributeAccessIssue]
        memory.type = Pointer
        return memory

    def _address(self, pointer: Value, kind: Value, offset: Value | int) -> Value:
        return self.builder.gep(pointer, [self.integer(offset)], source_etype=kind, inbounds=True)

    def _call(self, name: str, kind: Value, arguments: list[Value], count: int) -> Value:
        suffix = ("f32" if self.itemsize == 4 else "f64") if kind == self.real else None
        suffix = suffix or f"v{kind.count}f{8 * self.itemsize}"
        symbol = f"{name}.{suffix}"
        if symbol not in self._intrinsics:
            self._intrinsics[symbol] = ir.Function(self.module, ir.FunctionType(kind, [kind] * count), symbol)
        return self.builder.call(self._intrinsics[symbol], arguments)
