"""More epochs for a run whose schedule or stages depend on their number."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clebsch.errors import ConfigError
from clebsch.training.config import TrainConfig


def extended_from(stored: Mapping[str, Any], now: Mapping[str, Any]) -> int | None:
    """Return the epochs that a run had if it is to have more, and its course depends on them; else None.

    Args:
        stored: settings that must not change (`TrainConfig.course`), as the run has recorded them.
        now: those it is continued with.
    """
    before, after = stored.get("max_epochs"), now.get("max_epochs")
    return before if isinstance(before, int) and isinstance(after, int) and before < after else None


def require_choice(before: int, config: TrainConfig) -> None:
    """Raise ConfigError unless ``config`` says how a run of ``before`` epochs is to have more."""
    if config.extend is None:
        raise ConfigError(
            f"train.max_epochs: the run has {before} epochs and is to have {config.max_epochs}, but its "
            f"{_what(config)} depends on their number. Say how it goes on: train.extend=stretch, as if there had been "
            f"{config.max_epochs} from the start (the learning rate jumps to the new curve), or train.extend=restart, "
            f"with another cycle of the schedule over the {config.max_epochs - before} that are added."
        )


def describe_extension(before: int, config: TrainConfig) -> str:
    """Return a line about how a run of ``before`` epochs is given more."""
    said = f"Extended from {before} to {config.max_epochs} epochs: "
    if config.extend == "restart":
        return said + f"another cycle of the schedule begins after epoch {before}, in the last stage (restart)."
    return said + "schedule and stages are as if there had been as many from the start (stretch)."


def _what(config: TrainConfig) -> str:
    return f"schedule ({config.schedule.kind})" if config.schedule_has_length else "list of stages"
