"""A checkpoint of a published code to a file of this library, after both have agreed on frames."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.build import bulk, molecule
from safetensors import SafetensorError
from safetensors.numpy import load_file

from clebsch.config import StrictConfig
from clebsch.data import Configuration, read_configurations
from clebsch.errors import CheckpointError, ConfigError
from clebsch.interop.botnet import from_botnet
from clebsch.interop.comparison import Difference, compare
from clebsch.interop.confinement import run_published
from clebsch.interop.mace import from_mace
from clebsch.interop.nequip import from_nequip
from clebsch.interop.pace import from_pace
from clebsch.interop.published import PublishedModel, read_published
from clebsch.models import Potential
from clebsch.models.reference_frames import example_frames
from clebsch.models.serialization import save_potential

READERS: dict[str, Callable[..., Potential]] = {
    "mace": from_mace,
    "pace": from_pace,
    "botnet": from_botnet,
    "nequip": from_nequip,
}
TOLERANCE = 1e-8  # largest relative difference of an import
ROUNDED_TOLERANCE = 1e-6  # where the code computes with constants that float32 has rounded and nobody can restore
MOLECULES = ("H2O", "CH3CH2OH", "C6H6", "NH3", "CH3Cl", "SH2")
CRYSTALS = (("Si", "diamond", 5.43), ("Cu", "fcc", 3.61), ("NaCl", "rocksalt", 5.64), ("Fe", "bcc", 2.87))
RATTLE = 0.05  # Å


class ImportOptions(StrictConfig):
    """What is wanted of an import.

    Attributes:
        trust: whether a pickle may be read, which is to run what it says.
        python: interpreter that has the published code.
        head: the head that is loaded by default; the first of the code if not given.
        elements: what is read of all elements; all if empty.
        inputs: values of embedded inputs of a structure, such as its charge.
        frames: files with frames to compare besides the examples.
        settings: settings of the model by their names in its code, in place of or besides those of its file.
        spline_intervals: of the splines of the potential that is saved; None for the exact networks.
    """

    trust: bool = False
    python: str = "python"
    head: str | None = None
    elements: tuple[str, ...] = ()
    inputs: dict[str, int] = {}
    frames: tuple[str, ...] = ()
    settings: dict[str, Any] = {}
    spline_intervals: int | None = None


@dataclass(frozen=True)
class FrameParity:
    """How far the potential is from the published code for one frame.

    Attributes:
        head: of the model; empty where there is one.
        frame: where it comes from.
        atoms: in the frame.
        difference: largest relative differences.
    """

    head: str
    frame: str
    atoms: int
    difference: Difference


@dataclass(frozen=True)
class ImportReport:
    """What was imported and how well it agrees.

    Attributes:
        source: the published code and its version, as far as it is known.
        heads: names of all heads, that of the file first.
        confinement: how the process that read a pickle was confined; empty without one.
        parity: one entry per head and frame.
        tolerance: largest difference that is allowed.
    """

    source: str
    heads: tuple[str, ...]
    confinement: str
    parity: tuple[FrameParity, ...]
    tolerance: float = TOLERANCE

    @property
    def largest(self) -> float:
        """The largest difference of all, NaN where nothing was compared."""
        return float(np.max([entry.difference.largest for entry in self.parity])) if self.parity else float("nan")

    def as_json(self) -> dict[str, Any]:
        """For a file or a program."""
        return {**asdict(self), "largest": self.largest}


def import_published(
    code: str,
    checkpoint: str | Path,
    output: str | Path,
    options: ImportOptions,
) -> ImportReport:
    """Read a checkpoint, compare the potential with the code's own results, and save it with all heads.

    Args:
        code: "mace", "pace", "botnet" or "nequip".
        checkpoint: a safetensors file with the state_dict, or the pickle that the code writes.
        output: file to write, replaced atomically.
        options: what is wanted.

    Raises:
        ConfigError: a setting is missing or cannot be expressed, or a pickle is not trusted.
        CheckpointError: the file cannot be read, or the potential differs by more than the tolerance; nothing is saved.
    """
    if code not in READERS:
        raise ConfigError(f"code: expected one of {', '.join(READERS)}, got '{code}'.")
    path = Path(checkpoint)
    model, confinement = _read(code, path, options)
    potentials = _potentials(code, model, options)
    parity = tuple(_parity(potentials, model))
    tolerance = ROUNDED_TOLERANCE if model.hyper.get("rounded_constants") else TOLERANCE
    report = ImportReport(str(model.hyper.get("source", code)), tuple(potentials), confinement, parity, tolerance)
    _require_parity(report, path)
    saved = {name: _splined(potential, options.spline_intervals) for name, potential in potentials.items()}
    first, *others = saved
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    metadata = {
        "imported": {"code": code, "source": report.source, "sha256": digest, "largest_difference": _finite(report)}
    }
    frames = [frame.configuration for frame in model.frames if frame.head in ("", first)]
    save_potential(saved[first], output, frames=frames, metadata=metadata, heads=saved if others else None)
    return report


def _read(code: str, path: Path, options: ImportOptions) -> tuple[PublishedModel, str]:
    """The published model and how it was confined."""
    if path.suffix == ".safetensors":
        return _with_settings(path, options.settings), ""
    if not options.trust:
        raise ConfigError(
            f"'{path}' is read by unpickling it, which runs whatever it says. If you trust where it comes from, give "
            "--trust and with --python the Python that has its code; or write its state_dict as safetensors there "
            "(docs/interop.md)."
        )
    frames = []
    if code == "mace":
        elements = options.elements or _elements_of(code, path, options)
        frames = [*_given(options.frames), *random_frames(elements), *real_frames(elements)]
    options_of_code = {"inputs": options.inputs, "settings": options.settings}
    model, confinement = run_published(code, path, options.python, frames=frames, **options_of_code)
    return _with_origins(model, frames), confinement


def _with_origins(model: PublishedModel, frames: Sequence[Configuration]) -> PublishedModel:
    """The frames of every head came back in the order in which they were sent."""
    named = [
        replace(found, configuration=replace(found.configuration, origin=frames[index % len(frames)].origin))
        for index, found in enumerate(model.frames)
    ]
    return replace(model, frames=named)


def _elements_of(code: str, path: Path, options: ImportOptions) -> tuple[str, ...]:
    """Elements of a pickled model, which its own code has to say."""
    model, _ = run_published(code, path, options.python, frames=[], settings=options.settings)
    numbers = model.hyper["atomic_numbers"]
    return tuple(Atoms(numbers=[int(number)]).get_chemical_symbols()[0] for number in numbers)


def _with_settings(path: Path, settings: Mapping[str, Any]) -> PublishedModel:
    """A published model from a safetensors file that has its settings, or from a bare state_dict and given ones."""
    try:
        return _replaced(read_published(path), settings)
    except CheckpointError:
        if not settings:
            raise
    try:
        return PublishedModel(dict(load_file(path)), dict(settings), [])
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"'{path}' cannot be read as a safetensors file ({error}). Copy it again.") from None


def _replaced(model: PublishedModel, settings: Mapping[str, Any]) -> PublishedModel:
    return PublishedModel(model.state, {**model.hyper, **settings}, model.frames)


def _potentials(code: str, model: PublishedModel, options: ImportOptions) -> dict[str, Potential]:
    """One potential per head, the wanted one first; one without a name where there are no heads."""
    if "e3nn" not in model.hyper:
        raise ConfigError("The settings have no 'e3nn', the version of e3nn that the model was trained with; add it.")
    if code != "mace":
        if options.head or options.elements or options.inputs:
            raise ConfigError(f"{code}: models have no heads and inputs, and are read with all elements.")
        return {"": READERS[code](model.state, model.hyper, e3nn_version=model.e3nn_version)}
    names = [str(name) for name in model.hyper.get("heads") or [""]]
    if options.head is not None and options.head not in names:
        raise ConfigError(f"--head: expected one of {', '.join(names)}, got '{options.head}'.")
    names.sort(key=lambda name: name != options.head)
    elements = options.elements or None
    return {
        name: from_mace(
            model.state,
            model.hyper,
            e3nn_version=model.e3nn_version,
            head=name or None,
            elements=elements,
            inputs=options.inputs,
        )
        for name in names
    }


def _parity(potentials: Mapping[str, Potential], model: PublishedModel) -> list[FrameParity]:
    found = []
    for frame in model.frames:
        potential = potentials.get(frame.head) or next(iter(potentials.values()))
        difference = compare(potential, frame, average_energy=model.average_energy)
        found.append(FrameParity(frame.head, frame.configuration.origin, frame.configuration.num_atoms, difference))
    return found


def _require_parity(report: ImportReport, path: Path) -> None:
    wrong = [entry for entry in report.parity if not entry.difference.largest <= report.tolerance]
    if wrong:
        worst = max(wrong, key=lambda entry: np.nan_to_num(entry.difference.largest, nan=np.inf))
        head = f", head {worst.head}" if worst.head else ""
        raise CheckpointError(
            f"'{path}': the potential does not give what {report.source} gives: {worst.frame}, {worst.atoms} atoms"
            f"{head}: {worst.difference} where {report.tolerance:.0e} is allowed. "
            "Nothing was saved; the settings are not those of the model, or it has a part that was not seen."
        )


def _finite(report: ImportReport) -> float | None:
    return report.largest if report.parity else None


def _splined(potential: Potential, intervals: int | None) -> Potential:
    return potential if intervals is None else potential.with_splines(intervals)


def random_frames(elements: Sequence[str]) -> list[Configuration]:
    """A cluster and a periodic box of all elements, and an isolated atom."""
    number = Atoms(elements[0]).numbers
    alone = Configuration(number, np.zeros((1, 3)), np.zeros((3, 3)), np.zeros(3, dtype=bool), origin="isolated atom")
    return [*example_frames(elements), alone]


def real_frames(elements: Sequence[str]) -> list[Configuration]:
    """Molecules and crystals that consist of these elements, atoms displaced by some 0.05 Å."""
    found = [(name, molecule(name)) for name in MOLECULES]
    for name, structure, constant in CRYSTALS:
        found.append((name, bulk(name, structure, a=constant, cubic=True)))
    rng, frames = np.random.default_rng(0), []
    for name, atoms in found:
        positions = atoms.positions + rng.normal(0, RATTLE, atoms.positions.shape)
        if set(atoms.get_chemical_symbols()) <= set(elements):
            frames.append(Configuration(atoms.numbers, positions, atoms.cell.array, atoms.pbc, origin=name))
    return frames


def _given(files: Sequence[str]) -> list[Configuration]:
    return [frame for path in files for frame in read_configurations(path)]


def read_settings(path: str | Path) -> dict[str, Any]:
    """Settings of a model from a JSON file.

    Raises:
        ConfigError: the file is missing or no JSON object.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"--settings: '{path}' cannot be read as JSON ({error}).") from None
    if not isinstance(content, dict):
        raise ConfigError(f"--settings: expected an object of settings by name in '{path}'.")
    return content
