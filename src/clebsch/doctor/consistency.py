"""Whether energies, forces and stresses belong together: units, signs, offsets and outliers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from clebsch.data import Configuration
from clebsch.data.units import ENERGIES, FORCES, STRESSES
from clebsch.doctor.findings import Finding
from clebsch.doctor.probe import Probe, probe

EXPLAINED = 0.5
UNRELATED = 0.2
USUAL = (0.7, 1.4)  # slopes of labels on predictions
CLEAR, NONE = 0.8, 0.3  # correlations
TOLERANCE = 0.3  # of the logarithm of a slope
FEWEST = 8
FORCE_OUTLIER, ENERGY_OUTLIER = 9.0, 15.0  # times the median error
LARGE = 0.7  # of the r.m.s. force; smaller errors are no outliers
SPREAD_OUTLIER = 6.0  # times the median distance of energies from their median
TWO_GROUPS = 8.0  # times the width of either group
SMALLEST_GROUP = 0.03
MOST_LISTED = 5


def check_consistency(subject: str, frames: Sequence[Configuration]) -> Iterator[Finding]:
    """Yield what a potential fitted to the forces says about them, the energies and the stresses."""
    found = probe(frames)
    if found is None:
        for check in ("forces", "energies and forces", "unit of stress"):
            yield Finding("not checked", check, subject, "too few frames of at most 1,000 atoms have forces")
        return
    explained = f"{100 * found.explained:.1f} % of the forces follow from the positions (linear ACE of {found.fitted} "
    explained += "frames, on others)"
    if found.explained < EXPLAINED and not found.determined:
        yield Finding("not checked", "forces", subject, f"{explained}, which are too few to tell")
    elif found.explained < UNRELATED:
        yield Finding("error", "forces", subject, explained, "Check the order of atoms and frames, and the positions.")
    elif found.explained < EXPLAINED:
        yield Finding("warning", "forces", subject, explained, "Check the order of atoms and frames; add data.")
    else:
        yield Finding("ok", "forces", subject, explained)
    if found.explained < EXPLAINED:
        for check in ("energies and forces", "unit of stress"):
            yield Finding("not checked", check, subject, "the forces do not follow from the positions")
        return
    yield from _force_outliers(subject, found)
    energies = list(_energies(subject, found))
    yield from energies
    yield from _stresses(subject, frames, agree=energies[0].level == "ok")


def _force_outliers(subject: str, found: Probe) -> Iterator[Finding]:
    errors = found.force_errors()
    size = np.sqrt(np.mean(found.comparison.labels["forces"] ** 2))
    limit = max(FORCE_OUTLIER * float(np.median(errors)), LARGE * float(size))
    yield from _outliers(subject, "outliers of forces", found, errors, limit, "eV/Å from the fit (r.m.s.)")


def _outliers(subject: str, check: str, found: Probe, errors: np.ndarray, limit: float, unit: str) -> Iterator[Finding]:
    worst = [int(index) for index in np.argsort(-np.nan_to_num(errors)) if errors[index] > limit]
    if not worst:
        yield Finding("ok", check, subject, f"none above {limit:.2g} {unit}")
        return
    listed = "; ".join(f"{found.frames[i].origin}: {errors[i]:.3g}" for i in worst[:MOST_LISTED])
    rest = f"; and {len(worst) - MOST_LISTED} more" if len(worst) > MOST_LISTED else ""
    text = f"{len(worst)} frames are more than {limit:.2g} {unit}: {listed}{rest}"
    yield Finding("warning", check, subject, text, "Look at these frames; recompute or remove broken ones.")


def _energies(subject: str, found: Probe) -> Iterator[Finding]:
    """Slope, scatter and groups of energies within frames of the same atoms, whose E0 cancel."""
    check, comparison = "energies and forces", found.comparison
    groups = _alike(found) if "energy" in comparison.labels else []
    if sum(len(group) - 1 for group in groups) < FEWEST:
        yield Finding("not checked", check, subject, "too few frames of the same atoms have energies")
        return
    label, predicted = comparison.labels["energy"], comparison.predictions["energy"]
    cells = np.array([frame.cell @ frame.cell.T if frame.pbc.any() else np.zeros((3, 3)) for frame in found.frames])
    groups = [group for group in groups if _freedom(cells[group]) >= FEWEST]
    if not groups:
        yield Finding("not checked", check, subject, "too few frames of the same atoms, or too many different cells")
        return
    residuals = [_without(np.stack([predicted[g], label[g]]), cells[g]) for g in groups]
    x, y = (np.concatenate(parts) for parts in zip(*residuals, strict=True))
    slope, correlation = _robust_slope(x, y)
    said = f"energies change {slope:.3g} times as the forces say (correlation {correlation:.2f})"
    if abs(correlation) < NONE:
        cure = "Check that energies and forces are of the same frames and method."
        yield Finding("warning", check, subject, said, cure)
    elif abs(correlation) >= CLEAR and not USUAL[0] <= slope <= USUAL[1]:
        yield Finding("error", check, subject, said, _energy_cure(slope, found))
        return
    else:
        yield Finding("ok", check, subject, said)
    off = y - slope * x
    index = np.concatenate(groups)
    per_atom = np.full(len(found.frames), np.nan)
    per_atom[index] = np.abs(off - np.median(off)) / comparison.num_atoms[index]
    yield from _energy_groups(subject, found, index, off)
    spread = float(np.median(np.abs(y - np.median(y)) / comparison.num_atoms[index]))
    limit = max(ENERGY_OUTLIER * float(np.nanmedian(per_atom)), SPREAD_OUTLIER * spread, 2e-3)
    yield from _outliers(subject, "outliers of energies", found, per_atom, limit, "eV/atom from the fit")


def _alike(found: Probe) -> list[np.ndarray]:
    """Indices of frames of the same atoms in the same order with energies, in groups of three or more."""
    groups: dict[bytes, list[int]] = defaultdict(list)
    for index, frame in enumerate(found.frames):
        if "energy" in frame.labels:
            groups[frame.numbers.tobytes()].append(index)
    return [np.array(group) for group in groups.values() if len(group) > 2]


def _without(values: np.ndarray, metrics: np.ndarray) -> np.ndarray:
    """Values [2, frames] less their mean and, if cells vary, what is quadratic in their metrics [frames, 3, 3].

    Forces at one cell do not say how the energy depends on the cell.
    """
    matrix = _of_cells(metrics)
    return values - (matrix @ np.linalg.lstsq(matrix, values.T, rcond=None)[0]).T


def _of_cells(metrics: np.ndarray) -> np.ndarray:
    """A constant and, if cells vary, their metrics and squares of these [frames, columns]."""
    entries = metrics.reshape(-1, 9)[:, [0, 1, 2, 4, 5, 8]]
    entries = (entries - entries.mean(axis=0))[:, np.ptp(entries, axis=0) > 1e-3 * max(float(entries.max()), 1.0)]
    return np.concatenate([np.ones((len(entries), 1)), entries, entries**2], axis=1)


def _freedom(metrics: np.ndarray) -> int:
    """Frames less what `_without` removes."""
    return len(metrics) - int(np.linalg.matrix_rank(_of_cells(metrics)))


def _robust_slope(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Slope of y on x and their correlation, without the points that are far off a first fit."""
    keep = np.ones(len(x), dtype=bool)
    for _ in range(3):
        slope = float(x[keep] @ y[keep] / max(x[keep] @ x[keep], 1e-300))
        off = np.abs(y - slope * x)
        keep = off <= max(6.0 * float(np.median(off)), 1e-12)
    size = np.sqrt((x[keep] @ x[keep]) * (y[keep] @ y[keep]))
    return slope, float(x[keep] @ y[keep] / size) if size > 0 else 0.0


def _energy_cure(slope: float, found: Probe) -> str:
    if slope < 0:
        return "The forces have the wrong sign, or are gradients: multiply them by -1."
    candidates = {f"energies in {unit} (data.units: {{energy: {unit}}})": 1 / f for unit, f in ENERGIES.items()}
    candidates |= {f"forces in {unit} (data.units: {{forces: {unit}}})": f for unit, f in FORCES.items()}
    atoms = found.comparison.num_atoms
    if len(np.unique(atoms)) == 1:
        candidates["energies per atom instead of the whole configuration"] = 1 / float(atoms[0])
    return _likely(slope, candidates)


def _likely(slope: float, candidates: Mapping[str, float]) -> str:
    near = sorted(candidates, key=lambda name: abs(np.log(slope / candidates[name])))
    near = [name for name in near if abs(np.log(slope / candidates[name])) < TOLERANCE][:2]
    return f"It looks like {' or '.join(near)}." if near else "Check the units of both, and that one method made them."


def _energy_groups(subject: str, found: Probe, index: np.ndarray, off: np.ndarray) -> Iterator[Finding]:
    """Two groups of energies with nothing between them, as of two methods."""
    order = np.argsort(off)
    ascending = off[order]
    gap = int(np.diff(ascending).argmax()) + 1
    low, high = ascending[:gap], ascending[gap:]
    fewest = max(2, SMALLEST_GROUP * len(off))
    width = max(float(np.std(low)), float(np.std(high)), 1e-6)
    apart, between = float(high.mean() - low.mean()), float(high[0] - low[-1])
    if min(len(low), len(high)) >= fewest and between > TWO_GROUPS / 4 * width and apart > TWO_GROUPS * width:
        smaller = order[:gap] if len(low) < len(high) else order[gap:]
        first = found.frames[index[smaller].min()].origin
        text = f"energies form two groups, {apart:.3g} eV apart, of {len(low)} and {len(high)} frames ({first})"
        yield Finding("error", "one method", subject, text, "They come from two methods or settings: keep one.")
    else:
        yield Finding("ok", "one method", subject, "energies form one group")


def _stresses(subject: str, frames: Sequence[Configuration], *, agree: bool) -> Iterator[Finding]:
    """Slope of stress labels on the predictions of a potential fitted to energies and forces, which must ``agree``."""
    check = "unit of stress"
    stressed = [frame for frame in frames if "stress" in frame.labels and "energy" in frame.labels]
    found = probe(stressed, energies=True) if agree else None
    if not stressed:
        yield Finding("not checked", check, subject, "no stress labels")
    elif not agree:
        yield Finding("not checked", check, subject, "energies and forces must agree first")
    elif found is None:
        yield Finding("not checked", check, subject, "too few frames have a stress")
    else:
        label, predicted = found.comparison.labels["stress"], found.comparison.predictions["stress"]
        volumes = np.array([frame.volume for frame in found.frames])
        changes = _changes(label)
        slope, correlation = _robust_slope(_changes(predicted), changes)
        virial, of_virial = _robust_slope(_changes(predicted * volumes[:, None, None]), changes)
        said = f"stress labels are {slope:.3g} times what energies and forces say (correlation {correlation:.2f})"
        if max(abs(correlation), abs(of_virial)) < CLEAR:
            cure = "Check the order of the components, the sign and the cell."
            yield Finding("warning", check, subject, said, cure)
        elif USUAL[0] <= slope <= USUAL[1] and correlation >= CLEAR:
            yield Finding("ok", check, subject, said)
        else:
            yield Finding("error", check, subject, said, _stress_cure(slope, virial, volumes))


def _changes(stress: np.ndarray) -> np.ndarray:
    """Deviators of stresses [frames, 3, 3] less their mean, in one row: at one cell, only these follow from forces."""
    changes = stress - stress.mean(axis=0)
    return (changes - np.trace(changes, axis1=1, axis2=2)[:, None, None] / 3 * np.eye(3)).ravel()


def _stress_cure(slope: float, virial: float, volumes: np.ndarray) -> str:
    if abs(np.log(abs(virial))) < TOLERANCE / 2:
        sign = "minus " if virial < 0 else ""
        return f"They are virials: divide by {sign}the volume of the cell ({volumes.mean():.4g} Å^3 in the mean)."
    wrong = "They have the wrong sign. " if slope < 0 else ""
    if abs(np.log(abs(slope))) < TOLERANCE:
        return f"{wrong}The sign here is +(1/V) dE/dstrain: multiply them by -1."
    units = {f"in {unit} (data.units: {{stress: {unit}}})": 1 / f for unit, f in STRESSES.items()}
    return wrong + _likely(abs(slope), units)
