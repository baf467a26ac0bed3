"""Settings of a training run as earlier versions saved them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clebsch.config import drop_former, parse_config
from clebsch.errors import ConfigError
from clebsch.models import PotentialConfig
from clebsch.models.upgrade import upgrade_potential
from clebsch.training.optimizers import OptimizerConfig

# Defaults of the options that all kinds had in format 1 of checkpoints.
FORMER_OPTIMIZER = {"weight_decay": 0.0, "momentum": 0.95}


def upgrade_fit(fit: Any) -> Any:
    """Return the section of a fit, saved in format 1, in format 2: options are those of their kind."""
    if not isinstance(fit, Mapping) or "optimizer" not in fit:
        return fit
    return {**fit, "optimizer": drop_former(fit["optimizer"], OptimizerConfig, FORMER_OPTIMIZER)}


def complete_identity(identity: Mapping[str, Any]) -> dict[str, Any]:
    """Return the identity of a run with the defaults of fields that its version of the model did not have yet.

    One that this version cannot read stays as it is, and differs.
    """
    try:
        potential = parse_config(PotentialConfig, identity["potential"], "the potential of the checkpoint")
    except ConfigError:
        return dict(identity)
    return {**identity, "potential": potential.model_dump(mode="json")}


def upgrade_identity(identity: Mapping[str, Any]) -> dict[str, Any]:
    """Return the identity of a run, saved in a checkpoint of format 1, in format 2."""
    potential = upgrade_potential(identity["potential"])
    return {**identity, "train": upgrade_fit(identity["train"]), "potential": potential}
