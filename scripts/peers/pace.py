"""The authors' PACE (divelab/AIRS, OpenMol/PACE/model): published settings."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import torch
from e3nn import o3
from side_by_side import training_step

from peers.authors import Inputs, use_sources


def calls(arguments: Any, frames: list[Any], system: str) -> dict[str, Callable[[], Any]]:
    use_sources(arguments.source)
    from pace.pace import PACE

    dtype = getattr(torch, arguments.dtype)
    torch.set_default_dtype(dtype)
    numbers = sorted({int(number) for frame in frames for number in frame.numbers})
    channels = arguments.channels or 256
    model = PACE(
        average_energy=0.0,
        atomic_inter_scale=1.0,
        atomic_inter_shift=0.0,
        r_max=5.0,
        num_bessel=4,
        num_polynomial_cutoff=5,
        max_ell=3,
        num_interactions=2,
        num_elements=len(numbers),
        booster_dim=channels // 2 * 2,
        hidden_irreps=o3.Irreps(f"{channels}x0e+{channels}x1o+{channels}x2e"),
        MLP_irreps=o3.Irreps("16x0e"),
        avg_num_neighbors=12.0,
        correlation=3,
        edge_emb="radial",
    )
    batch, single = Inputs(frames, numbers, dtype, 5.0), Inputs(frames[:1], numbers, dtype, 5.0)

    def energy_forces() -> tuple[Any, Any]:
        output = model(batch, training=True)
        return output["energy"], output["force"]

    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    step = training_step(energy_forces, parameters)
    return {"training step": step, "energy+forces": lambda: model(single, training=False)}


def versions() -> dict[str, str]:
    return {"e3nn": version("e3nn")}
