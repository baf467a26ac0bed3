"""Data: configurations and their labels, neighbour lists, graphs, batches, splits and statistics."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from clebsch.data.batches import BatchSampler
from clebsch.data.configuration import Configuration, find_elements
from clebsch.data.datasets import Dataset, load_dataset
from clebsch.data.labels import LabelKeys
from clebsch.data.neighbors import neighbor_list
from clebsch.data.pack import Pack, is_pack, write_pack
from clebsch.data.quantities import QUANTITIES, Quantity
from clebsch.data.reading import find_isolated_atoms, read_configurations, read_isolated_atoms
from clebsch.data.splits import Blocks, Last, split, split_trajectories

if TYPE_CHECKING:
    from clebsch.data.graph import Batch, Graph, build_graph, build_graphs, collate
    from clebsch.data.packed_graphs import (
        PackedGraphs,
        at_equal_steps,
        elements_of,
        expect,
        labelled,
        sizes_of,
        some_of,
        stretches_of,
    )
    from clebsch.data.statistics import (
        E0Fit,
        Statistics,
        compute_statistics,
        fit_e0,
        shortest_distances,
        undetermined,
    )

# torch takes a second to import, and reading needs none of it.
_NEEDS_TORCH = {
    **dict.fromkeys(("Batch", "Graph", "build_graph", "build_graphs", "collate"), "graph"),
    **dict.fromkeys(
        (
            "PackedGraphs",
            "at_equal_steps",
            "elements_of",
            "expect",
            "labelled",
            "sizes_of",
            "some_of",
            "stretches_of",
        ),
        "packed_graphs",
    ),
    **dict.fromkeys(
        ("E0Fit", "Statistics", "compute_statistics", "fit_e0", "shortest_distances", "undetermined"), "statistics"
    ),
}

__all__ = [
    "QUANTITIES",
    "Batch",
    "BatchSampler",
    "Blocks",
    "Configuration",
    "Dataset",
    "E0Fit",
    "Graph",
    "LabelKeys",
    "Last",
    "Pack",
    "PackedGraphs",
    "Quantity",
    "Statistics",
    "at_equal_steps",
    "build_graph",
    "build_graphs",
    "collate",
    "compute_statistics",
    "elements_of",
    "expect",
    "find_elements",
    "find_isolated_atoms",
    "fit_e0",
    "is_pack",
    "labelled",
    "load_dataset",
    "neighbor_list",
    "read_configurations",
    "read_isolated_atoms",
    "shortest_distances",
    "sizes_of",
    "some_of",
    "split",
    "split_trajectories",
    "stretches_of",
    "undetermined",
    "write_pack",
]


def __getattr__(name: str) -> Any:
    if name not in _NEEDS_TORCH:
        raise AttributeError(f"module 'clebsch.data' has no attribute '{name}'")
    return getattr(import_module(f"clebsch.data.{_NEEDS_TORCH[name]}"), name)
