"""Equivariant interatomic potentials of the Multi-ACE family.

The names below are loaded on first use, so that importing the package costs nothing: PyTorch comes with the first
model, ASE with the first file.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from clebsch.version import __version__

if TYPE_CHECKING:
    from clebsch.data import Configuration, LabelKeys, read_configurations
    from clebsch.deploy.ase import Calculator
    from clebsch.models import MultiACE, MultiACEConfig, Potential, PotentialConfig, presets
    from clebsch.models.serialization import load_potential, save_potential
    from clebsch.pretrained import load_pretrained

_HOME = {
    "Calculator": "clebsch.deploy.ase",
    "Configuration": "clebsch.data",
    "LabelKeys": "clebsch.data",
    "read_configurations": "clebsch.data",
    "MultiACE": "clebsch.models",
    "MultiACEConfig": "clebsch.models",
    "Potential": "clebsch.models",
    "PotentialConfig": "clebsch.models",
    "load_potential": "clebsch.models.serialization",
    "load_pretrained": "clebsch.pretrained",
    "presets": "clebsch.models",
    "save_potential": "clebsch.models.serialization",
}

__all__ = [
    "Calculator",
    "Configuration",
    "LabelKeys",
    "MultiACE",
    "MultiACEConfig",
    "Potential",
    "PotentialConfig",
    "__version__",
    "load_potential",
    "load_pretrained",
    "presets",
    "read_configurations",
    "save_potential",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'clebsch' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
