r"""Vector code of the product basis and of its derivatives.

The product basis is a polynomial of its variables x, the components of the factors,

.. math:: B_M = \sum_n c_{M,n} \prod_{v \in n} x_v, \qquad c_{M,n} = \sum_\eta w_{z,\eta} C_{\eta,M,n},

with coefficients that all atoms of an element share. The monomials form trees (see polynomials.py). P of a node is the
product of its variables, U the polynomial of what follows, :math:`U = \sum_v x_v U_v` (Horner's rule). Three kernels
work on them, each also along a direction :math:`\dot x`: ``value`` gives B, ``gradient`` the derivative of
:math:`\sum_M G_M B_M` by x, ``weights`` that by w. Coefficients are made once per element and vector of channels, and
every load of one serves several atoms, the lanes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from clebsch.ops.cpu.emit import Kernel, Value
from clebsch.ops.cpu.polynomials import Group, Level, Polynomials, Trie, polynomials
from clebsch.ops.descriptors import ProductBasisDescriptor

LANES = 4
Lanes = list[Value]  # one vector per lane


@dataclass(frozen=True)
class ProductBasisProgram:
    """What a product basis kernel is compiled for.

    Attributes:
        descriptor: factors, output and correlation order.
        kind: "value", "gradient" or "weights".
        along: whether the derivative along a direction is wanted.
        channels: K.
        width: channels of a vector.
        real: "float" or "double".
    """

    descriptor: ProductBasisDescriptor
    kind: str
    along: bool
    channels: int
    width: int
    real: str

    @property
    def polynomials(self) -> Polynomials:
        """The polynomials."""
        return polynomials(self.descriptor)

    @property
    def trie(self) -> Trie:
        """The trees the kernel walks through."""
        return self.polynomials.by_output if self.kind == "value" else self.polynomials.together

    @property
    def arguments(self) -> dict[str, str]:
        """Arguments of the kernel."""
        factors = range(self.polynomials.num_factors)
        names = [f"x{f}" for f in factors] + ([f"x_dot{f}" for f in factors] if self.along else [])
        results = {"value": ["B"], "gradient": ["G", *(f"dx{f}" for f in factors)], "weights": ["G"]}[self.kind]
        arguments = dict.fromkeys([*names, "w", *results, "term_values"], "real*")
        arguments |= dict.fromkeys(["atom_order", "element_start"], "index*") | {"tables": "small*"}
        return arguments | dict.fromkeys(["atoms", "elements"], "index")

    @cached_property
    def tables(self) -> tuple[np.ndarray, dict[str, int], np.ndarray]:
        """All integer tables in one array, where each of them begins, and the coupling of every term."""
        trie, places, parts = self.trie, {}, []
        cell = LANES * self.width
        slots = np.argsort(trie.leaf_coefficients)
        terms = [
            (slots[number] * self.width, path * self.channels, value)
            for number, coefficient in enumerate(self.polynomials.coefficients)
            for path, value in coefficient.terms
        ]
        found = {
            "node_parents": trie.node_parents * cell,
            "node_variables": trie.node_variables * cell,
            "leaf_variables": trie.leaf_variables * cell,
            "leaf_outputs": trie.leaf_outputs * cell,
            "term_slots": np.array([slot for slot, _, _ in terms]),
            "term_paths": np.array([path for _, path, _ in terms]),
        }
        for depth, level in enumerate(trie.levels):
            for name in ("cells", "parents", "variables"):
                found[f"{name}{depth}"] = getattr(level, name) * cell
        for name, table in found.items():
            places[name] = sum(len(part) for part in parts)
            parts.append(np.asarray(table, dtype=np.int32))
        return np.concatenate(parts), places, np.array([value for _, _, value in terms])

    @property
    def signature(self) -> bytes:
        """Everything that the emitters read, and the tables and couplings that the kernel is called with."""
        tables, places, couplings = self.tables
        choices = (self.kind, self.along, self.channels, self.width, self.real, self.arguments, places)
        sizes = (self.polynomials.sizes, self.trie.sizes)
        return b" ".join([repr((choices, sizes)).encode(), tables.tobytes(), couplings.tobytes()])


def emit_product_basis(program: ProductBasisProgram, name: str) -> str:
    """Assembly of the kernel."""
    return {"value": _Value, "gradient": _Gradient, "weights": _Weights}[program.kind](program, name).emit()


class _Emitter:
    """Loops over elements, channels and blocks of atoms; what belongs to a block is in memory that stays in cache."""

    def __init__(self, program: ProductBasisProgram, name: str) -> None:
        self.program, self.along = program, program.along
        self.polynomials, self.trie = program.polynomials, program.trie
        self.kernel = kernel = Kernel(name, program.real, program.width, program.arguments)
        _, self.tables, couplings = program.tables
        self.num_terms, self.cell = len(couplings), LANES * program.width
        variables, cells = self.polynomials.num_variables + 1, self.trie.num_cells
        self.slice = kernel.scratch(max(1, len(self.polynomials.coefficients)))
        self.x, self.x_dot = kernel.scratch(variables * LANES), kernel.scratch(variables * LANES)
        self.U, self.U_dot = kernel.scratch(cells * LANES), kernel.scratch(cells * LANES)
        self.P, self.P_dot = kernel.scratch(cells * LANES), kernel.scratch(cells * LANES)

    def emit(self) -> str:
        """Atoms are shared between threads: each has a part of those of every element."""
        kernel = self.kernel
        self.prepare()
        with kernel.loop(0, kernel["elements"]) as element:
            first = kernel.maximum(kernel["start"], kernel.load_index(kernel["element_start"], element))
            after = kernel.load_index(kernel["element_start"], kernel.linear(element, 1))
            last = kernel.minimum(kernel["stop"], after)
            some = kernel.select(kernel.less(first, last), kernel.integer(self.program.channels), kernel.integer(0))
            with kernel.loop(0, some, self.program.width) as channel:
                self.make_coefficients(element, channel)
                with kernel.loop(first, last, LANES) as start:
                    self.block(start, last, channel)
        return kernel.finish()

    def block(self, start: Value, last: Value, channel: Value) -> None:
        """Work on one block of atoms."""
        raise NotImplementedError

    # Memory -----------------------------------------------------------------------------------------------------

    def prepare(self) -> None:
        """The variable "one" and its direction, zero."""
        place = self.polynomials.num_variables * self.cell
        self.store(self.x, place, [self.kernel.constant(1.0)] * LANES)
        self.store(self.x_dot, place, self.zeros())

    def zeros(self) -> Lanes:
        """Zero in every lane."""
        return [self.kernel.zero()] * LANES

    def load(self, memory: Value, place: Value | int) -> Lanes:
        """The lanes of a cell."""
        return [self.kernel.load(memory, self.kernel.linear(place, n * self.program.width)) for n in range(LANES)]

    def store(self, memory: Value, place: Value | int, lanes: Lanes) -> None:
        """Write the lanes of a cell."""
        for n, vector in enumerate(lanes):
            self.kernel.store(vector, memory, self.kernel.linear(place, n * self.program.width))

    def fma(self, left: Lanes, right: Lanes, addend: Lanes | None) -> Lanes:
        """left * right + addend, lane by lane."""
        addends: list[Value | None] = [None] * LANES if addend is None else list(addend)
        return [self.kernel.fma(a, b, c) for a, b, c in zip(left, right, addends, strict=True)]

    def add_product(self, memory: Value, place: Value | int, *pairs: tuple[Lanes, Lanes]) -> None:
        """Add products to a cell."""
        total = self.load(memory, place)
        for left, right in pairs:
            total = self.fma(left, right, total)
        self.store(memory, place, total)

    def clear(self, memory: Value, cells: int) -> None:
        """Set cells to zero."""
        with self.kernel.loop(0, cells * self.cell, self.cell) as place:
            self.store(memory, place, self.zeros())

    def entry(self, table: str, index: Value | int) -> Value:
        """An integer of a table."""
        return self.kernel.load_small(self.kernel["tables"], self.kernel.linear(self.tables[table], index))

    # Parts ------------------------------------------------------------------------------------------------------

    def make_coefficients(self, element: Value, channel: Value) -> None:
        """c of one element and vector of channels, in the order of the leaves."""
        kernel, width = self.kernel, self.program.width
        with kernel.loop(0, len(self.polynomials.coefficients) * width, width) as place:
            kernel.store(kernel.zero(), self.slice, place)
        base = self.weight_place(element, channel)
        with kernel.loop(0, self.num_terms) as term:
            weight = kernel.load(kernel["w"], kernel.linear(base, self.entry("term_paths", term)))
            coupling = kernel.broadcast(kernel.load_number(kernel["term_values"], term))
            slot = self.entry("term_slots", term)
            kernel.store(kernel.fma(weight, coupling, kernel.load(self.slice, slot)), self.slice, slot)

    def weight_place(self, element: Value, channel: Value) -> Value:
        """Where the weights of an element begin."""
        return self.kernel.linear((element, self.polynomials.num_paths * self.program.channels), channel)

    def coefficient(self, leaf: Value) -> Value:
        """c of a leaf."""
        return self.kernel.load(self.slice, self.kernel.linear((leaf, self.program.width)))

    def atoms(self, start: Value, last: Value) -> list[Value]:
        """The atoms of a block; the last one is repeated where the block is not full."""
        kernel = self.kernel
        end = kernel.linear(last, -1)
        places = [kernel.minimum(kernel.linear(start, lane), end) for lane in range(LANES)]
        return [kernel.load_index(kernel["atom_order"], place) for place in places]

    def place(self, component: Value | int, atom: Value, channel: Value) -> Value:
        """Where a component of an atom lies in the arrays."""
        row = self.kernel.linear((component, self.kernel["atoms"]), atom)
        return self.kernel.linear((row, self.program.channels), channel)

    def gather(self, name: str, memory: Value, count: int, atoms: list[Value], channel: Value, first: int = 0) -> None:
        """Copy the components of a block of atoms side by side."""
        kernel = self.kernel
        with kernel.loop(0, count) as component:
            lanes = [kernel.load(kernel[name], self.place(component, atom, channel)) for atom in atoms]
            self.store(memory, kernel.linear((kernel.linear(component, first), self.cell)), lanes)

    def scatter(self, memory: Value, name: str, count: int, atoms: list[Value], channel: Value, first: int = 0) -> None:
        """Copy them back."""
        kernel = self.kernel
        with kernel.loop(0, count) as component:
            lanes = self.load(memory, kernel.linear((kernel.linear(component, first), self.cell)))
            for vector, atom in zip(lanes, atoms, strict=True):
                kernel.store(vector, kernel[name], self.place(component, atom, channel))

    def gather_variables(self, atoms: list[Value], channel: Value) -> None:
        """The variables of a block of atoms and their directions."""
        components = self.polynomials.components
        for factor in range(self.polynomials.num_factors):
            self.gather(f"x{factor}", self.x, components, atoms, channel, factor * components)
            if self.along:
                self.gather(f"x_dot{factor}", self.x_dot, components, atoms, channel, factor * components)

    def make_products(self) -> None:
        """P of roots and inner nodes, from the root on."""
        self.store(self.P, 0, [self.kernel.constant(1.0)] * LANES)
        self.store(self.P_dot, 0, self.zeros())
        for depth, level in enumerate(self.trie.levels):
            with self.kernel.loop(0, len(level.cells)) as node:
                cell, parent, variable = (
                    self.entry(f"{name}{depth}", node) for name in ("cells", "parents", "variables")
                )
                P, P_dot = self.product(parent, variable)
                self.store(self.P, cell, P)
                if self.along:
                    self.store(self.P_dot, cell, P_dot)

    def product(self, parent: Value, variable: Value) -> tuple[Lanes, Lanes]:
        """P of a node and its derivative."""
        P, x = self.load(self.P, parent), self.load(self.x, variable)
        if not self.along:
            return self.fma(P, x, None), []
        slope = self.fma(P, self.load(self.x_dot, variable), None)
        return self.fma(P, x, None), self.fma(self.load(self.P_dot, parent), x, slope)


class _Value(_Emitter):
    """B, or its derivative along x_dot."""

    def block(self, start: Value, last: Value, channel: Value) -> None:
        atoms = self.atoms(start, last)
        self.gather_variables(atoms, channel)
        self.clear(self.U, self.trie.num_cells)
        if self.along:
            self.clear(self.U_dot, self.trie.num_cells)
        for group in self.trie.groups:
            with self.kernel.loop(group.first, group.last) as node:
                value, slope = self.leaves(group, node)
                self.pass_on(self.entry("node_parents", node), self.entry("node_variables", node), value, slope)
        for depth, level in reversed(list(enumerate(self.trie.levels))):
            with self.kernel.loop(0, len(level.cells)) as node:
                cell, parent, variable = (
                    self.entry(f"{name}{depth}", node) for name in ("cells", "parents", "variables")
                )
                slope = self.load(self.U_dot, cell) if self.along else None
                self.pass_on(parent, variable, self.load(self.U, cell), slope)
        self.scatter(self.U_dot if self.along else self.U, "B", self.polynomials.outputs, atoms, channel)

    def leaves(self, group: Group, node: Value) -> tuple[Lanes, Lanes | None]:
        """U of a node above the leaves, and its derivative."""
        kernel = self.kernel
        first = kernel.linear((kernel.linear(node, -group.first), group.leaves), group.first_leaf)
        value, slope = None, None
        for number in range(group.leaves):
            leaf = kernel.linear(first, number)
            variable, coefficient = self.entry("leaf_variables", leaf), [self.coefficient(leaf)] * LANES
            value = self.fma(self.load(self.x, variable), coefficient, value)
            if self.along:
                slope = self.fma(self.load(self.x_dot, variable), coefficient, slope)
        assert value is not None
        return value, slope

    def pass_on(self, parent: Value, variable: Value, value: Lanes, slope: Lanes | None) -> None:
        """Add x U to the U of the parent."""
        x = self.load(self.x, variable)
        if slope is not None:
            self.add_product(self.U_dot, parent, (x, slope), (self.load(self.x_dot, variable), value))
        self.add_product(self.U, parent, (x, value))


class _Gradient(_Emitter):
    """Derivative of sum_M G_M B_M by x, or its derivative along x_dot: every node contributes P U of its children."""

    def __init__(self, program: ProductBasisProgram, name: str) -> None:
        super().__init__(program, name)
        self.G = self.kernel.scratch(self.polynomials.outputs * LANES)
        self.dx = self.kernel.scratch((self.polynomials.num_variables + 1) * LANES)

    def block(self, start: Value, last: Value, channel: Value) -> None:
        atoms, count = self.atoms(start, last), self.polynomials.components
        self.gather_variables(atoms, channel)
        self.gather("G", self.G, self.polynomials.outputs, atoms, channel)
        self.clear(self.dx, self.polynomials.num_variables + 1)
        self.clear(self.U, self.trie.num_cells)
        if self.along:
            self.clear(self.U_dot, self.trie.num_cells)
        self.make_products()
        for group in self.trie.groups:
            with self.kernel.loop(group.first, group.last) as node:
                parent, variable = self.entry("node_parents", node), self.entry("node_variables", node)
                value, slope = self.leaves(group, node, *self.product(parent, variable))
                self.pass_on(parent, variable, value, slope)
        for depth, level in reversed(list(enumerate(self.trie.levels))):
            self.inner(depth, level)
        for factor in range(self.polynomials.num_factors):
            self.scatter(self.dx, f"dx{factor}", count, atoms, channel, factor * count)

    def inner(self, depth: int, level: Level) -> None:
        """Nodes further above, the deepest first."""
        with self.kernel.loop(0, len(level.cells)) as node:
            cell, parent, variable = (self.entry(f"{name}{depth}", node) for name in ("cells", "parents", "variables"))
            slope = self.load(self.U_dot, cell) if self.along else None
            self.pass_on(parent, variable, self.load(self.U, cell), slope)

    def leaves(self, group: Group, node: Value, P: Lanes, P_dot: Lanes) -> tuple[Lanes, Lanes | None]:
        """U of a node above the leaves and its derivative; adds what the leaves contribute."""
        kernel = self.kernel
        first = kernel.linear((kernel.linear(node, -group.first), group.leaves), group.first_leaf)
        value, slope = None, None
        for number in range(group.leaves):
            leaf = kernel.linear(first, number)
            variable = self.entry("leaf_variables", leaf)
            upstream = self.load(self.G, self.entry("leaf_outputs", leaf))
            weight = self.fma(upstream, [self.coefficient(leaf)] * LANES, None)
            value = self.fma(self.load(self.x, variable), weight, value)
            if self.along:
                slope = self.fma(self.load(self.x_dot, variable), weight, slope)
            self.add_product(self.dx, variable, (P_dot if self.along else P, weight))
        assert value is not None
        return value, slope

    def pass_on(self, parent: Value, variable: Value, value: Lanes, slope: Lanes | None) -> None:
        """Add x U to the U of the parent, and P U of the parent to the derivative by x."""
        x, P = self.load(self.x, variable), self.load(self.P, parent)
        if slope is None:
            self.add_product(self.dx, variable, (P, value))
        else:
            self.add_product(self.U_dot, parent, (x, slope), (self.load(self.x_dot, variable), value))
            self.add_product(self.dx, variable, (P, slope), (self.load(self.P_dot, parent), value))
        self.add_product(self.U, parent, (x, value))


class _Weights(_Emitter):
    """Derivative of sum_M G_M B_M by w, or its derivative along x_dot."""

    def __init__(self, program: ProductBasisProgram, name: str) -> None:
        super().__init__(program, name)
        self.G = self.kernel.scratch(self.polynomials.outputs * LANES)

    def emit(self) -> str:
        """Vectors of channels are shared between threads, so that no two of them add to one weight."""
        kernel, width = self.kernel, self.program.width
        self.prepare()
        with kernel.loop(0, kernel["elements"]) as element:
            first = kernel.load_index(kernel["element_start"], element)
            last = kernel.load_index(kernel["element_start"], kernel.linear(element, 1))
            with kernel.loop(kernel["start"], kernel["stop"]) as vector:
                channel = kernel.linear((vector, width))
                with kernel.loop(0, len(self.polynomials.coefficients) * width, width) as place:
                    kernel.store(kernel.zero(), self.slice, place)
                with kernel.loop(first, last, LANES) as start:
                    self.block(start, last, channel)
                self.collect(element, channel)
        return kernel.finish()

    def block(self, start: Value, last: Value, channel: Value) -> None:
        kernel, atoms = self.kernel, self.atoms(start, last)
        self.gather_variables(atoms, channel)
        with kernel.loop(0, self.polynomials.outputs) as output:
            lanes = []
            for lane, atom in enumerate(atoms):
                value = kernel.load(kernel["G"], self.place(output, atom, channel))
                lanes.append(kernel.select(kernel.less(kernel.linear(start, lane), last), value, kernel.zero()))
            self.store(self.G, kernel.linear((output, self.cell)), lanes)
        self.make_products()
        for group in self.trie.groups:
            with kernel.loop(group.first, group.last) as node:
                P, P_dot = self.product(self.entry("node_parents", node), self.entry("node_variables", node))
                self.leaves(group, node, P, P_dot)

    def leaves(self, group: Group, node: Value, P: Lanes, P_dot: Lanes) -> None:
        """Add G times the monomial of every leaf to its coefficient."""
        kernel = self.kernel
        first = kernel.linear((kernel.linear(node, -group.first), group.leaves), group.first_leaf)
        for number in range(group.leaves):
            leaf = kernel.linear(first, number)
            variable = self.entry("leaf_variables", leaf)
            upstream = self.load(self.G, self.entry("leaf_outputs", leaf))
            monomial = self.fma(P_dot if self.along else P, self.load(self.x, variable), None)
            if self.along:
                monomial = self.fma(P, self.load(self.x_dot, variable), monomial)
            total = self.coefficient(leaf)
            for left, right in zip(upstream, monomial, strict=True):
                total = kernel.fma(left, right, total)
            kernel.store(total, self.slice, kernel.linear((leaf, self.program.width)))

    def collect(self, element: Value, channel: Value) -> None:
        """dw = sum of C dc, path by path; ``w`` holds zeros before."""
        kernel = self.kernel
        base = self.weight_place(element, channel)
        with kernel.loop(0, self.num_terms) as term:
            place = kernel.linear(base, self.entry("term_paths", term))
            coupling = kernel.broadcast(kernel.load_number(kernel["term_values"], term))
            gradient = kernel.load(self.slice, self.entry("term_slots", term))
            kernel.store(kernel.fma(gradient, coupling, kernel.load(kernel["w"], place)), kernel["w"], place)
