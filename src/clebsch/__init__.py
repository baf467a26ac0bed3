"""Equivariant interatomic potentials of the Multi-ACE family.

    import clebsch

    print(clebsch.diagnose(["train.xyz", "test.xyz"]).summary())
    result = clebsch.train("recipe.yaml", ["train.max_epochs=100"])
    potential = clebsch.load("runs/a/potential.safetensors")
    print(clebsch.evaluate(potential, "test.xyz"))
    atoms.calc = clebsch.Calculator(potential)
    results = clebsch.predict(potential, frames)

The names below are loaded on first use, so that importing the package costs nothing: PyTorch comes with the first
model, ASE with the first file.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from clebsch.version import __version__

if TYPE_CHECKING:
    from clebsch.data import Configuration, LabelKeys
    from clebsch.data import read_configurations as read
    from clebsch.deploy.ase import Calculator
    from clebsch.deploy.descriptors import descriptors
    from clebsch.deploy.hessian import hessian, hessian_vector_product, vibrations
    from clebsch.deploy.predict import predict
    from clebsch.dynamics import md, phonons, relax
    from clebsch.evaluation import evaluate
    from clebsch.models import MultiACE, MultiACEConfig, Potential, PotentialConfig, presets
    from clebsch.models.serialization import save_potential as save
    from clebsch.pretrained import load
    from clebsch.recipe import RunConfig
    from clebsch.run import RunResult, diagnose
    from clebsch.run import run as train

# Where a name is: a module, and the name there if it is another one.
_HOME = {
    "Calculator": "clebsch.deploy.ase",
    "Configuration": "clebsch.data",
    "LabelKeys": "clebsch.data",
    "MultiACE": "clebsch.models",
    "MultiACEConfig": "clebsch.models",
    "Potential": "clebsch.models",
    "PotentialConfig": "clebsch.models",
    "RunConfig": "clebsch.recipe",
    "RunResult": "clebsch.run",
    "descriptors": "clebsch.deploy.descriptors",
    "diagnose": "clebsch.run:diagnose",
    "evaluate": "clebsch.evaluation",
    "hessian": "clebsch.deploy.hessian",
    "hessian_vector_product": "clebsch.deploy.hessian",
    "load": "clebsch.pretrained",
    "md": "clebsch.dynamics",
    "phonons": "clebsch.dynamics",
    "predict": "clebsch.deploy.predict",
    "presets": "clebsch.models",
    "read": "clebsch.data:read_configurations",
    "relax": "clebsch.dynamics",
    "save": "clebsch.models.serialization:save_potential",
    "train": "clebsch.run:run",
    "vibrations": "clebsch.deploy.hessian",
}

__all__ = [
    "Calculator",
    "Configuration",
    "LabelKeys",
    "MultiACE",
    "MultiACEConfig",
    "Potential",
    "PotentialConfig",
    "RunConfig",
    "RunResult",
    "__version__",
    "descriptors",
    "diagnose",
    "evaluate",
    "hessian",
    "hessian_vector_product",
    "load",
    "md",
    "phonons",
    "predict",
    "presets",
    "read",
    "relax",
    "save",
    "train",
    "vibrations",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'clebsch' has no attribute '{name}'")
    module, _, other = _HOME[name].partition(":")
    return getattr(importlib.import_module(module), other or name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
