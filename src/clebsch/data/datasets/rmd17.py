"""Revised MD17: ten molecules, PBE/def2-SVP, five splits of 1000 training and 1000 test configurations each.

Christensen and von Lilienfeld, doi 10.1088/2632-2153/abba6f; data: figshare 12672038. Two layouts are read:

- the figshare release, ``npz_data/rmd17_<molecule>.npz`` (kcal/mol) with ``splits/index_train_0N.csv`` and
  ``splits/index_test_0N.csv``;
- extended XYZ, ``<molecule>/train_0N.xyz`` and ``<molecule>/test_0N.xyz`` (eV, energy key ``Energy``).
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from clebsch.data.configuration import Configuration
from clebsch.data.datasets.download import download as download_file
from clebsch.data.datasets.download import extract
from clebsch.data.datasets.source import DataFile, Dataset, Source
from clebsch.errors import DataError, did_you_mean

MOLECULES = (
    "aspirin",
    "azobenzene",
    "benzene",
    "ethanol",
    "malonaldehyde",
    "naphthalene",
    "paracetamol",
    "salicylic",
    "toluene",
    "uracil",
)
NUM_SPLITS = 5
# 1 kcal/mol = 4184 J / (N_A e) = 0.0433641 eV, with the exact constants of the SI.
KCAL_PER_MOL = 4184.0 / (6.02214076e23 * 1.602176634e-19)
ARCHIVE = "https://figshare.com/ndownloader/files/23950376"
HOMEPAGE = "https://doi.org/10.6084/m9.figshare.12672038"


class Release(Source):
    """One molecule and split in the layout of the figshare release."""

    def has(self, stem: str, folder: Path) -> bool:
        """Return whether the arrays and the indices of a set are there."""
        return all(path.is_file() for path in self._paths(stem, folder))

    def read(self, stem: str, folder: Path, download: bool) -> list[Configuration]:
        """Return the configurations that an index file picks from a molecule's arrays, in eV and eV/Å."""
        if not self.has(stem, folder):
            self._fetch(stem, folder, download)
        arrays_path, index_path = self._paths(stem, folder)
        numbers, positions, energies, forces = _read_arrays(arrays_path)
        configurations = [
            Configuration(
                numbers=numbers,
                positions=positions[index],
                labels={"energy": energies[index] * KCAL_PER_MOL, "forces": forces[index] * KCAL_PER_MOL},
                origin=f"{arrays_path}, index {index}",
            )
            for index in _read_indices(index_path, len(energies))
        ]
        for configuration in configurations:
            configuration.check_distances()
        return configurations

    def _paths(self, stem: str, folder: Path) -> tuple[Path, Path]:
        molecule = self.name.rpartition("/")[2]
        return folder / "npz_data" / f"rmd17_{molecule}.npz", folder / "splits" / f"index_{stem}.csv"

    def _fetch(self, stem: str, folder: Path, download: bool) -> None:
        paths = self._paths(stem, folder)
        members = {path.relative_to(folder).as_posix(): path for path in paths}
        if not download:
            raise DataError(
                f"{self.name}: {folder} holds neither {' with '.join(members)} (the figshare release) nor "
                f"{self.name.rpartition('/')[2]}/{stem}.xyz. Put one of them there, load it with download=True, "
                f"or name another root. The data: {self.homepage}"
            )
        archive = folder / "rmd17.tar.bz2"
        if not archive.is_file():
            download_file(str(self.url), archive)
        extract(archive, members)


def load(
    root: str | Path | None = None,
    molecule: str = "ethanol",
    split: int = 1,
    *,
    train: str | None = None,
    tests: Iterable[str] | None = None,
    download: bool = False,
) -> Dataset:
    """Load one molecule and split: training set ``train_0N``, test set ``test_0N``, 1000 configurations each.

    Args:
        root: the folder that holds ``rmd17``, or that folder itself; by default ``$CLEBSCH_DATA``.
        molecule: one of ``MOLECULES``.
        split: 1 to 5.
        train: ``train_0N``, the only training set of a split.
        tests: names of the test sets; by default all.
        download: fetch the figshare archive where neither layout is there.

    Raises:
        DataError: the molecule, split or a name is unknown; a file is missing or not as expected.
    """
    if molecule not in MOLECULES:
        raise DataError(
            f"rmd17 has no molecule '{molecule}'.{did_you_mean(molecule, MOLECULES)} It has: {', '.join(MOLECULES)}."
        )
    if not 1 <= split <= NUM_SPLITS:
        raise DataError(f"rmd17 has splits 1 to {NUM_SPLITS}, got {split}.")
    name, train_set, test_set = f"rmd17/{molecule}", f"train_{split:02d}", f"test_{split:02d}"
    files = {train_set: DataFile()}, {test_set: DataFile()}
    source = Source(name, name, *files, HOMEPAGE, energy_key="Energy", is_molecule=True)
    if not source.has(train_set, source.find_folder(root)):
        source = Release(name, "rmd17", *files, HOMEPAGE, energy_key="energies", url=ARCHIVE)
    return source.load(root, train=train, tests=tests, download=download)


def _read_arrays(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return nuclear charges [atoms], positions [n, atoms, 3], energies [n], forces [n, atoms, 3] of a npz file."""
    try:
        with np.load(path) as archive:
            numbers = archive["nuclear_charges"].astype(np.int64)
            positions, energies, forces = (
                archive[name].astype(np.float64) for name in ("coords", "energies", "forces")
            )
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise DataError(
            f"{path}: cannot be read as npz with nuclear_charges, coords, energies and forces "
            f"({type(error).__name__}: {error}). Get the file again."
        ) from error
    energies = energies.reshape(-1)
    shape = (len(energies), len(numbers), 3)
    if positions.shape != shape or forces.shape != shape:
        raise DataError(
            f"{path}: coords and forces must have shape {shape}, got {positions.shape} and {forces.shape}. "
            "Get the file again."
        )
    return numbers, positions, energies, forces


def _read_indices(path: Path, count: int) -> list[int]:
    """Return the indices of a file, one in a line, each below ``count``."""
    try:
        indices = [int(line) for line in path.read_text().split()]
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: must hold one index in a line ({error}). Get the file again.") from error
    if not indices or min(indices) < 0 or max(indices) >= count:
        raise DataError(f"{path}: must hold indices from 0 to {count - 1}, got {indices[:3]}… Get the file again.")
    return indices
