"""mace-torch: MACE with element-dependent first messages and residual second ones."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from e3nn import o3
from mace import data, modules, tools
from mace.tools import torch_geometric
from side_by_side import training_step


def calls(arguments: Any, frames: list[Any], system: str) -> dict[str, Callable[[], Any]]:
    torch.set_default_dtype(getattr(torch, arguments.dtype))
    numbers = sorted({int(number) for frame in frames for number in frame.numbers})
    model = build(arguments, len(numbers), numbers)
    if arguments.compiled:
        from mace.tools.compile import prepare

        model = torch.compile(prepare(build)(arguments, len(numbers), numbers), mode="default")
    table = tools.AtomicNumberTable(numbers)
    graphs = [data.AtomicData.from_config(data.config_from_atoms(f), z_table=table, cutoff=5.0) for f in frames]
    batch, single = (
        next(iter(torch_geometric.dataloader.DataLoader(part, batch_size=len(part), shuffle=False))).to_dict()
        for part in (graphs, graphs[:1])
    )

    for inputs in (batch, single) if arguments.compiled else ():
        inputs["positions"].requires_grad_(True)  # torch.compile cannot turn it on in the middle of a graph

    def energy_forces() -> tuple[Any, Any]:
        output = model(batch, training=True)
        return output["energy"], output["forces"]

    found: dict[str, Callable[[], Any]] = {"energy+forces": lambda: model(single)}
    if system != "water":
        found = {"training step": training_step(energy_forces, list(model.parameters())), **found}
    return found


def calculator(arguments: Any, frames: list[Any]) -> Any:
    from mace.calculators import MACECalculator

    torch.set_default_dtype(getattr(torch, arguments.dtype))
    numbers = sorted({int(number) for frame in frames for number in frame.numbers})
    return MACECalculator(models=[build(arguments, len(numbers), numbers)], device="cpu", default_dtype=arguments.dtype)


def build(arguments: Any, num_elements: int, numbers: list[int]) -> Any:
    channels = arguments.channels or 128
    hidden = "+".join(f"{channels}x{degree}{'eo'[degree % 2]}" for degree in range(arguments.L + 1))
    return modules.ScaleShiftMACE(
        r_max=5.0,
        num_bessel=8,
        num_polynomial_cutoff=5,
        max_ell=3,
        interaction_cls=modules.interaction_classes["RealAgnosticResidualInteractionBlock"],
        interaction_cls_first=modules.interaction_classes["RealAgnosticInteractionBlock"],
        num_interactions=2,
        num_elements=num_elements,
        hidden_irreps=o3.Irreps(hidden),
        MLP_irreps=o3.Irreps("16x0e"),
        atomic_energies=np.zeros(num_elements),
        avg_num_neighbors=12.0,
        atomic_numbers=numbers,
        correlation=3,
        gate=torch.nn.functional.silu,
        atomic_inter_scale=1.0,
        atomic_inter_shift=0.0,
    )


def versions() -> dict[str, str]:
    return {"mace-torch": version("mace-torch"), "e3nn": version("e3nn")}
