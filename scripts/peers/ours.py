"""clebsch, in the architecture of the other code."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from side_by_side import training_step

from clebsch.data import Configuration
from clebsch.deploy.ase import Calculator
from clebsch.models import Potential, PotentialConfig
from clebsch.models.presets import botnet, mace, nequip, pace
from clebsch.version import __version__


def calculator(arguments: Any, frames: list[Any]) -> Any:
    compiled = arguments.worker == "library"
    return Calculator(_potential(arguments, _elements(frames)), compiled=compiled, warn=False)


def calls(arguments: Any, frames: list[Any], system: str) -> dict[str, Callable[[], Any]]:
    potential = _potential(arguments, _elements(frames))
    configurations = [Configuration.from_atoms(frame) for frame in frames]
    batch, single = potential.batch(configurations), potential.batch(configurations[:1])

    def energy_forces() -> tuple[Any, Any]:
        prediction = potential(batch, create_graph=True)
        return prediction.energy, prediction.forces

    found: dict[str, Callable[[], Any]] = {"energy+forces": lambda: potential(single)}
    if system != "water":
        found = {"training step": training_step(energy_forces, list(potential.parameters())), **found}
    return found


def _elements(frames: list[Any]) -> tuple[str, ...]:
    return tuple(sorted({symbol for frame in frames for symbol in frame.get_chemical_symbols()}))


def _potential(arguments: Any, elements: tuple[str, ...]) -> Potential:
    config, dtype = PotentialConfig(model=architecture(arguments, elements)), getattr(torch, arguments.dtype)
    return Potential(config, e0=dict.fromkeys(elements, 0.0), dtype=dtype)


def architecture(arguments: Any, elements: tuple[str, ...]) -> Any:
    splines = {"elements": elements, "spline_intervals": arguments.spline_intervals or None}
    if arguments.peer in ("mace", "symmetrix", "symmetrix_xl"):
        config = mace(num_channels=arguments.channels or 128, L_max=arguments.L, num_radial=8, r_max=5.0, **splines)
    elif arguments.peer == "pace":
        config = pace(num_channels=arguments.channels or 256, L_max=2, num_radial=4, r_max=5.0, **splines)
    elif arguments.peer == "botnet":
        config = botnet(num_channels=arguments.channels or 80, l_max=3, num_layers=5, r_max=5.0, **splines)
    else:
        channels = arguments.channels or 64
        config = nequip(num_channels=channels, l_max=2, num_layers=4, parity=arguments.parity, r_max=5.0, **splines)
    return config.model_copy(update={"avg_num_neighbors": 12.0})


def versions() -> dict[str, str]:
    return {"clebsch": __version__}
