"""What sets have in common: frames that stand twice, near copies along trajectories, and ranges that are left."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from ase.data import chemical_symbols

from clebsch.data import Configuration
from clebsch.data.neighbors import complete_cell
from clebsch.doctor.findings import Finding, Sets, named
from clebsch.doctor.geometry import Distances

MOST_PAIRS = 200  # of atoms, by which configurations are compared
MOST_FRAMES = 2000
SAME = 1e-4  # Å
SAME_ENERGY = 1e-3  # eV
FEWEST_TRAINED, FEWEST_JUDGED = 60, 5
NEAR = 0.5  # of the distance to the nearest of independent frames
MANY_NEAR, SOME_NEAR = 0.1, 0.01
ALIKE = 0.7  # of the usual distance between frames, below which consecutive ones are a time series
MARGIN = 1.1


def check_overlaps(sets: Sets) -> Iterator[Finding]:
    """Yield frames that stand twice in one set or in two."""
    groups: dict[bytes, list[tuple[str, Configuration]]] = defaultdict(list)
    for name, frames in sets.items():
        for key, frame in zip(_fingerprints(frames), frames, strict=True):
            groups[key].append((name, frame))
    twice = [group for group in groups.values() if len(group) > 1]
    differing = [[frame for _, frame in group] for group in twice if _labels_differ([frame for _, frame in group])]
    if differing:
        text = f"{len(differing)} configurations stand several times with different labels: {named(differing[0])}"
        yield Finding("error", "copies", " and ".join(sets), text, "Keep the labels of one method.")
    for name in sets:
        repeated = [[frame for where, frame in group if where == name] for group in twice]
        repeated = [frames for frames in repeated if len(frames) > 1]
        if repeated:
            text = f"{len(repeated)} configurations stand several times: {named(repeated[0])}"
            yield Finding("note", "copies", name, text, "They count several times in training.")
    for one, other in combinations(sets, 2):
        shared = [group for group in twice if {one, other} <= {name for name, _ in group}]
        if shared:
            text = f"{len(shared)} configurations stand in both: {named([frame for _, frame in shared[0]])}"
            judged = one != next(iter(sets)) and "valid" not in (one, other)  # two sets that errors are reported on
            cure = "" if judged else "Remove them from one of the sets."
            yield Finding("note" if judged else "warning", "copies", f"{one} and {other}", text, cure)
    if not twice:
        yield Finding("ok", "copies", " and ".join(sets), "no configuration stands twice")


def _labels_differ(frames: Sequence[Configuration]) -> bool:
    energies = [float(frame.labels["energy"]) for frame in frames if "energy" in frame.labels]
    return bool(energies) and max(energies) - min(energies) > SAME_ENERGY


def check_near_copies(sets: Sets, train: str) -> Iterator[Finding]:
    """Yield whether frames of other sets are neighbours of training frames along a trajectory.

    Distances are taken in the normal coordinates of the training set, each divided by its standard deviation, and
    compared with those to frames in which every coordinate is taken from another frame: independent ones.
    """
    for name, frames in sets.items():
        if name == train:
            continue
        shares = [
            share for group in _groups(sets[train], frames) if (share := _near_share(*group, rng=_rng())) is not None
        ]
        if not shares:
            text = f"too few frames of the same atoms in '{train}' to tell"
            yield Finding("not checked", "near copies", f"{train} and {name}", text)
            continue
        share = float(np.average([s for s, _ in shares], weights=[n for _, n in shares]))
        text = f"{100 * share:.0f} % of '{name}' are near copies of frames of '{train}', as along one trajectory"
        level = "warning" if share >= MANY_NEAR else "note" if share >= SOME_NEAR else "ok"
        cure = "Errors on them are too small. Set a part of the trajectory aside: data.valid: {last: 0.1}."
        yield Finding(level, "near copies", f"{train} and {name}", text, cure if level == "warning" else "")


def check_series(subject: str, frames: Sequence[Configuration], *, drawn: bool) -> Iterator[Finding]:
    """Yield whether consecutive frames are alike, so that a validation part must not be ``drawn`` among them."""
    ratios = []
    for group, _ in _groups(frames, []):
        coordinates = _Coordinates.of(group, _rng())
        if coordinates is not None:
            points = coordinates(group)
            steps = np.linalg.norm(np.diff(points, axis=0), axis=1)
            ratios.append((float(np.median(steps)) / float(np.median(_distances(points, points))), len(group)))
    if not ratios:
        yield Finding("not checked", "time series", subject, "too few frames of the same atoms to tell")
        return
    ratio = float(np.average([r for r, _ in ratios], weights=[n for _, n in ratios]))
    text = f"consecutive frames differ {100 * ratio:.0f} % as much as any two"
    if ratio >= ALIKE:
        yield Finding("ok", "time series", subject, text)
        return
    cure = "Validate on a later part: data.valid: {last: 0.1}, or {blocks: 5, part: 0.1}; a random part is too easy."
    yield Finding("warning" if drawn else "note", "time series", subject, f"{text}: a time series", cure)


def check_coverage(sets: Sets, distances: dict[str, Distances], train: str) -> Iterator[Finding]:
    """Yield where other sets leave the ranges of the training set: distances and forces."""
    known = _force_max(sets[train])
    for name, frames in sets.items():
        if name == train or not frames or not sets[train]:
            continue
        beyond = [
            f"{chemical_symbols[pair[0]]}-{chemical_symbols[pair[1]]} down to {r:.2f} Å (training {least:.2f})"
            for pair, r in sorted(distances[name].shortest.items())
            if r < (least := distances[train].shortest.get(pair, np.inf)) / MARGIN
        ]
        largest = _force_max(frames)
        if known and largest > MARGIN * known:
            beyond.append(f"forces up to {largest:.1f} eV/Å (training {known:.1f})")
        text = "; ".join(beyond) or f"within the distances and forces of '{train}'"
        yield Finding("note" if beyond else "ok", "coverage", name, text)


def _force_max(frames: Sequence[Configuration]) -> float:
    return max((float(np.abs(frame.labels["forces"]).max()) for frame in frames if "forces" in frame.labels), default=0)


def _rng() -> np.random.Generator:
    return np.random.default_rng(0)


def _groups(
    first: Sequence[Configuration], second: Sequence[Configuration]
) -> Iterator[tuple[list[Configuration], list[Configuration]]]:
    """Frames of the same atoms in the same order, of two sets; at most `MOST_FRAMES` of the first."""
    groups: dict[bytes, tuple[list[Configuration], list[Configuration]]] = defaultdict(lambda: ([], []))
    for side, frames in enumerate((first, second)):
        for frame in frames:
            groups[_kind(frame)][side].append(frame)
    for one, other in groups.values():
        if len(one) >= FEWEST_TRAINED and (not second or len(other) >= FEWEST_JUDGED):
            yield one[:MOST_FRAMES], other[:MOST_FRAMES]


def _kind(frame: Configuration) -> bytes:
    return frame.numbers.tobytes() + frame.pbc.tobytes()


def _near_share(
    train: Sequence[Configuration], judged: Sequence[Configuration], *, rng: np.random.Generator
) -> tuple[float, int] | None:
    """Share of ``judged`` that are nearer to a frame of ``train`` than independent frames are, and their number."""
    coordinates = _Coordinates.of(train, rng)
    if coordinates is None:
        return None
    known, points = coordinates(train), coordinates(judged)
    independent = np.stack([rng.permutation(column) for column in known.T], axis=1)
    usual = float(np.median(_nearness(independent, known)))
    return float(np.mean(_nearness(points, known) < NEAR * usual)), len(points)


def _nearness(points: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Distance to the nearest of ``known``, over what it is from a point so far out to a usual one."""
    return _distances(points, known).min(axis=1) / np.sqrt((points**2).sum(axis=1) + known.shape[1])


def _distances(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    square = (first**2).sum(axis=1)[:, None] + (second**2).sum(axis=1)[None] - 2 * first @ second.T
    return np.sqrt(np.maximum(square, 0.0))


@dataclass(frozen=True)
class _Coordinates:
    """Normal coordinates of a set of frames of the same atoms, of unit variance, from distances of pairs of atoms."""

    pairs: np.ndarray
    mean: np.ndarray
    axes: np.ndarray

    @classmethod
    def of(cls, frames: Sequence[Configuration], rng: np.random.Generator) -> _Coordinates | None:
        """Return the coordinates in which ``frames`` vary; None if they do not."""
        pairs = _pairs(frames[0].num_atoms, rng)
        values = _pair_distances(frames, pairs)
        mean = values.mean(axis=0)
        _, sizes, axes = np.linalg.svd(values - mean, full_matrices=False)
        if not len(sizes) or sizes[0] < SAME:
            return None
        most = min(max(3 * frames[0].num_atoms - 6, 1), len(frames) // 8, int((sizes > 1e-3 * sizes[0]).sum()))
        return cls(pairs, mean, axes[:most].T / sizes[:most] * np.sqrt(len(frames)))

    def __call__(self, frames: Sequence[Configuration]) -> np.ndarray:
        """Return the coordinates [frames, axes]."""
        return (_pair_distances(frames, self.pairs) - self.mean) @ self.axes


def _pairs(num_atoms: int, rng: np.random.Generator) -> np.ndarray:
    """Some pairs of atoms [pairs, 2], of large systems drawn."""
    if num_atoms > MOST_PAIRS:
        return np.stack([rng.integers(num_atoms, size=MOST_PAIRS), rng.integers(num_atoms, size=MOST_PAIRS)], axis=1)
    first, second = np.triu_indices(num_atoms, 1)
    chosen = rng.permutation(len(first))[:MOST_PAIRS]
    return np.stack([first[chosen], second[chosen]], axis=1)


def _pair_distances(frames: Sequence[Configuration], pairs: np.ndarray) -> np.ndarray:
    """Distances [frames, pairs] in Å and, of periodic frames, the lengths and products of cell vectors."""
    rows = []
    for frame in frames:
        vectors = frame.positions[pairs[:, 0]] - frame.positions[pairs[:, 1]]
        metric = np.zeros(0)
        if frame.pbc.any():
            box = complete_cell(frame.cell, frame.pbc)
            vectors = vectors - np.where(frame.pbc, np.round(vectors @ np.linalg.inv(box)), 0.0) @ box
            metric = np.sqrt(np.abs((box @ box.T)[np.triu_indices(3)]))
        rows.append(np.concatenate([np.linalg.norm(vectors, axis=1), metric]))
    return np.array(rows)


def _fingerprints(frames: Sequence[Configuration]) -> Iterator[bytes]:
    """What copies of a configuration have in common, turned or moved ones included."""
    drawn: dict[int, np.ndarray] = {}
    for frame in frames:
        if frame.num_atoms not in drawn:
            others = np.arange(1, frame.num_atoms)  # every atom is in a pair, so that none may have moved
            from_first = np.stack([np.zeros_like(others), others], axis=1)
            drawn[frame.num_atoms] = np.concatenate([from_first, _pairs(frame.num_atoms, _rng())])
        pairs = drawn[frame.num_atoms]
        distances = _pair_distances([frame], pairs)[0]
        yield _kind(frame) + np.round(distances / SAME).astype(np.int64).tobytes()
