"""Public data sets: five tables of files, one loader."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from clebsch.data.datasets import acac, ethanol, lips, rmd17, three_bpa
from clebsch.data.datasets.source import DataFile, Dataset, Source, find_root
from clebsch.errors import DataError, did_you_mean

SOURCES = {source.name: source for source in (acac.SOURCE, three_bpa.SOURCE, ethanol.SOURCE, lips.SOURCE)}
NAMES = (*SOURCES, *(f"rmd17/{molecule}" for molecule in rmd17.MOLECULES))

__all__ = ["NAMES", "SOURCES", "DataFile", "Dataset", "Source", "find_root", "load_dataset"]


def load_dataset(
    name: str,
    root: str | Path | None = None,
    *,
    train: str | None = None,
    tests: Iterable[str] | None = None,
    download: bool = False,
) -> Dataset:
    """Load a public data set by name, in eV and Å.

    Args:
        name: ``acac``, ``3bpa``, ``ethanol``, ``lips``, or ``rmd17/<molecule>`` (split 2 to 5: ``rmd17/<molecule>/2``).
        root: folder of the data sets; by default ``$CLEBSCH_DATA``.
        train: name of the training set, for example ``train_600K``; by default the data set's first.
        tests: names of the test sets; by default those whose files are there.
        download: fetch the files that are missing.

    Raises:
        DataError: a name is unknown, a file is missing or not as expected, or a download fails.
    """
    if name in SOURCES:
        return SOURCES[name].load(root, train=train, tests=tests, download=download)
    family, _, rest = name.partition("/")
    if family != "rmd17" or not rest:
        raise DataError(f"There is no data set '{name}'.{did_you_mean(name, NAMES)} Known: {', '.join(NAMES)}.")
    molecule, _, split = rest.partition("/")
    if split and not split.isdecimal():
        raise DataError(f"A split of rmd17 is a number from 1 to {rmd17.NUM_SPLITS}, got '{split}' in '{name}'.")
    return rmd17.load(root, molecule, int(split or 1), train=train, tests=tests, download=download)
