"""Errors on labelled configurations, from files too, which may carry energies only."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from clebsch.data import Configuration, Graph, LabelKeys, Pack, is_pack, read_configurations
from clebsch.data.reading import DEFAULT_KEYS
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
        data: a file, a pack, or configurations or graphs; a label may be missing, and is then not compared.
        keys: names of the labels in a file.
        batch_size: configurations per call of the potential.

    Raises:
        DataError: a file cannot be read, has none of the labels, or seems to have one under another name; there are no
            configurations, one holds an element that the potential does not know, or a prediction is not finite.
    """
    if isinstance(data, (str, Path)):
        data = read_file_or_pack(data, keys)
    return accuracy(compare(potential, data, batch_size=batch_size))


def read_file_or_pack(path: str | Path, keys: LabelKeys) -> Sequence[Configuration]:
    """Return the configurations of a file, or of a pack, whose labels were chosen when it was written."""
    return Pack.open(path) if is_pack(path) else read_configurations(path, keys)
