"""Errors on labelled configurations, from files too, which may carry energies only."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ase import Atoms

from clebsch.data import Configuration, Graph, LabelKeys, read_configurations
from clebsch.data.labels import has_key
from clebsch.data.reading import DEFAULT_KEYS, read_frames
from clebsch.evaluation.accuracy import Accuracy, accuracy, compare
from clebsch.models import Potential


def evaluate(
    potential: Potential,
    data: str | Path | Sequence[Configuration | Graph],
    keys: LabelKeys = DEFAULT_KEYS,
    *,
    batch_size: int = 16,
) -> Accuracy:
    """Return the errors of ``potential`` on labelled configurations.

    Args:
        potential: the potential.
        data: a file, or configurations or graphs; a label may be missing, and is then not compared.
        keys: names of the labels in a file.
        batch_size: configurations per call of the potential.

    Raises:
        DataError: a file cannot be read, has none of the labels, seems to have one under another name, or has one in
            some frames only; there are no configurations, one holds an element that the potential does not know, or a
            prediction is not finite.
    """
    if isinstance(data, (str, Path)):
        data = read_configurations(data, _carried(data, keys))
    return accuracy(compare(potential, data, batch_size=batch_size))


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
