"""The Multi-ACE model and the potential made of it."""

from __future__ import annotations

from clebsch.models.config import LayerConfig, MultiACEConfig
from clebsch.models.core import CoreRadii
from clebsch.models.device import find_device, find_dtype
from clebsch.models.multi_ace import ModelOutput, MultiACE
from clebsch.models.potential import FrozenPotential, NodeEnergies, Potential, PotentialConfig, Prediction
from clebsch.models.presets import botnet, clebsch, linear_ace, mace, nequip, pace
from clebsch.models.serialization import (
    load_potential,
    read_potential_config,
    read_potential_header,
    save_potential,
)
from clebsch.models.terms import CoreConfig, Term, ZBLConfig
from clebsch.models.zbl import ZBL

__all__ = [
    "CoreConfig",
    "CoreRadii",
    "FrozenPotential",
    "LayerConfig",
    "ModelOutput",
    "MultiACE",
    "MultiACEConfig",
    "NodeEnergies",
    "Potential",
    "PotentialConfig",
    "Prediction",
    "Term",
    "ZBL",
    "ZBLConfig",
    "botnet",
    "clebsch",
    "find_device",
    "find_dtype",
    "linear_ace",
    "load_potential",
    "mace",
    "nequip",
    "pace",
    "read_potential_config",
    "read_potential_header",
    "save_potential",
]
