"""Graphs of a pack, made when they are asked for; and what is asked of sets that are lists or packs alike."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar, overload

import numpy as np

from clebsch.data.configuration import Configuration, find_elements
from clebsch.data.graph import Graph, build_graph
from clebsch.data.pack import Pack
from clebsch.data.quantities import QUANTITIES

MOST_SAMPLED = 5000  # configurations of a pack of which statistics are taken that need neighbours
Item = TypeVar("Item", Configuration, Graph)


class PackedGraphs(Sequence[Graph]):
    """The graphs of a pack: read, and their neighbours searched, when they are asked for.

    Args:
        frames: the pack.
        elements: chemical symbols the model knows, in its order.
        r_max: cutoff radius, Å.
    """

    def __init__(self, frames: Pack, elements: Sequence[str], r_max: float) -> None:
        self.frames, self.elements, self.r_max = frames, tuple(elements), r_max
        self.num_atoms = frames.num_atoms
        self.counted = {name: frames.counts(name) for name in QUANTITIES}
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="clebsch-pack")
        self._expected: dict[int, Future[Graph]] = {}

    def __len__(self) -> int:
        return len(self.frames)

    @overload
    def __getitem__(self, index: int) -> Graph: ...
    @overload
    def __getitem__(self, index: slice) -> list[Graph]: ...
    def __getitem__(self, index: int | slice) -> Graph | list[Graph]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        expected = self._expected.pop(index, None)
        return self._build(index) if expected is None else expected.result()

    def expect(self, indices: Iterable[int]) -> None:
        """Begin to make the graphs that will be asked for next; forget others that were expected and not asked for."""
        before, self._expected = self._expected, {}
        for index in indices:
            self._expected[index] = before.pop(index, None) or self._pool.submit(self._build, index)
        for unused in before.values():
            unused.cancel()

    def _build(self, index: int) -> Graph:
        return build_graph(self.frames[index], self.elements, self.r_max)


def sizes_of(items: Sequence[Configuration] | Sequence[Graph]) -> list[int]:
    """Return the number of atoms of every configuration or graph."""
    if isinstance(items, (Pack, PackedGraphs)):
        return items.num_atoms.tolist()
    return [item.num_atoms for item in items]


def labelled(items: Sequence[Configuration] | Sequence[Graph], quantity: str) -> np.ndarray:
    """Return for every configuration or graph whether it has a label of ``quantity``."""
    frames = items.frames if isinstance(items, PackedGraphs) else items
    if isinstance(frames, Pack):
        return frames.labelled(quantity)
    return np.array([quantity in item.labels for item in frames], dtype=bool)


def elements_of(frames: Sequence[Configuration]) -> tuple[str, ...]:
    """Return the chemical symbols that occur, in order of atomic number."""
    return frames.elements if isinstance(frames, Pack) else find_elements(frames)


def some_of(items: Sequence[Item], most: int = MOST_SAMPLED) -> Sequence[Item]:
    """Return all of a list, and of a pack no more than ``most`` at equal steps."""
    return at_equal_steps(items, most) if _on_disk(items) else items


def at_equal_steps(items: Sequence[Item], most: int) -> Sequence[Item]:
    """Return all configurations or graphs, or ``most`` of them at equal steps."""
    if len(items) <= most:
        return items
    return [items[index] for index in np.linspace(0, len(items) - 1, most).astype(int).tolist()]


def stretches_of(items: Sequence[Item], most: int, number: int = 5) -> Sequence[Item]:
    """Return all of a list, and of a pack ``most`` in a ``number`` of runs of consecutive ones at equal steps."""
    if not _on_disk(items) or len(items) <= most:
        return items
    length = most // number
    starts = np.linspace(0, len(items) - length, number).astype(int).tolist()
    return [items[start + step] for start in starts for step in range(length)]


def _on_disk(items: object) -> bool:
    return isinstance(items, (Pack, PackedGraphs))


def expect(graphs: Sequence[Graph], indices: Iterable[int]) -> None:
    """Let a set that makes its graphs when they are asked for begin with those that come next."""
    if isinstance(graphs, PackedGraphs):
        graphs.expect(indices)
