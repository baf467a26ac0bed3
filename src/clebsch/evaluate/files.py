"""Accuracy on labelled files, which may carry energies only."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ase import Atoms

from clebsch.data import LabelKeys, read_configurations
from clebsch.data.labels import has_key
from clebsch.data.reading import read_frames
from clebsch.evaluate.accuracy import Accuracy, evaluate
from clebsch.models import Potential


def evaluate_files(
    potential: Potential, paths: Sequence[str | Path], keys: LabelKeys, *, batch_size: int = 16
) -> dict[str, Accuracy]:
    """Return the accuracy of ``potential`` on every file; a kind of label that a file does not carry is left out.

    Raises:
        DataError: a file cannot be read, has none of the labels, seems to have one under another name, has one in some
            frames only, or holds an element that the potential does not know.
    """
    accuracies = {}
    for path in paths:
        frames = read_configurations(path, _carried(path, keys))
        accuracies[str(path)] = evaluate(potential, frames, batch_size=batch_size)
    return accuracies


def _carried(path: str | Path, keys: LabelKeys) -> LabelKeys:
    """``keys`` without those of labels that the file does not have.

    A label that is absent under its key but near to another name stays, so that reading stops and names both.
    """
    frames = [atoms for _, atoms in read_frames(path)]
    names = {name.lower() for atoms in frames[:1] for name in _names(atoms)}
    absent = {}
    for label, key in keys.model_dump().items():
        elsewhere = any(label.removesuffix("s") in name for name in names)
        if key is not None and not elsewhere and not any(has_key(atoms, key) for atoms in frames):
            absent[label] = None
    carried = keys.model_copy(update=absent)
    return carried if any(carried.model_dump().values()) else keys


def _names(atoms: Atoms) -> list[str]:
    results = getattr(atoms.calc, "results", {})
    return [*atoms.info, *atoms.arrays, *results]
