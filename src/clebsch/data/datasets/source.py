"""A public data set as a table of its files, and the one loader that reads such a table."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from clebsch.data.configuration import Configuration
from clebsch.data.datasets.download import download as download_file
from clebsch.data.labels import LabelKeys
from clebsch.data.lines import OPENERS
from clebsch.data.reading import read_frames, read_isolated_atoms, read_source
from clebsch.errors import DataError, did_you_mean

ROOT_VARIABLE = "CLEBSCH_DATA"
# Addresses of the BOTNet-datasets release, pinned to a commit so that the content cannot change.
BOTNET_DATASETS = "https://raw.githubusercontent.com/davkovacs/BOTNet-datasets/29e6d467317e4b5967b7ea5cbee54de953fa0d45"


@dataclass(frozen=True)
class Dataset:
    """A loaded data set.

    Args:
        name: the name it was asked for.
        train: the training configurations, validation part included.
        tests: the test sets by name; scans carry energies only.
        isolated_atoms: E0 of every element, eV; None where the data set has none.
        keys: names of the labels of the training file.
    """

    name: str
    train: list[Configuration]
    tests: dict[str, list[Configuration]]
    isolated_atoms: dict[str, float] | None
    keys: LabelKeys


@dataclass(frozen=True)
class DataFile:
    """One file of a data set: its published checksum (``sha256:`` or ``git:``), and whether it has forces."""

    checksum: str | None = None
    forces: bool = True


@dataclass(frozen=True)
class Source:
    """A data set as published.

    Args:
        name: name in this library.
        folder: folder of the files, relative to the root that the user names.
        train: training sets, the default first: name of the set, which is the file's name without ``.xyz``.
        tests: test sets.
        isolated_atoms: the file of the isolated atoms, if there is one.
        held_out: further test sets: name to the training set of which those configurations are taken that are not
            trained on.
        energy_key: the files' name for the energy.
        is_molecule: the configurations are not periodic, whatever cell the files carry.
        url: address of the folder; None where the files cannot be downloaded one by one.
        homepage: where to find the data.
    """

    name: str
    folder: str
    train: Mapping[str, DataFile]
    tests: Mapping[str, DataFile]
    homepage: str
    isolated_atoms: tuple[str, DataFile] | None = None
    held_out: Mapping[str, str] = field(default_factory=dict)
    energy_key: str = "energy"
    is_molecule: bool = False
    url: str | None = None

    def load(
        self,
        root: str | Path | None = None,
        *,
        train: str | None = None,
        tests: Iterable[str] | None = None,
        download: bool = False,
    ) -> Dataset:
        """Load the data set from the folder of its files.

        Args:
            root: the folder that holds ``folder``, or that folder itself; by default ``$CLEBSCH_DATA``.
            train: name of the training set; by default the first.
            tests: names of the test sets; by default those whose files are there (with ``download``, all).
            download: fetch the files that are missing.

        Raises:
            DataError: a name is unknown, a file is missing or not as expected.
        """
        folder = self.find_folder(root)
        train = self._known(train or next(iter(self.train)), self.train, "training set")
        configurations = self.read(train, folder, download)
        available = {**self.tests, **{name: self.train[origin] for name, origin in self.held_out.items()}}
        default = [name for name in available if not name.startswith("valid")]
        chosen = [self._known(name, available, "test set") for name in (default if tests is None else tests)]
        loaded: dict[str, list[Configuration]] = {}
        for name in chosen:
            stem = self.held_out.get(name, name)
            if stem == train and tests is not None:
                raise DataError(
                    f"{self.name}: '{name}' is the training set '{train}' itself. Leave it out of the tests."
                )
            if stem == train or (tests is None and not download and not self.has(stem, folder)):
                continue
            loaded[name] = self.read(stem, folder, download)
            if name in self.held_out:
                loaded[name] = without(loaded[name], configurations)
        e0 = None
        if self.isolated_atoms is not None:
            stem, file = self.isolated_atoms
            e0 = read_isolated_atoms(self._path(stem, file, folder, download), self.energy_key)
        return Dataset(self.name, configurations, loaded, e0, self.keys())

    def keys(self, forces: bool = True) -> LabelKeys:
        """Return the names of the labels in the files."""
        return LabelKeys.only(energy=self.energy_key, forces="forces" if forces else None)

    def find_folder(self, root: str | Path | None) -> Path:
        """Return the folder of the files below ``root``, which may already lead into that folder."""
        root, parts = find_root(root), Path(self.folder).parts
        depth = next((n for n in range(len(parts), 0, -1) if root.resolve().parts[-n:] == parts[:n]), 0)
        return root.joinpath(*parts[depth:])

    def has(self, stem: str, folder: Path) -> bool:
        """Return whether the file of a set is there."""
        return find_file(folder, stem) is not None

    def read(self, stem: str, folder: Path, download: bool) -> list[Configuration]:
        """Return the configurations of one set, fetching its file where it is missing and ``download`` is set."""
        file = {**self.train, **self.tests}[stem]
        path = self._path(stem, file, folder, download)
        configurations = read_source(path, self.keys(file.forces)).configurations
        if not self.is_molecule:
            return configurations
        return [replace(configuration, pbc=np.zeros(3, dtype=bool)) for configuration in configurations]

    def _path(self, stem: str, file: DataFile, folder: Path, download: bool) -> Path:
        found = find_file(folder, stem)
        if found is not None:
            return found
        if download and self.url is not None:
            return download_file(f"{self.url}/{stem}.xyz", folder / f"{stem}.xyz", file.checksum)
        cure = "" if self.url is None or download else " or load it with download=True,"
        raise DataError(
            f"{self.name}: {folder} holds no {stem}.xyz (nor .xyz.xz, .xyz.gz). Put the file there{cure} or name "
            f"another root (argument, or ${ROOT_VARIABLE}). The data: {self.homepage}"
        )

    def _known(self, name: str, options: Mapping[str, object], kind: str) -> str:
        if name not in options:
            raise DataError(
                f"{self.name} has no {kind} '{name}'.{did_you_mean(name, options)} It has: {', '.join(options)}."
            )
        return name


def find_root(root: str | Path | None) -> Path:
    """Return the folder of the data: the argument, or ``$CLEBSCH_DATA``; raises DataError where neither is given."""
    chosen = root or os.environ.get(ROOT_VARIABLE)
    if not chosen:
        raise DataError(f"No folder of data sets is given. Name it as root, or set ${ROOT_VARIABLE}.")
    return Path(chosen).expanduser()


def find_file(folder: Path, stem: str) -> Path | None:
    """Return the extended-XYZ file of that name, plain or compressed, or None."""
    candidates = [folder / f"{stem}.xyz{suffix}" for suffix in ("", *OPENERS)]
    return next((path for path in candidates if path.is_file()), None)


def without(configurations: list[Configuration], others: list[Configuration]) -> list[Configuration]:
    """Return the configurations whose atoms and positions (to 1e-6 Å) do not stand among ``others``."""
    known = {_fingerprint(other) for other in others}
    return [configuration for configuration in configurations if _fingerprint(configuration) not in known]


def _fingerprint(configuration: Configuration) -> bytes:
    # Adding zero turns -0.0 into 0.0, which has other bytes.
    return configuration.numbers.tobytes() + (configuration.positions.round(6) + 0.0).tobytes()


def find_coordinates(source: Source, stem: str, key: str, root: str | Path | None) -> np.ndarray:
    """Return the number called ``key`` of every configuration of a set, in order: the coordinate of a scan.

    Raises:
        DataError: the file is missing, or a configuration has no such number.
    """
    path = find_file(source.find_folder(root), stem)
    if path is None:
        raise DataError(f"{source.name}: there is no file of the set '{stem}'.")
    values = []
    for number, atoms in read_frames(path):
        if key not in atoms.info:
            raise DataError(f"{path}, frame {number}: has no '{key}'; it has {', '.join(map(str, atoms.info))}.")
        values.append(float(atoms.info[key]))
    return np.array(values)
