"""Distances, contacts, cells and pairs of elements of configurations, beside the sums of covalent radii."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement

import numpy as np
from ase.data import chemical_symbols, covalent_radii

from clebsch.data import Configuration, neighbor_list
from clebsch.doctor.findings import Finding, named

BONDED = 1.3  # sums of covalent radii; a longer distance is no bond
SHORT = 0.6  # sums of covalent radii; even hot atoms do not come this near
REACH = 2.2  # sums of covalent radii within which nearest neighbours are looked for
LONGEST_REACH = 8.0  # Å
# Nearest neighbours of an atom in real matter, in sums of covalent radii: median over atoms.
USUAL = (0.8, 1.4)
LENGTH_UNITS = {"bohr": 0.529177210903, "nm": 10.0}  # Å
NOBLE = {2, 10, 18, 36, 54, 86}
NONMETALS = {1, 5, 6, 7, 8, 9, 14, 15, 16, 17, 33, 34, 35, 53} | NOBLE
DENSE = 40.0  # Å^3 per atom; a molecule has more room


@dataclass(frozen=True)
class Distances:
    """Distances of a set within the reach of bonds.

    Attributes:
        closest: per frame, the shortest distance in sums of covalent radii; infinite without neighbours.
        nearest: of every atom but noble gases, its nearest neighbour in sums of covalent radii, over all frames.
        shortest: by pair of atomic numbers (z1 <= z2), Å.
    """

    closest: np.ndarray
    nearest: np.ndarray
    shortest: dict[tuple[int, int], float]


def measure(frames: Sequence[Configuration]) -> Distances:
    """Measure the distances of frames."""
    numbers = np.unique(np.concatenate([frame.numbers for frame in frames]))
    r_max = min(REACH * 2 * float(covalent_radii[numbers].max()), LONGEST_REACH)
    closest, nearest, shortest = np.full(len(frames), np.inf), [], {}
    for index, frame in enumerate(frames):
        centers, neighbors, shifts = neighbor_list(frame.positions, frame.cell, frame.pbc, r_max)
        vectors = frame.positions[neighbors] - frame.positions[centers] + shifts @ frame.cell
        r = np.linalg.norm(vectors, axis=1)
        ratio = r / (covalent_radii[frame.numbers[centers]] + covalent_radii[frame.numbers[neighbors]])
        of_atom = np.full(frame.num_atoms, np.inf)
        np.minimum.at(of_atom, centers, ratio)
        closest[index] = of_atom.min()
        if frame.num_atoms > 2:  # Two atoms alone are a scan, whose distances follow nothing.
            nearest.append(of_atom[~np.isin(frame.numbers, list(NOBLE))])
        low = np.minimum(frame.numbers[centers], frame.numbers[neighbors])
        pairs = low * len(chemical_symbols) + np.maximum(frame.numbers[centers], frame.numbers[neighbors])
        for pair in np.unique(pairs):
            key = divmod(int(pair), len(chemical_symbols))
            shortest[key] = min(shortest.get(key, np.inf), float(r[pairs == pair].min()))
    return Distances(closest, np.concatenate(nearest) if nearest else np.zeros(0), shortest)


def check_lengths(subject: str, distances: Distances) -> Iterator[Finding]:
    """Yield whether positions are in Å, by the distance of nearest neighbours."""
    check = "unit of length"
    if not len(distances.nearest):
        yield Finding("not checked", check, subject, "no frame has three atoms that have neighbours")
        return
    median = float(np.median(distances.nearest))
    said = f"nearest neighbours are {median:.2f} sums of covalent radii apart (median); usual: {USUAL[0]} to {USUAL[1]}"
    if USUAL[0] <= median <= USUAL[1]:
        yield Finding("ok", check, subject, said)
        return
    units = [name for name, factor in LENGTH_UNITS.items() if USUAL[0] <= median * factor <= USUAL[1]]
    guess = f", as if positions were in {units[0]}" if units else ""
    cure = f"data.units: {{length: {units[0]}}}" if units else "Check the unit of positions and the cell."
    yield Finding("warning", check, subject, said + guess, cure)


def check_contacts(subject: str, frames: Sequence[Configuration], distances: Distances) -> Iterator[Finding]:
    """Yield frames whose atoms are closer than even hot ones come."""
    found = [
        frame for frame, ratio in zip(frames, distances.closest, strict=True) if ratio < SHORT and frame.num_atoms > 2
    ]
    if found:
        text = f"{len(found)} frames have atoms closer than {SHORT} sums of their covalent radii: {named(found)}"
        yield Finding("warning", "short contacts", subject, text, "Look at these frames, and remove broken ones.")
    else:
        yield Finding("ok", "short contacts", subject, f"none below {SHORT} sums of covalent radii")


def check_cells(subject: str, frames: Sequence[Configuration]) -> Iterator[Finding]:
    """Yield dense frames that have a cell but no periodicity, and sets of several kinds."""
    check = "periodicity"
    dense = [
        frame
        for frame in frames
        if not frame.pbc.any() and frame.num_atoms > 2 and 0.0 < frame.volume < DENSE * frame.num_atoms
    ]
    if dense:
        text = f"{len(dense)} frames fill their cell but are not periodic: {named(dense)}"
        yield Finding("warning", check, subject, text, 'Set pbc ("T T T") if they are crystals or liquids.')
        return
    kinds = {tuple(bool(axis) for axis in frame.pbc): 0 for frame in frames}
    text = ", ".join(f'pbc="{" ".join("T" if axis else "F" for axis in kind)}"' for kind in sorted(kinds))
    yield Finding("note" if len(kinds) > 1 else "ok", check, subject, text)


def check_pairs(subject: str, frames: Sequence[Configuration], shortest: dict[tuple[int, int], float]) -> list[Finding]:
    """Return which pairs of elements never meet at the distance of a bond."""
    present = sorted({int(number) for frame in frames for number in frame.numbers} - NOBLE)
    metals, others, metallic = [], [], False
    for pair in combinations_with_replacement(present, 2):
        bond = float(covalent_radii[list(pair)].sum())
        of_metals = not NONMETALS.intersection(pair)
        if shortest.get(pair, np.inf) > BONDED * bond:
            (metals if of_metals else others).append(_pair(pair, shortest, bond))
        else:
            metallic |= of_metals
    if not metallic:  # ions and complexes, whose metals are apart
        metals, others = [], metals + others
    check = "pairs of elements"
    findings = []
    if metals:
        text = f"never at bonding distance: {', '.join(metals)}. A potential knows nothing of such neighbours."
        findings.append(Finding("warning", check, subject, text, "Add frames in which they are neighbours."))
    if others:
        text = f"never at bonding distance: {', '.join(others)}"
        findings.append(Finding("note", check, subject, text, "Reactions that join them need frames of their own."))
    return findings or [Finding("ok", check, subject, "every pair of elements meets at bonding distance")]


def _pair(pair: tuple[int, int], shortest: dict[tuple[int, int], float], bond: float) -> str:
    name = "-".join(chemical_symbols[number] for number in pair)
    distance = f"closest {shortest[pair]:.2f}" if pair in shortest else "never near"
    return f"{name} ({distance}, bond {bond:.2f} Å)"
