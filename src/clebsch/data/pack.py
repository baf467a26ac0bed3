"""Packs: configurations on disk as columns of numbers, read a few at a time, for data larger than memory."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, overload

import numpy as np
from ase.data import chemical_symbols

from clebsch.data.configuration import Configuration
from clebsch.data.quantities import QUANTITIES
from clebsch.errors import DamagedFileError, DataError
from clebsch.files import explained, write_json

INDEX_NAME = "index.json"
FORMAT, VERSION = "clebsch pack", 1
FRAMES_PER_SHARD = 10_000
_PIECE = 2**22  # bytes that are hashed at once


def write_pack(
    configurations: Iterable[Configuration], folder: str | Path, frames_per_shard: int = FRAMES_PER_SHARD
) -> Pack:
    """Write configurations to a new folder and return the pack; no more than one shard is in memory.

    The folder holds a folder of NumPy arrays for every shard and, written last, index.json with their SHA-256.

    Args:
        configurations: any number of them, at least one.
        folder: where to write; made if missing.
        frames_per_shard: configurations in each shard.

    Raises:
        DataError: there is no configuration, or the folder holds something already.
        OutputError: a file cannot be written.
    """
    folder = Path(folder)
    if folder.exists() and any(folder.iterdir()):
        raise DataError(f"{folder} is not empty. Give the pack a folder of its own.")
    writer, frames = _Writer(folder), iter(configurations)
    while shard := list(islice(frames, frames_per_shard)):
        writer.add(shard)
    writer.finish()
    return Pack.open(folder, verify=False)


class _Writer:
    """Shards that have been written, and the names that their numbers stand for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.shards: list[dict[str, Any]] = []
        self.files: dict[str, int] = {}
        self.config_types: dict[str, int] = {}

    def add(self, frames: Sequence[Configuration]) -> None:
        """Write one shard."""
        name = f"shard-{len(self.shards):05d}"
        sums = {}
        for column, values in self._columns(frames).items():
            path = self.folder / name / f"{column}.npy"
            with explained(path):
                path.parent.mkdir(parents=True, exist_ok=True)
                np.save(path, values, allow_pickle=False)
            sums[column] = _sha256(path)
        self.shards.append({"name": name, "columns": sums})

    def finish(self) -> None:
        """Write the index, which makes the pack complete."""
        if not self.shards:
            raise DataError("There is nothing to pack: no configuration was given.")
        stamp = {"format": FORMAT, "version": VERSION, "quantities": list(QUANTITIES)}
        names = {"files": list(self.files), "config_types": list(self.config_types)}
        write_json(self.folder / INDEX_NAME, {**stamp, **names, "shards": self.shards})

    def _columns(self, frames: Sequence[Configuration]) -> dict[str, np.ndarray]:
        weights = [[frame.weights.get(name, 1.0) for name in QUANTITIES] for frame in frames]
        columns = {
            "num_atoms": np.array([frame.num_atoms for frame in frames]),
            "numbers": np.concatenate([frame.numbers for frame in frames]).astype(np.uint8),
            "positions": np.concatenate([frame.positions for frame in frames]),
            "cell": np.stack([frame.cell for frame in frames]),
            "pbc": np.stack([frame.pbc for frame in frames]),
            "weights": np.array(weights),
            "file": np.array([self.files.setdefault(frame.file, len(self.files)) for frame in frames]),
            "number": np.array([_number(frame) for frame in frames]),
            "config_type": np.array([self._kind(frame.config_type) for frame in frames]),
        }
        for name, quantity in QUANTITIES.items():
            if any(name in frame.labels for frame in frames):
                rows = [frame.labels.get(name, np.full(quantity.shape(frame.num_atoms), np.nan)) for frame in frames]
                columns[name] = np.concatenate(rows) if quantity.of == "atom" else np.stack(rows)
        return columns

    def _kind(self, config_type: str) -> int:
        return self.config_types.setdefault(config_type, len(self.config_types))


@dataclass(frozen=True)
class _Shard:
    """Columns of one shard, on disk, and where the atoms of each of its configurations begin."""

    columns: dict[str, np.ndarray]
    starts: np.ndarray


class Pack(Sequence[Configuration]):
    """Configurations of a pack, or some of them, read from disk one by one; what all have in common comes at once.

    Args:
        shards: of the pack.
        names: what is written in the index.
        indices: which configurations, in which order.
        digest: SHA-256 of the content of the pack.
        factors: on the weights, [config types, quantities].
    """

    def __init__(
        self,
        shards: Sequence[_Shard],
        names: dict[str, Any],
        indices: np.ndarray,
        digest: str,
        factors: np.ndarray | None = None,
    ) -> None:
        self._shards, self._names, self._indices, self._digest = shards, names, indices, digest
        shape = len(names["config_types"]), len(names["quantities"])
        self._factors = np.ones(shape) if factors is None else factors
        self._first = np.cumsum([0, *(len(shard.starts) - 1 for shard in shards)])

    @classmethod
    def open(cls, folder: str | Path, *, verify: bool = True) -> Pack:
        """Open the pack of a folder.

        Args:
            folder: where `write_pack` has written it.
            verify: compare the SHA-256 of all files with the index.

        Raises:
            DamagedFileError: the index or a file of the pack is missing, damaged or of a later version.
        """
        folder = Path(folder)
        try:
            index = json.loads((folder / INDEX_NAME).read_text())
            shards = [_open_shard(folder, shard, verify) for shard in index["shards"]]
            if index["format"] != FORMAT or index["version"] > VERSION:
                raise ValueError(f"format {index['format']}, version {index['version']}")
            names = {key: list(index[key]) for key in ("quantities", "files", "config_types")}
            digest = hashlib.sha256(json.dumps(index["shards"], sort_keys=True).encode()).hexdigest()
            count = sum(len(shard.starts) - 1 for shard in shards)
        except (AttributeError, KeyError, OSError, TypeError, ValueError) as error:
            raise DamagedFileError(
                f"{folder} is no whole pack ({type(error).__name__}: {str(error)[:200]}). Copy it again, or pack the "
                "data again."
            ) from None
        return cls(shards, names, np.arange(count), digest)

    @overload
    def __getitem__(self, index: int) -> Configuration: ...
    @overload
    def __getitem__(self, index: slice) -> list[Configuration]: ...
    def __getitem__(self, index: int | slice) -> Configuration | list[Configuration]:
        if isinstance(index, slice):
            return [self._read(int(position)) for position in self._indices[index]]
        return self._read(int(self._indices[index]))

    def __len__(self) -> int:
        return len(self._indices)

    def select(self, indices: Sequence[int] | np.ndarray) -> Pack:
        """Return some of the configurations."""
        chosen = self._indices[np.asarray(indices, dtype=np.int64)]
        return Pack(self._shards, self._names, chosen, self._digest, self._factors)

    def weighted(self, weights: Mapping[str, Mapping[str, float]]) -> Pack:
        """Return the configurations with further factors on their weights, by config_type and quantity."""
        factors = self._factors.copy()
        for config_type, by_quantity in weights.items():
            for quantity, factor in by_quantity.items():
                place = self._names["config_types"].index(config_type), self._names["quantities"].index(quantity)
                factors[place] *= factor
        return Pack(self._shards, self._names, self._indices, self._digest, factors)

    @property
    def digest(self) -> str:
        """SHA-256 of the content and of which configurations these are."""
        return hashlib.sha256(self._digest.encode() + self._indices.tobytes() + self._factors.tobytes()).hexdigest()

    @property
    def num_atoms(self) -> np.ndarray:
        """Number of atoms of every configuration."""
        return self._column("num_atoms")

    @property
    def files(self) -> list[str]:
        """The file that every configuration comes from."""
        return [self._names["files"][number] for number in self._column("file")]

    @property
    def config_types(self) -> list[str]:
        """The kind of every configuration."""
        return [self._names["config_types"][number] for number in self._column("config_type")]

    @property
    def elements(self) -> tuple[str, ...]:
        """The chemical symbols that occur in these configurations, in order of atomic number."""
        chosen = np.zeros(self._first[-1], dtype=bool)
        chosen[self._indices] = True
        found: set[int] = set()
        for first, shard in zip(self._first, self._shards, strict=False):
            of_atom = np.repeat(chosen[first : first + len(shard.starts) - 1], np.diff(shard.starts))
            found |= set(np.unique(shard.columns["numbers"][of_atom]).tolist())
        return tuple(chemical_symbols[number] for number in sorted(found))

    def labelled(self, quantity: str) -> np.ndarray:
        """Return for every configuration whether it has a label of ``quantity``."""
        found = []
        for shard in self._shards:
            values = shard.columns.get(quantity)
            if values is None:
                found.append(np.zeros(len(shard.starts) - 1, dtype=bool))
                continue
            rows = values[shard.starts[:-1]] if QUANTITIES[quantity].of == "atom" else values
            found.append(~np.isnan(rows.reshape(len(rows), -1)[:, 0]))
        return np.concatenate(found)[self._indices]

    def counts(self, quantity: str) -> np.ndarray:
        """Return for every configuration whether it has a label of ``quantity`` and a weight above zero."""
        there = self.labelled(quantity)
        if quantity not in self._names["quantities"]:
            return there
        column = self._names["quantities"].index(quantity)
        weights = self._column("weights")[:, column] * self._factors[self._column("config_type"), column]
        return there & (weights > 0)

    def energies(self) -> np.ndarray:
        """Return the energy labels (eV) of all configurations, NaN if there is none."""
        nothing = [np.full(len(shard.starts) - 1, np.nan) for shard in self._shards]
        found = [shard.columns.get("energy", empty) for shard, empty in zip(self._shards, nothing, strict=True)]
        return np.concatenate(found)[self._indices]

    def compositions(self, elements: Sequence[str]) -> np.ndarray:
        """Return the numbers of atoms [configurations, elements]."""
        parts = []
        for shard in self._shards:
            numbers = np.asarray(shard.columns["numbers"])
            counts = [
                np.add.reduceat(numbers == chemical_symbols.index(symbol), shard.starts[:-1]) for symbol in elements
            ]
            parts.append(np.stack(counts, axis=1))
        return np.concatenate(parts)[self._indices].astype(float)

    def isolated(self) -> np.ndarray:
        """Return for every configuration whether it is an isolated atom."""
        found = np.zeros(len(self), dtype=bool)
        for index in np.flatnonzero(self.num_atoms == 1):
            found[index] = self[int(index)].is_isolated_atom
        return found

    def _column(self, name: str) -> np.ndarray:
        return np.concatenate([shard.columns[name] for shard in self._shards])[self._indices]

    def _read(self, position: int) -> Configuration:
        number = int(np.searchsorted(self._first, position, side="right")) - 1
        shard, row = self._shards[number], position - int(self._first[number])
        columns, atoms = shard.columns, slice(int(shard.starts[row]), int(shard.starts[row + 1]))
        labels = {}
        for name, quantity in QUANTITIES.items():
            if name in columns:
                value = np.array(columns[name][atoms if quantity.of == "atom" else row])
                if not np.isnan(value).any():
                    labels[name] = value
        kind = int(columns["config_type"][row])
        factors = columns["weights"][row] * self._factors[kind]
        weights = dict(zip(self._names["quantities"], factors.tolist(), strict=True))
        file, frame = self._names["files"][int(columns["file"][row])], int(columns["number"][row])
        return Configuration(
            numbers=columns["numbers"][atoms],
            positions=columns["positions"][atoms],
            cell=columns["cell"][row],
            pbc=columns["pbc"][row],
            labels=labels,
            weights={name: weight for name, weight in weights.items() if weight != 1.0},
            config_type=self._names["config_types"][kind],
            origin=f"{file}, frame {frame}" if frame >= 0 else file,
        )


def _number(frame: Configuration) -> int:
    """The number of a frame in its file, -1 if it has none."""
    number = frame.origin.rpartition(", frame ")[2]
    return int(number) if number.isdecimal() else -1


def is_pack(path: str | Path) -> bool:
    """Return whether a folder is that of a pack."""
    return (Path(path) / INDEX_NAME).is_file()


def _open_shard(folder: Path, shard: dict[str, Any], verify: bool) -> _Shard:
    columns = {}
    for name, digits in shard["columns"].items():
        path = folder / shard["name"] / f"{name}.npy"
        if verify and _sha256(path) != digits:
            raise ValueError(f"{path} is not what the index says")
        columns[name] = np.load(path, mmap_mode="r", allow_pickle=False)
    starts = np.concatenate([[0], np.cumsum(columns["num_atoms"])])
    if starts[-1] != len(columns["positions"]) or starts[-1] != len(columns["numbers"]):
        raise ValueError(f"the columns of {shard['name']} do not fit each other")
    return _Shard(columns, starts)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest()
