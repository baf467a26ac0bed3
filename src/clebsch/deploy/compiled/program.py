"""The program of a compiled potential: a list of steps on arrays, and the constants and kernels that they use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch

from clebsch.ops.cpu.compile import REAL, Target, object_code

ALIGNMENT = 64
COUNTS = {"TARGETS": "n", "SOURCES": "m", "EDGES": "e"}  # in the generated code


@dataclass(frozen=True)
class Array:
    """An array of the program, of ``width`` numbers for every item; which memory it has is decided at the end.

    Attributes:
        index: its number.
        unit: what has an entry: "TARGETS", "SOURCES" or "EDGES".
        width: numbers of an item.
    """

    index: int
    unit: str
    width: int

    def at(self, first: int = 0) -> str:
        """C expression of the address behind the ``first`` numbers of every item."""
        return f"x{self.index} + {first} * {COUNTS[self.unit]}" if first else f"x{self.index}"

    @property
    def count(self) -> str:
        """C expression of how many numbers it has."""
        return f"{self.width} * {COUNTS[self.unit]}"


@dataclass
class Program:
    """Steps as C statements, in order, with the arrays that each of them touches.

    Attributes:
        dtype: of the network.
        target: what the kernels are made for.
        arrays: every array.
        steps: statements and their arrays.
        constants: bytes of all weights and tables.
        kernels: object code by symbol.
    """

    dtype: torch.dtype
    target: Target
    arrays: list[Array] = field(default_factory=list)
    steps: list[tuple[str, tuple[Array, ...]]] = field(default_factory=list)
    constants: bytearray = field(default_factory=bytearray)
    kernels: dict[str, bytes] = field(default_factory=dict)
    _places: dict[bytes, int] = field(default_factory=dict)

    @property
    def real(self) -> str:
        """The C type of the network's numbers."""
        return REAL[self.dtype]

    def array(self, unit: str, width: int) -> Array:
        """Return a new array."""
        self.arrays.append(Array(len(self.arrays), unit, width))
        return self.arrays[-1]

    def step(self, statement: str, *arrays: Array) -> None:
        """Add a statement that reads or writes some arrays."""
        self.steps.append((statement, arrays))

    def constant(self, values: np.ndarray | torch.Tensor | bytes, kind: str = "real") -> str:
        """Return the C expression of the address of constants, which are kept once."""
        if isinstance(values, torch.Tensor):
            values = values.detach().cpu().contiguous().numpy()
        content = values if isinstance(values, bytes) else np.ascontiguousarray(values).tobytes()
        if content not in self._places:
            self.constants += bytes(-len(self.constants) % ALIGNMENT)
            self._places[content] = len(self.constants)
            self.constants += content
        return f"AT({kind}, {self._places[content]})"

    def reals(self, values: np.ndarray | torch.Tensor) -> str:
        """Return the C expression of the address of numbers in the dtype of the network."""
        return self.constant(torch.as_tensor(values).to(self.dtype))

    def kernel(self, kind: str, signature: bytes, emit: Callable[[str], str]) -> str:
        """Return the symbol of a kernel, compiled for the target; arguments as for `object_code`."""
        name, code = object_code(kind, signature, emit, self.target)
        self.kernels[name] = code
        return name

    def slots(self) -> tuple[list[tuple[str, int]], dict[int, int]]:
        """Return unit and width of every piece of memory, and the piece of every array; arrays in use share none."""
        last = {array.index: number for number, (_, arrays) in enumerate(self.steps) for array in arrays}
        sizes: list[tuple[str, int]] = []
        free: list[int] = []
        places: dict[int, int] = {}
        for number, (_, arrays) in enumerate(self.steps):
            for array in arrays:
                if array.index not in places:
                    places[array.index] = _take(array, sizes, free)
            free += sorted({places[array.index] for array in arrays if last[array.index] == number})
        return sizes, places


def _take(array: Array, sizes: list[tuple[str, int]], free: list[int]) -> int:
    """A free piece of memory for an array, the one that fits best, made larger if need be; else a new one."""
    fitting = [slot for slot in free if sizes[slot][0] == array.unit]
    if not fitting:
        sizes.append((array.unit, array.width))
        return len(sizes) - 1
    slot = min(fitting, key=lambda slot: (sizes[slot][1] < array.width, abs(sizes[slot][1] - array.width)))
    free.remove(slot)
    sizes[slot] = (array.unit, max(sizes[slot][1], array.width))
    return slot
