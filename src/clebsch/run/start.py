"""The potential a run starts from: weights and scale are kept, E0 and shift are those of the new data."""

from __future__ import annotations

from typing import Any

import torch

from clebsch.errors import ConfigError
from clebsch.files import write_file
from clebsch.models import Potential
from clebsch.models.serialization import load_potential
from clebsch.pretrained import find_potential
from clebsch.recipe import GradientFit, RunConfig, load_recorded
from clebsch.run.folder import CONFIG_NAME, START_NAME
from clebsch.training.checkpoint import has_checkpoint, list_differences


def find_start(config: RunConfig) -> Potential | None:
    """Return the potential that ``train.start_from`` names, None without one.

    A run that has begun keeps a copy, so that it goes on where the file has moved or changed.

    Raises:
        ConfigError: there is no such potential, or the run has begun from another.
        CheckpointError: the file is damaged.
    """
    if not isinstance(config.train, GradientFit) or config.train.start_from is None:
        return None
    named, copy, recorded = config.train.start_from, config.output / START_NAME, config.output / CONFIG_NAME
    if not (has_checkpoint(config.output) and copy.is_file() and recorded.is_file()):
        return load_potential(find_potential(named))
    start, earlier = load_potential(copy), load_recorded(recorded).train
    same = isinstance(earlier, GradientFit) and earlier.start_from == named
    if not same and load_potential(find_potential(named)).fingerprint() != start.fingerprint():
        raise ConfigError(
            f"train.start_from: the run in '{config.output}' has begun from another potential than '{named}'. Give "
            "another output, or what it has begun from."
        )
    return start


def keep_start(config: RunConfig, start: Potential | None) -> None:
    """Copy what a run starts from into its folder, unless it has begun already."""
    if start is None or not isinstance(config.train, GradientFit) or has_checkpoint(config.output):
        return
    write_file(config.output / START_NAME, find_potential(str(config.train.start_from)).read_bytes())


def take_weights(potential: Potential, start: Potential, name: str) -> None:
    """Give ``potential`` the weights and the scale of ``start``, called ``name``.

    Raises ConfigError that names the first choice in which the models differ.
    """
    if potential.elements != start.elements:
        raise ConfigError(
            f"train.start_from: '{name}' is of the elements {', '.join(start.elements)}, the run of "
            f"{', '.join(potential.elements)}. Start from a potential of the same elements, or from none."
        )
    differences = list_differences(_architecture(start), _architecture(potential), where=f"in '{name}'")
    if differences:
        raise ConfigError(
            f"train.start_from: the model is another than that of '{name}': {differences[0]}. Give the recipe the "
            "model of that potential, or start from none."
        )
    kept = {key: value for key, value in start.state_dict().items() if key.startswith("model.") or key == "scale"}
    with torch.no_grad():
        potential.load_state_dict({**potential.state_dict(), **kept})


def _architecture(potential: Potential) -> dict[str, Any]:
    """What must be equal for weights to fit, as JSON content."""
    config = potential.config
    return {"model": config.model.model_dump(mode="json"), "terms": [term.kind for term in config.terms]}


def describe_choice(config: RunConfig, start: Potential) -> str:
    """Return a line about what is kept of ``start`` and what is new."""
    assert isinstance(config.train, GradientFit)
    return (
        f"started from '{config.train.start_from}' (SHA-256 {start.fingerprint()[:12]}…): weights, scale and number of "
        "neighbours are kept; E0, shift, core radii, optimiser and schedule are new"
    )


def with_fingerprint(config: RunConfig, start: Potential | None) -> GradientFit:
    """Return the settings of the fit with the fingerprint of what it starts from, by which a checkpoint knows it."""
    assert isinstance(config.train, GradientFit)
    return config.train if start is None else config.train.model_copy(update={"start_from": start.fingerprint()})
