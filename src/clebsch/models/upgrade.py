"""Configurations of models as earlier versions saved them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clebsch.basis import CutoffConfig, RadialBasisConfig
from clebsch.config import drop_former

# Defaults of the options that all kinds had in format 1 of saved potentials.
FORMER_BASIS = {"trainable": False, "decay": 0.0}
FORMER_CUTOFF = {"p": 5}


def upgrade_potential(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the configuration of a potential, saved in format 1, in format 2.

    Format 1 had flags in place of terms, ``zbl`` and ``core`` with its radii, and no further readouts.
    """
    rest = {name: value for name, value in config.items() if name not in ("model", "zbl", "core")}
    terms: list[dict[str, Any]] = [{"kind": "zbl"}] if config.get("zbl") else []
    if config.get("core") is not None:
        terms = [{"kind": "core", "radii": config["core"]}]
    return {"model": {**upgrade_model(config["model"]), "further_readouts": []}, "terms": terms, **rest}


def upgrade_model(model: Any) -> Any:
    """Return the section of a model, saved in format 1, in format 2: options are those of their kind."""
    if not isinstance(model, Mapping) or not isinstance(model.get("radial_basis"), Mapping):
        return model
    basis = drop_former(model["radial_basis"], RadialBasisConfig, FORMER_BASIS)
    if "cutoff" in basis:
        basis["cutoff"] = drop_former(basis["cutoff"], CutoffConfig, FORMER_CUTOFF)
    return {**model, "radial_basis": basis}
