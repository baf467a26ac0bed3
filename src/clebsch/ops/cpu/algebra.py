"""Expressions of numbers that can be differentiated before they are emitted."""

from __future__ import annotations

from collections.abc import Sequence

from clebsch.ops.cpu.emit import Kernel, Value

Node = int


class Expressions:
    """A set of expressions in some variables; equal expressions are one node.

    Nodes are numbers of entries (kind, left, right); kinds are "variable", "constant", "add", "multiply" and
    "inverse_root", :math:`x^{-1/2}`.

    Args:
        num_variables: how many variables there are; they are the first nodes.
    """

    def __init__(self, num_variables: int) -> None:
        self.entries: list[tuple] = [("variable", index, None) for index in range(num_variables)]
        self.known: dict[tuple, Node] = {entry: node for node, entry in enumerate(self.entries)}

    def constant(self, value: float) -> Node:
        """A number."""
        return self._node("constant", float(value), None)

    def add(self, left: Node, right: Node) -> Node:
        """Sum of two expressions."""
        for one, other in ((left, right), (right, left)):
            if self._is(one, 0.0):
                return other
        return self._node("add", *sorted((left, right)))

    def multiply(self, left: Node, right: Node) -> Node:
        """Product of two expressions."""
        for one, other in ((left, right), (right, left)):
            if self._is(one, 0.0):
                return one
            if self._is(one, 1.0):
                return other
        return self._node("multiply", *sorted((left, right)))

    def inverse_root(self, x: Node) -> Node:
        """One over the root of an expression."""
        return self._node("inverse_root", x, None)

    def dot(self, left: Sequence[Node], right: Sequence[Node]) -> Node:
        """Sum of products."""
        total = self.constant(0.0)
        for a, b in zip(left, right, strict=True):
            total = self.add(total, self.multiply(a, b))
        return total

    def gradient(self, output: Node, variables: Sequence[Node]) -> list[Node]:
        """Derivatives of one expression by some variables, in reverse mode."""
        slopes = {output: self.constant(1.0)}
        for node in range(output, -1, -1):
            if node not in slopes:
                continue
            kind, left, right = self.entries[node]
            slope = slopes[node]
            if kind == "add":
                parts = [(left, slope), (right, slope)]
            elif kind == "multiply":
                parts = [(left, self.multiply(slope, right)), (right, self.multiply(slope, left))]
            elif kind == "inverse_root":
                cube = self.multiply(node, self.multiply(node, node))
                parts = [(left, self.multiply(slope, self.multiply(self.constant(-0.5), cube)))]
            else:
                continue
            for source, part in parts:
                slopes[source] = self.add(slopes[source], part) if source in slopes else part
        return [slopes.get(variable, self.constant(0.0)) for variable in variables]

    def signature(self, outputs: Sequence[Node]) -> bytes:
        """Everything that decides the values of some expressions, as text; ``repr`` of a float is exact."""
        return repr((self.entries, list(outputs))).encode()

    def emit(self, kernel: Kernel, variables: Sequence[Value], outputs: Sequence[Node]) -> list[Value]:
        """The values of some expressions at the values of the variables."""
        needed, pending = set(), list(outputs)
        while pending:
            node = pending.pop()
            if node not in needed:
                needed.add(node)
                kind, *sources = self.entries[node]
                if kind in ("add", "multiply", "inverse_root"):
                    pending += [source for source in sources if source is not None]
        values: dict[Node, Value] = {}
        for node in sorted(needed):
            kind, left, right = self.entries[node]
            if kind == "variable":
                values[node] = variables[left]
            elif kind == "constant":
                values[node] = kernel.number(left)
            elif kind == "inverse_root":
                values[node] = kernel.inverse_root(values[left])
            else:
                values[node] = (kernel.add if kind == "add" else kernel.mul)(values[left], values[right])
        return [values[node] for node in outputs]

    def _is(self, node: Node, value: float) -> bool:
        return self.entries[node][:2] == ("constant", value)

    def _node(self, *entry: object) -> Node:
        if entry not in self.known:
            self.known[entry] = len(self.entries)
            self.entries.append(entry)
        return self.known[entry]
