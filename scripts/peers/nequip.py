"""nequip: 4 layers, l <= 2, 64 features, of one parity or both."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import torch
from ase.neighborlist import neighbor_list
from nequip.data import AtomicDataDict as A
from nequip.model import NequIPGNNModel
from nequip.utils.global_state import set_global_state
from side_by_side import training_step


def calls(arguments: Any, frames: list[Any], system: str) -> dict[str, Callable[[], Any]]:
    set_global_state()
    names = sorted({symbol for frame in frames for symbol in frame.get_chemical_symbols()})
    model = NequIPGNNModel(
        seed=1,
        model_dtype=arguments.dtype,
        compile_mode="compile" if arguments.compiled else "eager",
        num_layers=4,
        l_max=2,
        parity=arguments.parity,
        num_features=arguments.channels or 64,
        radial_mlp_depth=2,
        radial_mlp_width=64,
        r_max=5.0,
        type_names=names,
        num_bessels=8,
        polynomial_cutoff_p=6,
        avg_num_neighbors=12.0,
    )
    batch, single = inputs(frames, names), inputs(frames[:1], names)

    def energy_forces() -> tuple[Any, Any]:
        output = model(dict(batch))
        return output[A.TOTAL_ENERGY_KEY], output[A.FORCE_KEY]

    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    found: dict[str, Callable[[], Any]] = {"energy+forces": lambda: model(dict(single))}
    if system != "water":
        found = {"training step": training_step(energy_forces, parameters), **found}
    return found


def inputs(frames: list[Any], names: list[str]) -> dict[str, torch.Tensor]:
    centers, neighbors, shifts, offset = [], [], [], 0
    for frame in frames:
        i, j, S = neighbor_list("ijS", frame, 5.0)
        centers.append(torch.from_numpy(i + offset))
        neighbors.append(torch.from_numpy(j + offset))
        shifts.append(torch.from_numpy(S).double())
        offset += len(frame)
    counts = torch.tensor([len(frame) for frame in frames])
    found = {
        A.POSITIONS_KEY: torch.cat([torch.from_numpy(frame.positions) for frame in frames]),
        A.EDGE_INDEX_KEY: torch.stack([torch.cat(centers), torch.cat(neighbors)]),
        A.ATOM_TYPE_KEY: torch.tensor([names.index(s) for frame in frames for s in frame.get_chemical_symbols()]),
        A.BATCH_KEY: torch.repeat_interleave(torch.arange(len(frames)), counts),
        A.NUM_NODES_KEY: counts,
    }
    if frames[0].pbc.any():
        found[A.CELL_KEY] = torch.stack([torch.from_numpy(frame.cell.array) for frame in frames])
        found[A.EDGE_CELL_SHIFT_KEY] = torch.cat(shifts)
        found[A.PBC_KEY] = torch.ones(len(frames), 3, dtype=torch.bool)
    return found


def versions() -> dict[str, str]:
    return {"nequip": version("nequip"), "e3nn": version("e3nn")}
