"""The authors' BOTNet (gncs/botnet): 5 layers, 80 channels of both parities."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from e3nn import o3
from side_by_side import training_step

from peers.authors import Inputs, use_sources


def calls(arguments: Any, frames: list[Any], system: str) -> dict[str, Callable[[], Any]]:
    use_sources(arguments.source)
    from botnet import modules

    dtype = getattr(torch, arguments.dtype)
    torch.set_default_dtype(dtype)
    numbers = sorted({int(number) for frame in frames for number in frame.numbers})
    K = arguments.channels or 80
    model = modules.ScaleShiftNonLinearBodyOrderedModel(
        r_max=5.0,
        num_bessel=8,
        num_polynomial_cutoff=6,
        max_ell=3,
        num_interactions=5,
        num_elements=len(numbers),
        hidden_irreps=o3.Irreps(f"{K}x0o+{K}x0e+{K}x1o+{K}x1e+{K}x2o+{K}x2e+{K}x3o+{K}x3e"),
        MLP_irreps=o3.Irreps("16x0e"),
        atomic_energies=np.zeros(len(numbers)),
        gate=torch.nn.functional.silu,
        avg_num_neighbors=12.0,
        interaction_cls=modules.interaction_classes["AgnosticResidualNonlinearInteractionBlock"],
        interaction_cls_first=modules.interaction_classes["AgnosticNonlinearInteractionBlock"],
        atomic_inter_scale=1.0,
        atomic_inter_shift=0.0,
    )
    batch, single = Inputs(frames, numbers, dtype, 5.0), Inputs(frames[:1], numbers, dtype, 5.0)

    def energy_forces() -> tuple[Any, Any]:
        output = model(batch, training=True)
        return output["energy"], output["forces"]

    step = training_step(energy_forces, [parameter for parameter in model.parameters() if parameter.requires_grad])
    return {"training step": step, "energy+forces": lambda: model(single, training=False)}


def versions() -> dict[str, str]:
    return {"e3nn": version("e3nn")}
