"""Defects planted in sound data are found and named, and sound data have none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import ase.units
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.emt import EMT

from clebsch.data import Configuration, LabelKeys, read_configurations
from clebsch.doctor import Diagnosis, examine
from clebsch.doctor import probe as probe_module
from clebsch.doctor.geometry import check_lengths, measure
from clebsch.doctor.overlaps import check_coverage
from clebsch.doctor.probe import probe

KCAL, HARTREE, BOHR, GPA = ase.units.kcal / ase.units.mol, ase.units.Hartree, ase.units.Bohr, ase.units.GPa
Frames = list[Configuration]
Damage = Callable[[Frames], Frames]


@pytest.fixture(scope="module")
def molecules(data_root: Path) -> Frames:
    """Acetylacetone at 300 K."""
    return read_configurations(data_root / "dataset_acac" / "train_300K.xyz", LabelKeys(stress=None), ":140")


@pytest.fixture(scope="module")
def crystals() -> Frames:
    """Strained, rattled cells of copper and gold with two gold atoms, with energies, forces and stresses of EMT."""
    rng = np.random.default_rng(0)
    frames = []
    for index in range(60):
        atoms = bulk("Cu", cubic=True) * (2, 1, 1)
        atoms.symbols[[0, 1 + index % 2 * 6]] = "Au"
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + 0.02 * rng.normal(size=(3, 3))), scale_atoms=True)
        atoms.rattle(0.1, rng=rng)
        atoms.calc = EMT()
        atoms.get_stress()
        frames.append(Configuration.from_atoms(atoms, LabelKeys(), f"alloy.xyz, frame {index}"))
    return frames


def scaled(**factors: float) -> Damage:
    """Labels in other units."""

    def damage(frames: Frames) -> Frames:
        return [
            replace(f, labels={name: value * factors.get(name, 1.0) for name, value in f.labels.items()})
            for f in frames
        ]

    return damage


def some(change: Callable[[Configuration], Configuration], *indices: int) -> Damage:
    """A change of some frames."""
    return lambda frames: [change(f) if i in indices else f for i, f in enumerate(frames)]


def with_label(name: str, make: Callable[[Configuration], np.ndarray]) -> Callable[[Configuration], Configuration]:
    """Another label."""
    return lambda frame: replace(frame, labels={**frame.labels, name: make(frame)})


def every(change: Callable[[Configuration], Configuration]) -> Damage:
    """A change of all frames."""
    return lambda frames: [change(frame) for frame in frames]


def shifted(by: float) -> Callable[[Configuration], Configuration]:
    """Energies with an offset (eV)."""
    return with_label("energy", lambda frame: frame.labels["energy"] + by)


def per_atom(frames: Frames) -> Frames:
    """Energies over the number of atoms."""
    return every(with_label("energy", lambda frame: frame.labels["energy"] / frame.num_atoms))(frames)


def in_field(frame: Configuration) -> np.ndarray:
    """Forces that do not cancel."""
    return frame.labels["forces"] + np.array([0.2, 0.0, 0.0])


def virial(frame: Configuration) -> np.ndarray:
    """The virial in place of the stress."""
    return -frame.volume * frame.labels["stress"]


def shuffled_energies(frames: Frames) -> Frames:
    """Energies of other frames."""
    energies = np.random.default_rng(0).permutation([frame.labels["energy"] for frame in frames])
    return [replace(f, labels={**f.labels, "energy": energy}) for f, energy in zip(frames, energies, strict=True)]


def other_order(frame: Configuration) -> np.ndarray:
    """Forces of atoms in another order."""
    return frame.labels["forces"][::-1]


def first_atom_pushed(frame: Configuration) -> np.ndarray:
    """Forces with one broken component."""
    forces = frame.labels["forces"].copy()
    forces[0, 0] += 3.0
    return forces


def pair_pushed(frame: Configuration) -> np.ndarray:
    """Forces with a broken pair, which sum to zero, along the line between two atoms: no torque either."""
    forces, line = frame.labels["forces"].copy(), frame.positions[0] - frame.positions[1]
    forces[0] += 8.0 * line
    forces[1] -= 8.0 * line
    return forces


def held(frame: Configuration) -> np.ndarray:
    """Forces as of a calculation that held two atoms fixed."""
    forces = frame.labels["forces"].copy()
    forces[[2, 5]] = 0.0
    return forces


def rounded(name: str, digits: int) -> Damage:
    """Labels with few digits."""
    return every(with_label(name, lambda frame: np.round(frame.labels[name], digits)))


def short_contact(frame: Configuration) -> Configuration:
    """One atom too near to another."""
    positions = frame.positions.copy()
    positions[-1] = positions[0] + 0.35 * (positions[-1] - positions[0]) / np.linalg.norm(positions[-1] - positions[0])
    return replace(frame, positions=positions)


def in_bohr(frame: Configuration) -> Configuration:
    """Positions in bohr, as if they were in Å."""
    return replace(frame, positions=frame.positions / BOHR, cell=frame.cell / BOHR)


def without_periodicity(frame: Configuration) -> Configuration:
    """A crystal that has lost pbc."""
    labels = {name: value for name, value in frame.labels.items() if name != "stress"}
    return replace(frame, pbc=np.zeros(3, dtype=bool), labels=labels)


def without_neighbours(frames: Frames) -> Frames:
    """Cells with one gold atom, which is the neighbour of its images only."""
    atoms = bulk("Cu", cubic=True)
    atoms.symbols[0] = "Au"
    return [Configuration.from_atoms(atoms, origin="cell")] * len(frames)


def twice(frames: Frames) -> Frames:
    """Frames that stand again with labels of another method."""
    return [*frames, *scaled(energy=1.0001)(frames[:5])]


def along_trajectory(frames: Frames) -> Frames:
    """A series in which every frame is a small step from the one before."""
    first, second = frames[0], frames[1]
    weights = np.linspace(0.0, 1.0, len(frames))
    wave = np.random.default_rng(0).normal(size=(5, *first.positions.shape))
    phases = 2 * np.pi * np.outer(weights, [1, 2, 3, 4, 5])
    moved = np.tensordot(np.sin(phases), 0.03 * wave, axes=1)
    positions = first.positions + 0.1 * weights[:, None, None] * (second.positions - first.positions) + moved
    return [replace(f, positions=p, labels={}) for f, p in zip(frames, positions, strict=True)]


OF_MOLECULES: dict[str, tuple[Damage, str, str]] = {
    "energies in kcal/mol": (scaled(energy=1 / KCAL), "energies and forces", "energies in kcal/mol"),
    "energies in Hartree": (scaled(energy=1 / HARTREE), "energies and forces", "energies in Hartree"),
    "energies per atom": (per_atom, "energies and forces", "per atom"),
    "forces in Hartree/bohr": (scaled(forces=BOHR / HARTREE), "energies and forces", "forces in Hartree/bohr"),
    "energies and forces in kcal/mol": (scaled(energy=1 / KCAL, forces=1 / KCAL), "unit of forces", "kcal/mol/Å"),
    "gradients for forces": (scaled(forces=-1.0), "energies and forces", "wrong sign"),
    "energies of other frames": (shuffled_energies, "energies and forces", "same frames"),
    "forces of other atoms": (every(with_label("forces", other_order)), "forces", "order of atoms"),
    "forces of one frame for another": (
        lambda frames: [
            replace(f, labels={**f.labels, "forces": g.labels["forces"]})
            for f, g in zip(frames, [*frames[1:], frames[0]], strict=True)
        ],
        "forces", "order of atoms",
    ),
    "a wrong energy": (some(shifted(2.0), 7), "outliers of energies", "broken"),
    "two methods": (some(shifted(-5.0), *range(0, 140, 3)), "one method", "keep one"),
    "a broken force": (some(with_label("forces", first_atom_pushed), 3, 8), "net force", "broken"),
    "a broken pair of forces": (some(with_label("forces", pair_pushed), 11), "outliers of forces", "broken"),
    "an external field": (every(with_label("forces", in_field)), "net force", "fields"),
    "atoms held fixed": (every(with_label("forces", held)), "zero forces", "held fixed"),
    "rounded forces": (rounded("forces", 2), "digits", "digits"),
    "rounded energies": (rounded("energy", 1), "digits", "digits"),
    "energies in single precision": (
        every(with_label("energy", lambda f: np.float64(np.float32(f.labels["energy"] * 10)))), "digits", "double"
    ),
    "positions in bohr": (every(in_bohr), "unit of length", "bohr"),
    "a short contact": (some(short_contact, 4), "short contacts", "broken"),
    "copies with other labels": (twice, "copies", "one method"),
    "a time series split at random": (along_trajectory, "time series", "last"),
}  # fmt: skip

OF_CRYSTALS: dict[str, tuple[Damage, str, str]] = {
    "stress in GPa": (scaled(stress=1 / GPA), "unit of stress", "GPa"),
    "stress in kbar": (scaled(stress=10 / GPA), "unit of stress", "kbar"),
    "stress of the other sign": (scaled(stress=-1.0), "unit of stress", "multiply them by -1"),
    "stress in GPa of the other sign": (scaled(stress=-1 / GPA), "unit of stress", "wrong sign"),
    "virials": (every(with_label("stress", virial)), "unit of stress", "minus the volume"),
    "a crystal without periodicity": (every(without_periodicity), "periodicity", "pbc"),
    "one atom of an element in each cell": (without_neighbours, "pairs of elements", "neighbours"),
}  # fmt: skip


def damaged(frames: Frames, damage: Damage) -> Diagnosis:
    """The findings about data after ``damage``."""
    return examine({"train": damage(list(frames))}, drawn=True)


def require_found(found: Diagnosis, check: str, word: str) -> None:
    """The defect is an error or a warning of the right check that names the cure."""
    bad = [item for item in found.of_level("error", "warning") if item.check == check]
    assert bad, f"not found; findings: {found.of_level('error', 'warning')}"
    assert word in f"{bad[0].text} {bad[0].cure}"


@pytest.mark.parametrize("name", OF_MOLECULES)
def test_defects_of_molecules_are_found(molecules: Frames, name: str) -> None:
    damage, check, word = OF_MOLECULES[name]
    require_found(damaged(molecules, damage), check, word)


@pytest.mark.parametrize("name", OF_CRYSTALS)
def test_defects_of_crystals_are_found(crystals: Frames, name: str) -> None:
    damage, check, word = OF_CRYSTALS[name]
    require_found(damaged(crystals, damage), check, word)


def test_sound_molecules_have_no_defect(molecules: Frames) -> None:
    found = examine({"train": molecules[:100], "valid": molecules[100:]}, drawn=True)
    assert found.healthy, found.of_level("error", "warning")


def test_sound_crystals_have_no_defect_but_their_pairs(crystals: Frames) -> None:
    found = examine({"train": crystals}, drawn=True)
    assert [item.check for item in found.of_level("error", "warning")] == []
    assert "unit of stress" in {item.check for item in found.of_level("ok")}


def test_sound_crystals_of_one_cell_have_no_defect() -> None:
    """Forces at one cell leave the pressure open, which must not pass for a wrong unit."""
    frames = []
    for seed in range(12):
        atoms = bulk("Cu", cubic=True) * (2, 2, 2)
        atoms.rattle(0.1, seed=seed)
        atoms.calc = EMT()
        atoms.get_stress()
        frames.append(Configuration.from_atoms(atoms, LabelKeys(), f"copper.xyz, frame {seed}"))
    found = examine({"train": frames})
    assert found.healthy, found.of_level("error", "warning")
    assert "unit of stress" in {item.check for item in found.of_level("ok")}


def test_three_atoms_tell_the_unit_of_length_and_two_do_not() -> None:
    """Of two atoms alone, a scan, any distance may be right."""
    for name, factor, level in (("H2O", 1.0, "ok"), ("H2O", 1 / BOHR, "warning"), ("N2", 1 / BOHR, "not checked")):
        atoms = molecule(name)
        frame = Configuration(atoms.numbers, factor * atoms.positions)
        (found,) = check_lengths("train", measure([frame]))
        assert found.level == level and ("bohr" in found.cure) == (level == "warning")


def test_few_frames_do_not_tell_whether_forces_follow(crystals: Frames) -> None:
    """A fit with more coefficients than it can determine misses sound forces too: this is no error."""
    found = damaged(crystals[:10], every(with_label("forces", other_order)))
    (said,) = [item for item in found.findings if item.check == "forces"]
    assert said.level == "not checked" and "too few to tell" in said.text


def test_forces_on_atoms_without_neighbours_follow_from_nothing() -> None:
    """A dilute gas, in one frame of which two atoms are near each other, wherever it stands."""
    rng = np.random.default_rng(0)
    forces = rng.normal(size=(8, 3, 3))
    for collision in range(8):
        apart = [4.0 if index == collision else 20.0 for index in range(8)]
        frames = [
            Configuration(np.full(3, 18), np.array([[r, 0, 0], [0, 0, 0], [0, 0, 40]]), labels={"forces": f})
            for r, f in zip(apart, forces, strict=True)
        ]
        found = probe(frames)
        assert found is not None and found.explained == 0.0


def test_every_frame_is_fitted_or_judged(crystals: Frames, monkeypatch: pytest.MonkeyPatch) -> None:
    """A broken frame is noticed wherever it stands; of large sets, as many are judged as take a moment."""
    frames = crystals[:20]
    found = probe(frames)
    assert found is not None and found.fitted == 10
    assert sorted(frame.origin for frame in found.frames) == sorted(frame.origin for frame in frames)
    monkeypatch.setattr(probe_module, "MOST_JUDGED", 5 * frames[0].num_atoms)
    found = probe(frames)
    assert found is not None and len(found.frames) == 10 + 5


def test_displaced_atoms_are_no_copies() -> None:
    """Of a large cell, in which few pairs of atoms are looked at."""
    frames = []
    for atom in range(0, 864, 30):
        atoms = bulk("Cu", cubic=True) * (6, 6, 6)
        atoms.positions[atom, 0] += 0.02
        frames.append(Configuration.from_atoms(atoms, origin=f"atom {atom}"))
    assert "copies" not in {item.check for item in examine({"train": frames}).of_level("error", "warning", "note")}


def test_frames_that_stand_twice_are_told_of_their_own_set(crystals: Frames) -> None:
    found = examine({"train": [*crystals[:10], crystals[3]], "valid": crystals[10:14]}).findings
    copies = [(finding.subject, finding.text) for finding in found if finding.check == "copies"]
    assert [subject for subject, _ in copies] == ["train"] and "1 configurations stand several times" in copies[0][1]
    assert [finding.level for finding in found if finding.check == "digits"] == ["ok", "ok"]


def test_frames_of_two_sets_are_found(molecules: Frames) -> None:
    turned = molecules[3].to_atoms()
    turned.rotate(40, (1, 2, 3))
    copy = Configuration(turned.numbers, turned.positions, origin="elsewhere")
    found = examine({"train": molecules[:100], "test": [*molecules[100:], copy]})
    assert "copies" in {item.check for item in found.of_level("warning")}


def test_what_other_sets_have_beyond_the_training_set_is_noted(crystals: Frames) -> None:
    """Shorter distances and larger forces, with both values; a part of the same data has neither."""
    train = crystals[:20]
    dense = [replace(frame, positions=0.8 * frame.positions, cell=0.8 * frame.cell, labels={}) for frame in train]
    sets = {"train": train, "part": train[:5], "hot": scaled(forces=2.0)(train), "dense": dense}
    distances = {name: measure(frames) for name, frames in sets.items()}
    found = {item.subject: (item.level, item.text) for item in check_coverage(sets, distances, "train")}
    largest = max(float(np.abs(frame.labels["forces"]).max()) for frame in train)
    assert found["part"] == ("ok", "within the distances and forces of 'train'")
    assert found["hot"] == ("note", f"forces up to {2 * largest:.1f} eV/Å (training {largest:.1f})")
    least = distances["train"].shortest[29, 29]
    level, text = found["dense"]
    assert level == "note" and "forces" not in text
    assert text.startswith(f"Cu-Cu down to {0.8 * least:.2f} Å (training {least:.2f}); ")


def test_near_copies_along_a_trajectory_are_found(molecules: Frames) -> None:
    series = along_trajectory(molecules)
    order = np.random.default_rng(0).permutation(len(series))
    parts = {"train": [series[i] for i in order[:110]], "valid": [series[i] for i in order[110:]]}
    assert "near copies" in {item.check for item in examine(parts).of_level("warning")}
    later = {"train": series[:110], "valid": series[110:]}
    assert "near copies" not in {item.check for item in examine(later).of_level("warning")}


def test_small_and_strange_sets_are_examined(crystals: Frames) -> None:
    """One frame, one atom, no labels, two atoms, noble gases: nothing is certain, and nothing fails."""
    atom = Configuration(np.array([29]), np.zeros((1, 3)), origin="atom")
    cell = Configuration.from_atoms(bulk("Cu"), origin="cell")
    dimer = Configuration.from_atoms(Atoms("Ar2", [[0, 0, 0], [0, 0, 3.8]]), origin="dimer")
    sets: Sequence[Frames] = ([atom], [cell], [dimer], crystals[:1], [replace(crystals[0], labels={}), dimer, cell])
    for frames in sets:
        assert examine({"train": frames, "test": frames}).of_level("error") == []
