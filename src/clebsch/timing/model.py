"""Models named on the command line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from clebsch.config import apply_overrides, parse_config
from clebsch.errors import ConfigError, did_you_mean
from clebsch.models import Potential, PotentialConfig, load_potential
from clebsch.models.presets import PRESETS
from clebsch.ops import get_backend
from clebsch.pretrained import find_potential, pretrained_index
from clebsch.recipe import preset_config


def potential_of(
    model: str, dtype: torch.dtype | None, backend: str | None, seed: int = 0
) -> Callable[[Sequence[str]], Potential]:
    """Return a function from chemical symbols to a potential; a preset starts from random weights.

    Args:
        model: the path of a saved potential, or PRESET[:key=value,...] such as "mace:num_channels=128,L_max=1".
        dtype: of the network; None for that of the file, or float32.
        backend: kernels; None for the fastest.
        seed: of the weights of a preset.

    Raises:
        ConfigError: there is no such preset or file, or the preset has no such argument.
        BackendError: the backend is not available.
    """
    if backend is not None:
        get_backend(backend)
    preset, _, arguments = model.partition(":")
    if preset in PRESETS:
        overrides = [part for part in arguments.split(",") if part]
        given = apply_overrides({"preset": preset}, overrides)
        config = parse_config(preset_config(preset), given, f"--model {model}")
        return lambda elements: Potential(
            PotentialConfig(model=config.build(elements, 12.0)),
            e0=dict.fromkeys(elements, 0.0),
            dtype=dtype or torch.float32,
            backend=backend,
            seed=seed,
        )
    if Path(model).exists() or model in pretrained_index():
        potential = load_potential(find_potential(model), dtype=dtype, backend=backend)
        return lambda elements: potential
    raise ConfigError(
        f"--model: '{model}' is neither a preset nor a file.{did_you_mean(preset, PRESETS)} Choose one of "
        f"{', '.join(PRESETS)}, with arguments as in mace:num_channels=128,L_max=1, or the path of a saved potential."
    )
