"""Reading labelled configurations from a file, of whatever format."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from ase import Atoms

from clebsch.config import parse_config
from clebsch.data.configuration import Configuration
from clebsch.data.formats import ARCHIVE, FREE_UNITS, find_format, frame_loaders
from clebsch.data.labels import LabelKeys, check_labels_present, config_type, is_isolated_atom
from clebsch.data.suspicion import check_energies_vary, other_labels, unread
from clebsch.data.units import Units, convert, drop_nan
from clebsch.data.vasp import describe_energies
from clebsch.errors import DataError, did_you_mean

DEFAULT_KEYS = LabelKeys()
E0_AGREEMENT = 1e-6  # eV
ARCHIVE_ENERGY = "kcal/mol"  # of MD17


@dataclass(frozen=True)
class Reading:
    """What a file holds.

    Attributes:
        path: the file.
        configurations: its configurations, in eV and Å.
        facts: what was decided in reading it, for a line about the file.
        doubts: what a user should look at.
    """

    path: Path
    configurations: list[Configuration]
    facts: tuple[str, ...]
    doubts: tuple[str, ...]


def read_configurations(
    path: str | Path,
    keys: LabelKeys = DEFAULT_KEYS,
    index: str | int | slice = ":",
    *,
    types: Mapping[int, str] | None = None,
    units: Units | Mapping[str, str] | None = None,
    nan_is_none: bool = False,
) -> list[Configuration]:
    """Read the configurations of a file, every one with the labels that it has among those that ``keys`` names.

    Args:
        path: extended XYZ under any name (also compressed, ``.xz``, ``.gz``, ``.bz2``), an ASE database (``.db``), a
            LAMMPS dump, MD17's ``.npz``, or any format ASE reads.
        keys: names of the labels; ``None`` for a label that is not wanted. A single atom without forces gets zeros.
        index: which frames, in Python's slice notation, counted from 0.
        types: elements of the types of a LAMMPS dump, ``{1: "Cu", 2: "Au"}``.
        units: units of the file, see `Units`, such as ``{"energy": "kcal/mol"}``.
        nan_is_none: a label that holds a NaN is missing, instead of an error.

    Warns:
        UserWarning: other labels stand beside the ones that are read, or charges, spins or weights that are not read.

    Raises:
        DataError: the file is missing, empty, truncated or corrupt; no frame has a label, or one that no frame has
            seems to stand under another name; a label is not finite or of the wrong shape; all energies are the same
            number; two atoms are closer than 0.1 Å.
        ConfigError: a unit is unknown.
    """
    reading = read_source(path, keys, index, types=types, units=units, nan_is_none=nan_is_none)
    for doubt in reading.doubts:
        warnings.warn(f"{path}: {doubt}", stacklevel=2)
    return reading.configurations


def read_source(
    path: str | Path,
    keys: LabelKeys = DEFAULT_KEYS,
    index: str | int | slice = ":",
    *,
    types: Mapping[int, str] | None = None,
    units: Units | Mapping[str, str] | None = None,
    nan_is_none: bool = False,
) -> Reading:
    """Read a file as `read_configurations` does, and say what was decided and what is doubtful."""
    path = Path(path)
    frames = read_frames(path, index, types=types)
    chosen, facts = choose_units(path, units)
    reading = interpret(path, frames, keys, chosen, nan_is_none=nan_is_none)
    check_labels_present(frames, keys, str(path))
    return replace(reading, facts=(*facts, *reading.facts))


def choose_units(path: Path, units: Units | Mapping[str, str] | None) -> tuple[Units, list[str]]:
    """Return the units of a file, and what is to be said of them; raises DataError if its format has its own."""
    facts: list[str] = []
    chosen = units if isinstance(units, Units) else parse_config(Units, units or {}, "units")
    form = find_format(path)
    if chosen.given() and form not in FREE_UNITS:
        raise DataError(f"{path}: the format {form} has its own units, which are converted. Remove the units.")
    if form == ARCHIVE and not chosen.energy:
        chosen = chosen.model_copy(update={"energy": ARCHIVE_ENERGY})
        facts.append(f"energies are taken to be in {ARCHIVE_ENERGY}, as in MD17 (if not, give units)")
    elif chosen.given():
        facts.append(f"units: {', '.join(f'{name} {unit}' for name, unit in chosen.given().items())}")
    return chosen, facts


def interpret(
    path: Path, frames: Sequence[tuple[int, Atoms]], keys: LabelKeys, units: Units, *, nan_is_none: bool = False
) -> Reading:
    """Return the configurations of frames of a file, which are converted in place, and what is to be said of them."""
    if nan_is_none:
        frames = [(number, drop_nan(atoms, keys)) for number, atoms in frames]
    bare = [convert(atoms, keys, units) for _, atoms in frames]
    configurations = [Configuration.from_atoms(atoms, keys, f"{path}, frame {number}") for number, atoms in frames]
    check_energies_vary(configurations, keys, str(path))
    facts = tuple(fact for fact in [describe_energies(bare)] if fact)
    doubts = (*other_labels(bare, configurations, keys, units.factors()), *unread(bare))
    return Reading(path, configurations, facts, doubts)


def read_isolated_atoms(path: str | Path, key: str = "energy") -> dict[str, float]:
    """Return E0 (eV) of every element from the isolated atoms of a file; other frames are passed over.

    Raises DataError where the file has no isolated atom, or two different energies for one element.
    """
    frames = [
        (number, atoms)
        for number, atoms in read_frames(path)
        if is_isolated_atom(len(atoms), atoms.pbc, atoms.cell.array, config_type(atoms))
    ]
    if not frames:
        raise DataError(
            f"{path}: no frame is an isolated atom (one atom, not periodic or with config_type=IsolatedAtom). "
            "Name the file that holds them, or give E0 another way."
        )
    keys = LabelKeys.only(energy=key)
    check_labels_present(frames, keys, str(path))
    return find_isolated_atoms(
        Configuration.from_atoms(atoms, keys, f"{path}, frame {number}") for number, atoms in frames
    )


def find_isolated_atoms(configurations: Iterable[Configuration]) -> dict[str, float]:
    """Return E0 (eV) of every element that has an isolated atom with an energy among ``configurations``.

    Of atoms in periodic boxes that nothing marks as isolated, the one in the largest box counts, if none is marked.

    Raises DataError if two other atoms of one element have energies that differ by more than 1e-6 eV.
    """
    e0: dict[str, float] = {}
    boxed: dict[str, tuple[float, float]] = {}
    for configuration in configurations:
        if "energy" not in configuration.labels or not configuration.is_isolated_atom:
            continue
        (symbol,), energy = configuration.symbols, float(configuration.labels["energy"])
        if configuration.pbc.any() and not configuration.config_type:
            boxed[symbol] = max(boxed.get(symbol, (-1.0, 0.0)), (configuration.volume, energy))
        elif abs(e0.setdefault(symbol, energy) - energy) > E0_AGREEMENT:
            raise DataError(
                f"{configuration.origin}: the isolated atom {symbol} has energy {energy} eV here and {e0[symbol]} eV "
                "in an earlier frame. Keep one of them."
            )
    return {**{symbol: energy for symbol, (_, energy) in boxed.items()}, **e0}


def read_frames(
    path: str | Path, index: str | int | slice = ":", *, types: Mapping[int, str] | None = None
) -> list[tuple[int, Atoms]]:
    """Return (frame number counted from 0, ASE Atoms) of the chosen frames of a file.

    Numbers are as in the file; `read_configurations` converts units.
    Raises DataError where the file is missing, empty, truncated or corrupt, or has no such frame.
    """
    path = Path(path)
    require_file(path)
    numbered = _select(enumerate(frame_loaders(path, types)), _as_slice(index))
    frames = list(load_frames(path, numbered))
    if not frames:
        chosen = "" if index == ":" else f" in index {index!r}"
        raise DataError(f"{path}: holds no frame{chosen}. Check the file's content and the index.")
    return frames


def require_file(path: Path) -> None:
    """Raise DataError if there is no such file."""
    if not path.is_file():
        if path.is_dir():
            raise DataError(f"{path}: is a folder. Name a file in it.")
        siblings = [item.name for item in path.parent.iterdir()] if path.parent.is_dir() else []
        raise DataError(f"{path}: no such file.{did_you_mean(path.name, siblings)}")


def load_frames(path: Path, numbered: Iterable[tuple[int, Callable[[], Atoms]]]) -> Iterator[tuple[int, Atoms]]:
    """Yield frames from their numbers and what parses them; raises DataError for one that cannot be read."""
    where = f"{path}"
    try:
        for number, load in numbered:
            where = f"{path}, frame {number}"
            yield number, load()
            where = f"{path}, after frame {number}"
    except DataError:
        raise
    except Exception as error:  # ASE and the decompressors raise whatever their parsers stumble on
        raise DataError(
            f"{where}: cannot be read ({type(error).__name__}: {error}). "
            "Check that the file is complete and of the format its name says."
        ) from error


def _as_slice(index: str | int | slice) -> slice:
    if isinstance(index, slice):
        return index
    try:
        bounds = [int(bound) if bound.strip() else None for bound in str(index).split(":")]
        return slice(*bounds) if len(bounds) > 1 else slice(int(index), int(index) + 1 or None)
    except (ValueError, TypeError):
        raise DataError(f"index must be a frame number or a slice such as '0:100', got {index!r}.") from None


def _select(items: Iterator, chosen: slice) -> Iterator:
    """Slice an iterator; only negative bounds need all of it."""
    if any(bound is not None and bound < 0 for bound in (chosen.start, chosen.stop, chosen.step)):
        return iter(list(items)[chosen])
    return islice(items, chosen.start, chosen.stop, chosen.step)
