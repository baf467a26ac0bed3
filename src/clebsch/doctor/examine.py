"""All checks of some sets of configurations, in order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from clebsch.data import Configuration, at_equal_steps
from clebsch.doctor.consistency import check_consistency
from clebsch.doctor.findings import Diagnosis, Finding, Sets
from clebsch.doctor.geometry import check_cells, check_contacts, check_lengths, check_pairs, measure
from clebsch.doctor.labels import check_labels
from clebsch.doctor.overlaps import check_coverage, check_near_copies, check_overlaps, check_series
from clebsch.progress import say

if TYPE_CHECKING:
    from rich.console import Console

MOST_FRAMES = 5000  # of a set that are looked at one by one
QUICK_FRAMES = 300  # of a set, before training


def examine(sets: Sets, *, drawn: bool = False, console: Console | None = None) -> Diagnosis:
    """Check sets of configurations, each by itself and beside the first one.

    Args:
        sets: configurations by name of the set or file, in eV and Å; the first is the training set.
        drawn: whether a validation part is to be drawn at random from the first.
        console: where to say which set is being looked at; None for silence.
    """
    sets = {name: molecules for name, frames in sets.items() if (molecules := _without_atoms(frames))}
    findings: list[Finding] = []
    distances = {}
    for name, frames in sets.items():
        say(console, f"looking at {name}: {len(frames):,} frames")
        some = at_equal_steps(frames, MOST_FRAMES)
        if len(some) < len(frames):
            text = f"{len(some):,} of {len(frames):,} frames, at equal steps, were looked at one by one"
            findings.append(Finding("note", "size", name, text))
        distances[name] = measure(some)
        findings += check_lengths(name, distances[name])
        findings += check_contacts(name, some, distances[name])
        findings += check_cells(name, frames)
        findings += check_labels(name, some)
        findings += check_consistency(name, frames)
    findings += _beside_the_first(sets, distances, drawn=drawn)
    return Diagnosis.of(findings)


def _beside_the_first(sets: Sets, distances: dict, *, drawn: bool) -> Iterator[Finding]:
    if not sets:
        return
    train = next(iter(sets))
    yield from check_pairs(train, sets[train], distances[train].shortest)
    yield from check_series(train, sets[train], drawn=drawn)
    yield from check_overlaps(sets)
    yield from check_near_copies(sets, train)
    yield from check_coverage(sets, distances, train)


def quick_look(sets: Sets, *, drawn: bool = False) -> list[Finding]:
    """Return the errors and warnings of what takes a moment to check, before training.

    Args:
        sets: configurations by name; the first is the training set.
        drawn: whether the validation part was drawn at random from the training set.
    """
    train = next(iter(sets))
    frames = at_equal_steps(sets[train], QUICK_FRAMES)
    distances = measure(frames)
    findings = [
        *check_lengths(train, distances),
        *check_contacts(train, frames, distances),
        *check_cells(train, frames),
        *check_labels(train, frames),
        *check_series(train, sets[train], drawn=drawn),
        *check_overlaps(sets),
    ]
    return Diagnosis.of(findings).of_level("error", "warning")


def _without_atoms(frames: Sequence[Configuration]) -> list[Configuration]:
    return [frame for frame in frames if not frame.is_isolated_atom]
