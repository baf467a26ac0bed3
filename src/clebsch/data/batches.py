"""Which graphs go together into a batch, and in which order."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from clebsch.errors import DataError


class BatchSampler:
    """Batches of graph indices, by number of graphs or by number of atoms.

    The order of an epoch is the permutation drawn by ``numpy.random.default_rng([seed, epoch])``: it depends on nothing
    else, so a resumed run sees the batches it would have seen.

    Args:
        num_atoms: number of atoms of every graph.
        batch_size: graphs per batch; the last batch may be smaller.
        max_atoms: atoms per batch instead: graphs are added in order until the next would exceed it; a graph larger
            than ``max_atoms`` is a batch of its own.
        shuffle: draw a new order for every epoch; without it the order is 0, 1, 2, …
        seed: seed of the orders.
        draws: how often every graph is drawn in an epoch; None for once. Of n graphs that are drawn 0.1 times, n / 10
            are drawn in an epoch, and others in the next ones, until all were drawn.

    Raises:
        DataError: not exactly one of ``batch_size`` and ``max_atoms`` is given, or it is not positive.
    """

    def __init__(
        self,
        num_atoms: Sequence[int],
        batch_size: int | None = None,
        max_atoms: int | None = None,
        shuffle: bool = True,
        seed: int = 0,
        draws: Sequence[float] | None = None,
    ) -> None:
        given = [size for size in (batch_size, max_atoms) if size is not None]
        if len(given) != 1 or given[0] < 1:
            raise DataError(
                f"Give either batch_size or max_atoms, at least 1; got batch_size={batch_size}, max_atoms={max_atoms}."
            )
        self.num_atoms = [int(number) for number in num_atoms]
        self.batch_size, self.max_atoms = batch_size, max_atoms
        self.shuffle, self.seed = shuffle, seed
        self.draws = None if draws is None else np.asarray(draws, dtype=np.float64)

    def batches(self, epoch: int = 0) -> list[list[int]]:
        """Return the batches of an epoch: every graph's index exactly once, or as often as ``draws`` say."""
        order = self._order(epoch)
        n = len(order)
        if self.batch_size is not None:
            return [order[start : start + self.batch_size] for start in range(0, n, self.batch_size)]
        batches: list[list[int]] = []
        atoms = 0
        for index in order:
            atoms += self.num_atoms[index]
            if not batches or atoms > (self.max_atoms or 0):
                batches.append([])
                atoms = self.num_atoms[index]
            batches[-1].append(index)
        return batches

    def _order(self, epoch: int) -> list[int]:
        """The indices of an epoch, one after another."""
        chosen = np.arange(len(self.num_atoms)) if self.draws is None else self._drawn(epoch)
        return (
            np.random.default_rng([self.seed, epoch]).permutation(chosen).tolist() if self.shuffle else chosen.tolist()
        )

    def _drawn(self, epoch: int) -> np.ndarray:
        """What an epoch takes of the endless row of permutations of the graphs that are drawn equally often."""
        assert self.draws is not None
        found = []
        for group, draws in enumerate(np.unique(self.draws)):
            members = np.flatnonzero(self.draws == draws)
            first, last = (int(len(members) * draws * (epoch + end) + 1e-9) for end in (0, 1))
            cycles = range(first // len(members), -(-last // len(members)))
            rows = [np.random.default_rng([self.seed, group, cycle, 1]).permutation(members) for cycle in cycles]
            begin = cycles.start * len(members)
            found.append(np.concatenate([*rows, members[:0]])[first - begin : last - begin])
        return np.concatenate(found)
