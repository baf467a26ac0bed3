"""The Multi-ACE model and the potential made of it."""

from __future__ import annotations

from clebsch.models import presets
from clebsch.models.config import LayerConfig, MultiACEConfig
from clebsch.models.core import CoreRadii
from clebsch.models.device import find_device, find_dtype
from clebsch.models.domain import Domain
from clebsch.models.multi_ace import ModelOutput, MultiACE
from clebsch.models.potential import FrozenPotential, NodeEnergies, Potential, PotentialConfig, Prediction
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
    "Domain",
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
    "find_device",
    "find_dtype",
    "load_potential",
    "presets",
    "read_potential_config",
    "read_potential_header",
    "save_potential",
]
