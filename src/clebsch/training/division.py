"""Work that several processes divide and whose result all have: graphs, and predictions beside labels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np
import torch

from clebsch.data import Configuration, Graph, Pack, PackedGraphs, build_graphs
from clebsch.data.graph import connect
from clebsch.evaluation.accuracy import (
    BATCH_SIZE,
    Comparison,
    compare_batches,
    cut,
    labelled_names,
    require_finite,
)
from clebsch.models.potential import Potential
from clebsch.models.tensor_file import without_prefix
from clebsch.progress import progress
from clebsch.training.distributed import World

if TYPE_CHECKING:
    from rich.console import Console


def build_divided(
    world: World,
    configurations: Sequence[Configuration],
    elements: Sequence[str],
    r_max: float,
    console: Console | None = None,
) -> Sequence[Graph]:
    """Return the graphs of ``configurations``, of which every process searches the neighbours in a part.

    All processes have all graphs at the end: which of them a step needs changes with every epoch. Those of a pack are
    made when they are asked for.

    Args:
        world: the processes.
        configurations: the same in all of them.
        elements: chemical symbols the model knows, in its order.
        r_max: cutoff radius, Å.
        console: where to say how far a long search is.

    Raises:
        DataError: a configuration holds an element that the model does not know, or a cell or positions of no use.
    """
    if isinstance(configurations, Pack):
        return PackedGraphs(configurations, elements, r_max)
    mine = world.portion([configuration.num_atoms for configuration in configurations])
    with world.together():
        part = configurations[mine.start : mine.stop]
        graphs = build_graphs(progress(console, part, "neighbours", len(part)), elements, r_max)
    if world.size == 1:
        return graphs
    counts = torch.tensor([graph.num_edges for graph in graphs], dtype=torch.int64)
    rows = [torch.stack([graph.centers, graph.neighbors, *graph.shifts.long().T]) for graph in graphs]
    edges = torch.cat([torch.zeros(5, 0, dtype=torch.int64), *rows], dim=1).to(torch.int32)
    gathered = world.gather({"counts": counts, "edges": edges})
    found = [part for item in gathered for part in item["edges"].long().split(item["counts"].tolist(), dim=1)]
    return [
        graphs[index - mine.start]
        if index in mine
        else connect(configuration, elements, edges[0].numpy(), edges[1].numpy(), edges[2:].T.numpy())
        for index, (configuration, edges) in enumerate(zip(configurations, found, strict=True))
    ]


def compare_divided(
    world: World, potential: Potential, batches: Iterable[Sequence[Configuration | Graph]], names: Iterable[str]
) -> Comparison:
    """Return `compare_batches` of all ``batches``, of which every process computes a part, cut where another begins.

    One process alone has one batch in memory at a time.
    """
    if world.size == 1:
        return compare_batches(potential, batches, names)
    frames = [(number, frame) for number, batch in enumerate(batches) for frame in batch]
    mine = world.portion([frame.num_atoms for _, frame in frames])
    own = [
        [frame for _, frame in batch]
        for _, batch in groupby(frames[mine.start : mine.stop], key=lambda numbered: numbered[0])
    ]
    with world.together():
        part = compare_batches(potential, own, names) if own else None
    gathered = world.gather({} if part is None else _as_tensors(part, potential.elements))
    parts = [_from_tensors(tensors, potential.elements) for tensors in gathered if tensors]
    return parts[0] if len(parts) == 1 else Comparison.join(parts)


def judge_divided(
    world: World,
    potential: Potential,
    frames: Sequence[Configuration | Graph],
    console: Console | None = None,
    name: str = "",
) -> Comparison:
    """Return `clebsch.evaluation.compare` of ``frames``, of which every process computes a part.

    What takes one process long is said to ``console``, with the ``name`` of the set.
    """
    with world.together():
        batches, names = cut(frames, BATCH_SIZE), labelled_names(frames)
    told = console if world.size == 1 else None
    watched = progress(told, batches, f"batches of the set '{name}' that are judged", len(batches))
    comparison = compare_divided(world, potential, watched, names)
    with world.together():
        require_finite(comparison, frames)
    return comparison


def _as_tensors(part: Comparison, elements: Sequence[str]) -> dict[str, torch.Tensor]:
    """The arrays of a comparison; elements as their indices."""
    index = {symbol: number for number, symbol in enumerate(elements)}
    arrays = {"num_atoms": part.num_atoms, "species": np.array([index[symbol] for symbol in part.symbols.tolist()])}
    arrays |= {f"labels.{name}": values for name, values in part.labels.items()}
    arrays |= {f"predictions.{name}": values for name, values in part.predictions.items()}
    return {name: torch.from_numpy(np.ascontiguousarray(values)) for name, values in arrays.items()}


def _from_tensors(tensors: Mapping[str, torch.Tensor], elements: Sequence[str]) -> Comparison:
    return Comparison(
        num_atoms=tensors["num_atoms"].numpy(),
        symbols=np.asarray(elements)[tensors["species"].numpy()],
        labels={name: value.numpy() for name, value in without_prefix("labels", tensors).items()},
        predictions={name: value.numpy() for name, value in without_prefix("predictions", tensors).items()},
    )
