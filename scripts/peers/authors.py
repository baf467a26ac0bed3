"""What the authors' codes of PACE and BOTNet have in common: their input, and a sum in place of torch_scatter."""

from __future__ import annotations

import sys
import types
from typing import Any

import numpy as np
import torch
from ase.neighborlist import neighbor_list


class Inputs:
    """A batch as their data loaders hand it over: sender = neighbour, receiver = centre."""

    def __init__(self, frames: list[Any], numbers: list[int], dtype: torch.dtype, r_max: float) -> None:
        edges, shifts, offset = [], [], 0
        for frame in frames:
            i, j, S = neighbor_list("ijS", frame, r_max)
            edges.append(np.stack([j, i]) + offset)
            shifts.append(-(S @ frame.cell.array))
            offset += len(frame)
        counts = torch.tensor([len(frame) for frame in frames])
        species = torch.tensor([numbers.index(int(z)) for frame in frames for z in frame.numbers])
        self.node_attrs = torch.nn.functional.one_hot(species, len(numbers)).to(dtype)
        self.positions = self.pos = torch.cat([torch.from_numpy(frame.positions).to(dtype) for frame in frames])
        self.edge_index = torch.from_numpy(np.concatenate(edges, axis=1))
        self.shifts = torch.from_numpy(np.concatenate(shifts)).to(dtype)
        self.batch = torch.repeat_interleave(torch.arange(len(frames)), counts)
        self.ptr = torch.cat([torch.zeros(1, dtype=torch.long), counts.cumsum(0)])
        self.num_graphs = len(frames)


def use_sources(folder: str) -> None:
    """Make the authors' packages importable, and torch_scatter where it is not installed."""
    sys.path.insert(0, folder)
    try:
        import torch_scatter  # noqa: F401
    except ImportError:
        stub: Any = types.ModuleType("torch_scatter")
        stub.scatter = stub.scatter_sum = _scatter
        sys.modules["torch_scatter"] = stub


def _scatter(
    src: torch.Tensor, index: torch.Tensor, dim: int = 0, dim_size: int | None = None, reduce: str = "sum"
) -> torch.Tensor:
    size = list(src.shape)
    size[dim] = int(index.max()) + 1 if dim_size is None else dim_size
    return src.new_zeros(size).index_add(dim % src.dim(), index, src)
