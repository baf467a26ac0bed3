"""Checkpoints: one file from which a training run goes on exactly, or a refusal that says what differs.

The checkpoint before the newest is kept beside it, so that a run also goes on if the newest is damaged.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from clebsch.data import Graph, PackedGraphs
from clebsch.data.quantities import FIRST
from clebsch.errors import CheckpointError, DamagedFileError
from clebsch.files import explained as explained_output
from clebsch.models.potential import Potential
from clebsch.models.tensor_file import FileFormat, explained, read_tensor_file, write_tensor_file
from clebsch.progress import say
from clebsch.training.config import TrainConfig
from clebsch.training.extension import describe_extension, extended_from, require_choice
from clebsch.training.state import TrainingState
from clebsch.training.upgrade import complete_identity, upgrade_identity

if TYPE_CHECKING:
    from rich.console import Console

CHECKPOINT_NAME, PREVIOUS_NAME = "checkpoint.safetensors", "checkpoint.previous.safetensors"
DAMAGED_NAME = "checkpoint.damaged.safetensors"
CURE = "Copy a checkpoint back from a backup, or train anew in another folder."
CHECKPOINT = FileFormat(kind="training checkpoint", version=2)


def save_checkpoint(path: str | Path, state: TrainingState, identity: Mapping[str, Any]) -> None:
    """Write ``state`` and the ``identity`` of its run to ``path``, atomically; what was there is the previous one."""
    header = {"identity": dict(identity), "arithmetic": state.arithmetic(), "counters": state.counters()}
    write_tensor_file(path, state.tensors(), header, CHECKPOINT, previous=Path(path).with_name(PREVIOUS_NAME))


def has_checkpoint(directory: Path) -> bool:
    """Whether there is a checkpoint, the newest or the one before, whole or damaged."""
    return any((directory / name).exists() for name in (CHECKPOINT_NAME, PREVIOUS_NAME))


def load_newest(
    directory: Path,
    state: TrainingState,
    identity: Mapping[str, Any],
    config: TrainConfig,
    console: Console | None,
) -> None:
    """Restore ``state`` from the newest whole checkpoint in ``directory``; a line says if that is the one before.

    A damaged one is renamed. A line says how a run is extended.

    Raises:
        ConfigError: the run is to have more epochs, and ``config`` does not say how.
        DamagedFileError: no checkpoint is whole.
        CheckpointError: the checkpoint belongs to another run (see `load_checkpoint`).
        OutputError: a damaged file cannot be renamed.
    """
    newest, previous = directory / CHECKPOINT_NAME, directory / PREVIOUS_NAME
    try:
        if newest.exists() or not previous.exists():
            before = load_checkpoint(newest, state, identity, config)
            say(console, _extension(before, config))
            return
        state_of_newest = "is missing"
    except DamagedFileError as error:
        if not previous.exists():
            raise DamagedFileError(f"{error}\nThere is no earlier checkpoint in '{directory}'. {CURE}") from None
        state_of_newest = "is damaged"
    try:
        before = load_checkpoint(previous, state, identity, config)
    except DamagedFileError as error:
        raise DamagedFileError(f"'{newest}' {state_of_newest}, and the one before too: {error}\n{CURE}") from None
    if newest.exists():
        with explained_output(directory / DAMAGED_NAME):
            os.replace(newest, directory / DAMAGED_NAME)
        state_of_newest += f" and now called {DAMAGED_NAME}"
    say(console, f"'{newest}' {state_of_newest}: the run goes on from the checkpoint before it, {PREVIOUS_NAME}.")
    say(console, _extension(before, config))


def _extension(before: int | None, config: TrainConfig) -> list[str]:
    return [] if before is None else [describe_extension(before, config)]


def load_checkpoint(
    path: str | Path, state: TrainingState, identity: Mapping[str, Any], config: TrainConfig
) -> int | None:
    """Restore ``state`` from ``path`` and return the epochs that the run had, if ``config`` extends it, else None.

    What the arithmetic differs in is left in ``state.progress.resumed_with``.

    Raises:
        ConfigError: the run is to have more epochs, and ``config`` does not say how.
        DamagedFileError: the file is damaged.
        CheckpointError: the file is missing, or it belongs to a run whose ``identity`` differs.
    """
    tensors, header = read_tensor_file(path, CHECKPOINT)
    with explained(path, CHECKPOINT):
        stored, now = header["identity"], json.loads(json.dumps(identity))
        if header["format_version"] < 2:
            stored = upgrade_identity(stored)
        before, differences = compare_courses(complete_identity(stored), now)
    if differences:
        raise CheckpointError(
            f"Checkpoint '{path}' belongs to another run; going on from it would not repeat that run. What differs:\n"
            + "\n".join(f"  - {line}" for line in differences)
            + "\nResume with the settings and data of the checkpoint, or start afresh in another directory."
        )
    if before is not None:
        require_choice(before, config)
    with explained(path, CHECKPOINT):
        state.restore(tensors, header["counters"])
    if before is not None and config.extend is not None:
        state.schedule.extend(before, config.extend)
    current = state.arithmetic()  # the first checkpoints have no such entry, and nothing to compare with
    stored = {"processes": 1, **header.get("arithmetic", current)}
    state.progress.resumed_with += list_differences(stored, current)
    return before


def run_identity(
    potential: Potential, settings: Mapping[str, Any], train: Sequence[Graph], valid: Sequence[Graph], seed: int
) -> dict[str, Any]:
    """Return what must be equal for a resumed run to be the same run: settings, architecture, data and seed.

    Args:
        potential: gives the architecture, and the name, dtype and shape of every tensor.
        settings: training settings, as JSON content, that change the course of the run.
        train: training graphs, in order.
        valid: validation graphs, in order.
        seed: seed of the shuffling.
    """
    return {
        "train": dict(settings),
        "potential": potential.config.model_dump(mode="json"),
        "tensors": {
            name: f"{str(tensor.dtype).removeprefix('torch.')}{list(tensor.shape)}"
            for name, tensor in potential.state_dict().items()
        },
        "trainable": [name for name, parameter in potential.named_parameters() if parameter.requires_grad],
        "training set": data_digest(train),
        "validation set": data_digest(valid),
        "seed": seed,
    }


def data_digest(graphs: Sequence[Graph]) -> dict[str, Any]:
    """Return the number of ``graphs`` and a SHA-256 digest of their atoms and all their labels, in order."""
    if isinstance(graphs, PackedGraphs):
        return {"configurations": len(graphs), "sha256": graphs.frames.digest}
    digest = hashlib.sha256()
    for graph in graphs:
        first = [graph.species, graph.positions, graph.cell, *(graph.labels.get(name) for name in FIRST)]
        for tensor in first:
            digest.update(b"-" if tensor is None else _bytes(tensor))
        for name in sorted(set(graph.labels) - set(FIRST)):
            digest.update(name.encode() + _bytes(graph.labels[name]))
        if graph.cell.any() and not graph.pbc.all():
            digest.update(_bytes(graph.pbc))
        if graph.weights:
            digest.update(repr(sorted(graph.weights.items())).encode())
    return {"configurations": len(graphs), "sha256": digest.hexdigest()}


def _bytes(tensor: torch.Tensor) -> bytes:
    return tensor.cpu().contiguous().numpy().tobytes()


def compare_courses(stored: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[int | None, list[str]]:
    """Return the epochs that a run had if it is to have more, else None, and the lines of what differs besides that.

    Both hold, under ``train``, the settings of `TrainConfig.course`.
    """
    before = extended_from(stored["train"], now["train"])
    kept = now if before is None else {**now, "train": {**now["train"], "max_epochs": before}}
    return before, list_differences(stored, now) if list_differences(stored, kept) else []


def list_differences(stored: Any, current: Any, key: str = "", where: str = "in the checkpoint") -> list[str]:
    """Return one line for every dotted key at which two JSON contents differ; ``where`` is what the first is of."""
    if isinstance(stored, list) and isinstance(current, list):
        stored, current = dict(enumerate(stored)), dict(enumerate(current))
    if isinstance(stored, dict) and isinstance(current, dict):
        names = [*stored, *(name for name in current if name not in stored)]
        missing = "absent"
        return [
            line
            for name in names
            for line in list_differences(
                stored.get(name, missing), current.get(name, missing), f"{key}.{name}" if key else str(name), where
            )
        ]
    return [] if stored == current else [f"{key}: {stored} {where}, {current} now"]
