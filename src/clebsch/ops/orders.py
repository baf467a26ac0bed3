"""Orders of edges and atoms that operations walk in, found once for all layers of a call."""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Callable
from functools import wraps
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

Result = TypeVar("Result")


class Neighborhoods(NamedTuple):
    """Edges by centre and by neighbour.

    Attributes:
        row_start: [atoms + 1], the edges of centre i are row_start[i] … row_start[i + 1] - 1.
        order: [edges], the edges sorted by neighbour.
        column_start: [atoms + 1], the edges of neighbour j are order[column_start[j]] … order[column_start[j + 1] - 1].
    """

    row_start: Tensor
    order: Tensor
    column_start: Tensor


class ElementGroups(NamedTuple):
    """Atoms by element.

    Attributes:
        order: [atoms], the atoms sorted by element.
        start: [elements + 1], the atoms of element z are order[start[z]] … order[start[z + 1] - 1].
    """

    order: Tensor
    start: Tensor


def remember(function: Callable[..., Result]) -> Callable[..., Result]:
    """Keep the last results as long as the same, unchanged tensors and equal other arguments are given again."""
    kept: deque[tuple[list[Any], list[Any], Result]] = deque(maxlen=8)

    @wraps(function)
    def call(*arguments: Any) -> Result:
        stamps = [x._version if isinstance(x, Tensor) else x for x in arguments]
        for references, earlier, result in kept:
            pairs = zip(references, arguments, strict=True)
            if earlier == stamps and all(known is None or known() is x for known, x in pairs):
                return result
        result = function(*arguments)
        kept.appendleft(([weakref.ref(x) if isinstance(x, Tensor) else None for x in arguments], stamps, result))
        return result

    return call


@remember
def find_neighborhoods(centers: Tensor, neighbors: Tensor, num_atoms: int) -> Neighborhoods | None:
    """Return the neighbourhoods of edges, or None where the edges are not sorted by centre.

    Args:
        centers: [edges], int64.
        neighbors: [edges], int64.
        num_atoms: number of atoms.
    """
    if not bool((centers[1:] >= centers[:-1]).all()):
        return None
    order = torch.argsort(neighbors, stable=True)
    return Neighborhoods(_starts(centers, num_atoms), order, _starts(neighbors[order], num_atoms))


@remember
def group_by_element(species: Tensor, num_elements: int) -> ElementGroups:
    """Return the atoms by element.

    Args:
        species: [atoms], int64, element index of every atom.
        num_elements: number of elements.
    """
    order = torch.argsort(species, stable=True)
    return ElementGroups(order, _starts(species[order], num_elements))


def _starts(ascending: Tensor, count: int) -> Tensor:
    """Where every value 0 … count begins in an ascending list."""
    return torch.searchsorted(ascending, torch.arange(count + 1, device=ascending.device))
