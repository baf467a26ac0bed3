"""``clebsch doctor``: the data of files or of a recipe, read and examined."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from clebsch.data import (
    Blocks,
    Configuration,
    LabelKeys,
    Last,
    Pack,
    find_elements,
    find_isolated_atoms,
    fit_e0,
    is_pack,
    stretches_of,
    undetermined,
)
from clebsch.data.statistics import LARGEST_BINDING, check_e0
from clebsch.doctor import Diagnosis, Finding, examine, quick_look
from clebsch.doctor.findings import Level
from clebsch.errors import ClebschError, ConfigError
from clebsch.recipe import DatasetSource, FileSource, RunConfig, load_recipe
from clebsch.run.sets import Sets, read_sets, set_aside
from clebsch.run.sources import describe_frames, read_source_files

if TYPE_CHECKING:
    from rich.console import Console

# Configurations of a pack that are looked at, before training and by `diagnose`.
FEW, MOST_OF_PACK = 1000, 5000
RECIPE_SUFFIXES = (".yaml", ".yml")


def diagnose(
    names: Sequence[str | Path], keys: LabelKeys | None = None, *, console: Console | None = None
) -> Diagnosis:
    """Examine files of labelled configurations, the sets of a recipe, or both.

    Args:
        names: files, folders and patterns; a recipe (``.yaml``), whose keys and units then hold for the files too; and
            changes to the recipe, as ``dotted.key=value``. Without a recipe, the first file is the training set.
        keys: names of the labels in the files, if there is no recipe.
        console: where to say what is being looked at; None for silence.

    Raises:
        ConfigError: two recipes, changes without a recipe, nothing to examine, or the recipe is not valid.
    """
    recipe, overrides, files = _sort(names)
    findings: list[Finding] = []
    sets: dict[str, list[Configuration]] = {}
    source, drawn, fitted = FileSource(train=(), keys=keys or LabelKeys()), False, True
    if recipe is not None:
        config = load_recipe(recipe, overrides)
        drawn, fitted = _is_drawn(config.data), config.energy.e0 == "least_squares"
        source = config.data if isinstance(config.data, FileSource) else source
        sets |= _sets_of(config, findings)
    for name, short in zip(files, _short(files), strict=True):
        if frames := _read(name, source, findings):
            sets[short] = frames
    for name, frames in sets.items():
        findings += _isolated_atoms(name, frames)
    findings += _compositions(sets) if fitted else ()
    found = examine(sets, drawn=drawn, console=console)
    return Diagnosis.of([*findings, *found.findings])


def look_over(sets: Sets, source: DatasetSource | FileSource) -> list[str]:
    """Return lines about what a moment's look finds wrong with the data of a run; `diagnose` looks closer."""
    named = {"train": sets.train, "valid": sets.valid, **sets.tests}
    found = quick_look({name: stretches_of(frames, FEW) for name, frames in named.items()}, drawn=_is_drawn(source))
    lines = [f"{item.subject}: {item.text.rstrip('.')}. {item.cure}".rstrip() for item in found]
    return [*lines, "`clebsch doctor` looks closer."] if lines else []


def _is_drawn(source: DatasetSource | FileSource) -> bool:
    """Whether a validation part is drawn at random from the training set."""
    return not isinstance(source.valid, (str, Last, Blocks))


def _sort(names: Sequence[str | Path]) -> tuple[Path | None, list[str], list[str]]:
    """The recipe, changes to it, and files."""
    texts = [str(name) for name in names]
    recipes = [text for text in texts if Path(text).suffix in RECIPE_SUFFIXES and "=" not in text]
    overrides = [text for text in texts if "=" in text and not Path(text).exists()]
    files = [text for text in texts if text not in recipes and text not in overrides]
    if len(recipes) > 1:
        raise ConfigError(f"One recipe at a time, got {', '.join(recipes)}.")
    if overrides and not recipes:
        raise ConfigError(f"'{overrides[0]}' changes a recipe, but there is none. Name the recipe, or a file.")
    if not recipes and not files:
        raise ConfigError("There is nothing to examine. Name files of labelled configurations, or a recipe.")
    return (Path(recipes[0]) if recipes else None), overrides, files


def _short(files: Sequence[str]) -> list[str]:
    """Names of files without their folders, if that tells them apart."""
    short = [Path(name).name for name in files]
    return short if len(set(short)) == len(short) else list(files)


def _sets_of(config: RunConfig, findings: list[Finding]) -> dict[str, list[Configuration]]:
    """The sets of a recipe; what cannot be read becomes a finding."""
    source = config.data
    if isinstance(source, DatasetSource):
        sets = read_sets(source, config.seed)
        named = {"train": sets.train, "valid": sets.valid, **sets.tests}
        return {name: list(frames) for name, frames in named.items()}
    train = [source.train] if isinstance(source.train, str) else source.train
    files = {**({"valid": source.valid} if isinstance(source.valid, str) else {}), **source.tests}
    found: dict[str, list[Configuration]] = {"train": []}
    for name in train:
        found["train"] += _read(name, source, findings)
    for name, pattern in files.items():
        found[name] = _read(pattern, source, findings)
    if not isinstance(source.valid, str) and found["train"]:
        atoms = [frame for frame in found["train"] if frame.is_isolated_atom]
        molecules = [frame for frame in found["train"] if not frame.is_isolated_atom]
        trained, valid = set_aside(molecules, source.valid, config.seed)
        found["train"], found["valid"] = [*atoms, *trained], list(valid)
    return {name: frames for name, frames in found.items() if frames}


def _read(name: str, source: FileSource, findings: list[Finding]) -> list[Configuration]:
    """The configurations of a file, folder or pattern; nothing, and a finding, if it cannot be read."""
    check = "reading"
    try:
        if is_pack(name):
            return list(stretches_of(Pack.open(name), MOST_OF_PACK))
        readings = read_source_files(name, source)
    except ClebschError as error:
        findings.append(Finding("error", check, name, str(error)))
        return []
    frames = [frame for reading in readings for frame in reading.configurations]
    facts = dict.fromkeys(fact for reading in readings for fact in reading.facts)
    findings.append(Finding("ok", check, name, "; ".join([describe_frames(frames, source.keys), *facts])))
    for doubt in dict.fromkeys(doubt for reading in readings for doubt in reading.doubts):
        findings.append(Finding("warning", check, name, doubt))
    return frames


def _isolated_atoms(name: str, frames: Sequence[Configuration]) -> Iterator[Finding]:
    """Whether the energies of isolated atoms, if there are some, belong to the energies."""
    check = "energies of isolated atoms"
    try:
        e0 = find_isolated_atoms(frames)
    except ClebschError as error:
        yield Finding("error", check, name, str(error))
        return
    molecules = [frame for frame in frames if "energy" in frame.labels and not frame.is_isolated_atom]
    if not e0 or not molecules:
        return
    try:
        for frame in molecules:
            check_e0(e0, frame.symbols, "The set of isolated atoms")
    except ClebschError as error:
        yield Finding("warning", check, name, str(error))
        return
    bound = [(float(f.labels["energy"]) - sum(e0[s] for s in f.symbols)) / f.num_atoms for f in molecules]
    mean = sum(bound) / len(bound)
    text = f"{', '.join(e0)}; mean energy above them {mean:.2f} eV/atom"
    level: Level = "error" if abs(mean) > LARGEST_BINDING else "warning" if mean > 0 else "ok"
    yield Finding(level, check, name, text, "" if level == "ok" else "They are not of the same method or unit.")


def _compositions(sets: dict[str, list[Configuration]]) -> Iterator[Finding]:
    """What a fit of E0 to the first set does not determine, if it has no isolated atoms."""
    check = "fit of E0"
    molecules = {name: [frame for frame in frames if not frame.is_isolated_atom] for name, frames in sets.items()}
    train = next(iter(molecules), None)
    if train is None or len(molecules[train]) < len(sets[train]):
        return
    if not any(frame.counts("energy") for frame in molecules[train]):
        return
    elements = find_elements(frame for frames in molecules.values() for frame in frames)
    fitted = fit_e0(molecules[train], elements)
    yield Finding("ok" if fitted.compositions is None else "note", check, train, fitted.note)
    for name, frames in molecules.items():
        if frames and (text := undetermined(fitted.compositions, elements, frames)):
            yield Finding("warning", check, name, text)
