"""The product basis as polynomials, laid out for kernels that walk through tables."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from clebsch.ops.descriptors import ProductBasisDescriptor


@dataclass(frozen=True)
class Coefficient:
    """c_{M,n}, the factor of monomial n in component M of B: the sum over ``terms`` (path, C) of C * w[z, path]."""

    output: int
    monomial: tuple[int, ...]
    terms: tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class Group:
    """Nodes above the leaves that have the same number of leaves: nodes first … last - 1."""

    first: int
    last: int
    leaves: int
    first_leaf: int


@dataclass(frozen=True)
class Level:
    """Inner nodes of one depth: for each its cell, the cell of its parent and its variable."""

    cells: np.ndarray
    parents: np.ndarray
    variables: np.ndarray


class Trie:
    """Monomials as a tree: a node is a product of variables, a leaf a coefficient.

    All monomials are padded with the variable "one" to the same length. Nodes above the leaves are sorted by their
    number of leaves, the leaves by node, so that kernels go through both without a decision.

    Attributes:
        roots: number of trees; their cells come first.
        num_cells: cells of roots and inner nodes.
        levels: inner nodes by depth, from 1 on.
        node_parents: cell of the parent of every node above the leaves. node_variables: its last variable.
        groups: runs of such nodes with equally many leaves.
        leaf_variables, leaf_outputs, leaf_coefficients: variable, component of B and coefficient of every leaf.
    """

    def __init__(self, coefficients: Iterable[Coefficient], roots: int, length: int, one: int) -> None:
        self.roots = roots
        cells: dict[tuple[int, ...], int] = {(root,): root for root in range(roots)}
        nodes: dict[tuple[int, ...], list[tuple[int, int, int]]] = {}
        for number, coefficient in enumerate(coefficients):
            root = coefficient.output if roots > 1 else 0
            monomial = (*coefficient.monomial, *(one,) * (length - len(coefficient.monomial)))
            for depth in range(1, length - 1):
                cells.setdefault((root, *monomial[:depth]), len(cells))
            nodes.setdefault((root, *monomial[:-1]), []).append((monomial[-1], coefficient.output, number))
        self.num_cells = len(cells)
        self.levels = [self._level(cells, depth) for depth in range(1, length - 1)]
        ordered = sorted(nodes.items(), key=lambda item: (len(item[1]), item[0]))
        self.node_parents = np.array([cells[key[:-1]] for key, _ in ordered], dtype=np.int32)
        self.node_variables = np.array([key[-1] for key, _ in ordered], dtype=np.int32)
        leaves = np.array([leaf for _, group in ordered for leaf in group], dtype=np.int32).reshape(-1, 3)
        self.leaf_variables, self.leaf_outputs, self.leaf_coefficients = leaves.T
        self.groups = self._groups([len(group) for _, group in ordered])

    @property
    def sizes(self) -> tuple:
        """What the tables do not tell: numbers of roots, cells and nodes of a level, and the groups."""
        return self.roots, self.num_cells, [len(level.cells) for level in self.levels], self.groups

    @staticmethod
    def _level(cells: dict[tuple[int, ...], int], depth: int) -> Level:
        found = [(cell, cells[key[:-1]], key[-1]) for key, cell in cells.items() if len(key) == depth + 1]
        return Level(*np.array(found, dtype=np.int32).reshape(-1, 3).T)

    @staticmethod
    def _groups(counts: list[int]) -> list[Group]:
        groups, leaf = [], 0
        for count in sorted(set(counts)):
            first, number = counts.index(count), counts.count(count)
            groups.append(Group(first, first + number, count, leaf))
            leaf += number * count
        return groups


@dataclass(frozen=True)
class Polynomials:
    """The polynomials of a product basis in the components of its factors; the last variable is "one".

    Attributes:
        descriptor: factors, output and correlation order.
    """

    descriptor: ProductBasisDescriptor

    @property
    def num_factors(self) -> int:
        """Arrays of variables."""
        return self.descriptor.correlation if self.descriptor.distinct else 1

    @property
    def components(self) -> int:
        """Components of a factor."""
        return sum(irrep.dim for irrep in self.descriptor.features)

    @property
    def num_variables(self) -> int:
        """Components of all factors; also the number of the variable "one"."""
        return self.num_factors * self.components

    @property
    def outputs(self) -> int:
        """Components of B."""
        return sum(irrep.dim for irrep in self.descriptor.output)

    @property
    def num_paths(self) -> int:
        """Paths of all blocks, one block after another."""
        return sum(block.coupling.num_paths for block in self.descriptor.blocks)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Numbers of factors, their components, those of B, paths and coefficients."""
        return self.num_factors, self.components, self.outputs, self.num_paths, len(self.coefficients)

    @cached_property
    def coefficients(self) -> tuple[Coefficient, ...]:
        """All coefficients that are not zero for all weights."""
        found: dict[tuple[int, tuple[int, ...]], list[tuple[int, float]]] = {}
        starts = [part.start for part in self.descriptor.output.slices()]
        shift = self.components if self.descriptor.distinct else 0
        before = 0
        for block in self.descriptor.blocks:
            values = block.coupling.coefficients
            for path, m, n in zip(*np.nonzero(np.abs(values) > 1e-12)):
                monomial = tuple(i * shift + int(a) for i, a in enumerate(block.coupling.monomials[n]))
                key = (starts[block.output] + int(m), monomial)
                found.setdefault(key, []).append((before + int(path), float(values[path, m, n])))
            before += block.coupling.num_paths
        return tuple(Coefficient(*key, tuple(terms)) for key, terms in sorted(found.items()))

    @cached_property
    def by_output(self) -> Trie:
        """One tree per component of B."""
        return Trie(self.coefficients, max(2, self.outputs), self._length, self.num_variables)

    @cached_property
    def together(self) -> Trie:
        """One tree for all components of B."""
        return Trie(self.coefficients, 1, self._length, self.num_variables)

    @property
    def _length(self) -> int:
        return max(2, self.descriptor.correlation)


@lru_cache
def polynomials(descriptor: ProductBasisDescriptor) -> Polynomials:
    """The polynomials of a descriptor, found once."""
    return Polynomials(descriptor)
