"""Checkpoints: one file from which a training run goes on exactly, or a refusal that says what differs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from clebsch.data import Graph
from clebsch.data.quantities import FIRST
from clebsch.errors import CheckpointError
from clebsch.models.potential import Potential
from clebsch.models.tensor_file import FileFormat, read_tensor_file, write_tensor_file
from clebsch.training.state import TrainingState
from clebsch.training.upgrade import upgrade_identity

CHECKPOINT = FileFormat(kind="training checkpoint", version=2)


def save_checkpoint(path: str | Path, state: TrainingState, identity: Mapping[str, Any]) -> None:
    """Write ``state`` and the ``identity`` of its run to ``path``, atomically."""
    header = {"identity": dict(identity), "arithmetic": state.arithmetic(), "counters": state.counters()}
    write_tensor_file(path, state.tensors(), header, CHECKPOINT)


def load_checkpoint(path: str | Path, state: TrainingState, identity: Mapping[str, Any]) -> None:
    """Restore ``state`` from ``path``; what its arithmetic differs in is left in ``state.progress.resumed_with``.

    Raises:
        CheckpointError: the file cannot be read, or it belongs to a run whose ``identity`` differs.
    """
    tensors, header = read_tensor_file(path, CHECKPOINT)
    stored = header["identity"]
    if header["format_version"] < 2:
        stored = upgrade_identity(stored)
    differences = list_differences(stored, json.loads(json.dumps(identity)))
    if differences:
        raise CheckpointError(
            f"Checkpoint '{path}' belongs to another run; going on from it would not repeat that run. What differs:\n"
            + "\n".join(f"  - {line}" for line in differences)
            + "\nResume with the settings and data of the checkpoint, or start afresh in another directory."
        )
    state.restore(tensors, header["counters"])
    current = state.arithmetic()  # the first checkpoints have no such entry, and nothing to compare with
    state.progress.resumed_with += list_differences(header.get("arithmetic", current), current)


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
    digest = hashlib.sha256()
    for graph in graphs:
        first = [graph.species, graph.positions, graph.cell, *(graph.labels.get(name) for name in FIRST)]
        for tensor in first:
            digest.update(b"-" if tensor is None else _bytes(tensor))
        for name in sorted(set(graph.labels) - set(FIRST)):
            digest.update(name.encode() + _bytes(graph.labels[name]))
        if graph.weights:
            digest.update(repr(sorted(graph.weights.items())).encode())
    return {"configurations": len(graphs), "sha256": digest.hexdigest()}


def _bytes(tensor: torch.Tensor) -> bytes:
    return tensor.cpu().contiguous().numpy().tobytes()


def list_differences(stored: Any, current: Any, key: str = "") -> list[str]:
    """Return one line for every dotted key at which two JSON contents differ."""
    if isinstance(stored, list) and isinstance(current, list):
        stored, current = dict(enumerate(stored)), dict(enumerate(current))
    if isinstance(stored, dict) and isinstance(current, dict):
        names = [*stored, *(name for name in current if name not in stored)]
        missing = "absent"
        return [
            line
            for name in names
            for line in list_differences(
                stored.get(name, missing), current.get(name, missing), f"{key}.{name}" if key else str(name)
            )
        ]
    return [] if stored == current else [f"{key}: {stored} in the checkpoint, {current} now"]
