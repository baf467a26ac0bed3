"""The Multi-ACE model and the potential made of it."""

from __future__ import annotations

from clebsch.models import presets
from clebsch.models.config import LayerConfig, MultiACEConfig
from clebsch.models.core import CoreRadii
from clebsch.models.device import find_device
from clebsch.models.multi_ace import MultiACE
from clebsch.models.potential import Potential, PotentialConfig, Prediction
from clebsch.models.serialization import load_potential, read_potential_header, save_potential
from clebsch.models.zbl import ZBL

__all__ = [
    "CoreRadii",
    "LayerConfig",
    "MultiACE",
    "MultiACEConfig",
    "Potential",
    "PotentialConfig",
    "Prediction",
    "ZBL",
    "find_device",
    "load_potential",
    "presets",
    "read_potential_header",
    "save_potential",
]
