"""Potentials that come with the library: small, trained by the recipes of the repository on public data.

``index.json`` beside the files has the recipe, the errors and the SHA-256 of every file.
"""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from clebsch.errors import CheckpointError, ConfigError, did_you_mean
from clebsch.models import Potential
from clebsch.models.serialization import POTENTIAL_NAME, load_potential

FOLDER = Path(__file__).parent


@lru_cache
def _read_index() -> str:
    return (FOLDER / "index.json").read_text()


def pretrained_index() -> dict[str, dict[str, Any]]:
    """Return, by name, file, SHA-256, recipe, seconds of training and errors (meV, meV/Å) of every potential."""
    return json.loads(_read_index())


def pretrained_path(name: str) -> Path:
    """Return the file of a potential, for the command line or another program.

    Raises:
        ConfigError: there is no such potential.
        CheckpointError: the file is not the one that was published.
    """
    index = pretrained_index()
    if name not in index:
        raise ConfigError(f"There is no potential '{name}'.{did_you_mean(name, index)} There are: {', '.join(index)}.")
    path = FOLDER / index[name]["file"]
    if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != index[name]["sha256"]:
        raise CheckpointError(
            f"'{path}' is missing or damaged: its SHA-256 is not that of index.json. Install clebsch again."
        )
    return path


def find_potential(source: str | Path) -> Path:
    """Return the file of a saved potential.

    Args:
        source: the file, the folder of a run, or a name of `pretrained_index`; what is there comes before a name.

    Raises:
        ConfigError: there is nothing of the kind.
        CheckpointError: the file of a name is not the one that was published.
    """
    path = Path(source)
    if path.is_dir():
        if not (path / POTENTIAL_NAME).is_file():
            raise ConfigError(
                f"'{path}' is a folder without {POTENTIAL_NAME}. Give the file of a potential, or the folder of a run "
                "that has ended."
            )
        return path / POTENTIAL_NAME
    index = pretrained_index()
    if not path.exists() and str(source) not in index:
        raise ConfigError(
            f"'{source}' is neither a file, the folder of a run nor a potential that comes with the library."
            f"{did_you_mean(str(source), index)} These are {', '.join(index)}."
        )
    return path if path.exists() else pretrained_path(str(source))


def load(
    source: str | Path,
    *,
    dtype: torch.dtype | None = None,
    device: torch.device | str = "cpu",
    backend: str | None = None,
    head: str | None = None,
) -> Potential:
    """Return a saved potential, after it has reproduced its reference frames, or one that comes with the library.

    Args:
        source: a name of `pretrained_index`, the path of a file that `save_potential` has written, or the folder of a
            run.
        dtype: of the network; None for that it was saved in.
        device: torch device.
        backend: kernels; None for the fastest of the device.
        head: which of several heads of the file; None for the first.

    Raises:
        ConfigError: there is no such head, or neither such a file or folder nor such a potential.
        CheckpointError: the file is damaged, of another kind or version, or its frames are not reproduced.
        BackendError: the backend or the device is not available.
    """
    path = pretrained_path(str(source)) if source in pretrained_index() else find_potential(source)
    return load_potential(path, dtype=dtype, device=device, backend=backend, head=head)
