"""Checks of labels by themselves: sums of forces, zeros, digits, and the stiffness of bonds to hydrogen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from ase.data import covalent_radii

from clebsch.data import QUANTITIES, Configuration
from clebsch.doctor.findings import Finding, named

LARGEST_NET = 0.05  # of the r.m.s. force; forces of converged calculations sum to less, per square root of atoms
OUTLIER = 10.0  # times the median of the set
FEWEST_VALUES = 30
COARSE_DIGITS = {"energy": 2, "forces": 2}
COARSEST_FLOAT32 = 1e-3  # eV
STIFFNESS = (8.0, 120.0)  # eV/Å^2; bonds to hydrogen have 15 to 55
FEWEST_BONDS = 50
HYDROGEN_BOND = 1.25  # sums of covalent radii


def check_labels(subject: str, frames: Sequence[Configuration]) -> Iterator[Finding]:
    """Yield what labels show by themselves."""
    yield from _digits(subject, frames)
    with_forces = [frame for frame in frames if "forces" in frame.labels and frame.num_atoms > 1]
    if not with_forces:
        yield Finding("not checked", "sums of forces", subject, "no forces")
        return
    yield from _sums(subject, with_forces)
    yield from _zeros(subject, with_forces)
    yield from _stiffness(subject, with_forces)


def _sums(subject: str, frames: Sequence[Configuration]) -> Iterator[Finding]:
    """Forces and torques must cancel; both in units of what random forces of this size would sum to."""
    rms = _force_rms(frames)
    if not rms:
        yield Finding("warning", "sums of forces", subject, "all forces are zero", "Name the key of the forces.")
        return
    nets = np.array([_net_force(frame) for frame in frames]) / rms
    yield from _sum_findings(subject, "net force", frames, nets)
    free = [frame for frame in frames if not frame.pbc.any() and frame.num_atoms > 2]
    if free:
        yield from _sum_findings(subject, "net torque", free, np.array([_net_torque(frame) for frame in free]) / rms)


def _sum_findings(subject: str, check: str, frames: Sequence[Configuration], nets: np.ndarray) -> Iterator[Finding]:
    median = float(np.median(nets))
    broken = np.flatnonzero(nets > max(OUTLIER * median, LARGEST_NET))
    share = f"{100 * median:.2g} % of the r.m.s. force"
    if median > LARGEST_NET:
        text = f"{check} of a frame is {share} (median), though it must vanish"
        cure = "Converge the calculations, and check for external fields, constraints and a wrong order of atoms."
        yield Finding("warning", check, subject, text, cure)
    elif len(broken):
        text = f"{len(broken)} frames have a {check} that is far from zero: {named([frames[int(i)] for i in broken])}"
        yield Finding("warning", check, subject, text, "Look at these frames, and remove broken ones.")
    else:
        yield Finding("ok", check, subject, f"vanishes: {share} (median)")


def _force_rms(frames: Sequence[Configuration]) -> float:
    return float(np.sqrt(np.mean(np.concatenate([frame.labels["forces"] for frame in frames]) ** 2)))


def _net_force(frame: Configuration) -> float:
    return float(np.linalg.norm(frame.labels["forces"].sum(axis=0)) / np.sqrt(3 * frame.num_atoms))


def _net_torque(frame: Configuration) -> float:
    arms = frame.positions - frame.positions.mean(axis=0)
    size = float(np.sqrt((arms**2).sum()))
    return float(np.linalg.norm(np.cross(arms, frame.labels["forces"]).sum(axis=0)) / max(size, 1e-6))


def _zeros(subject: str, frames: Sequence[Configuration]) -> Iterator[Finding]:
    """Atoms without any force among others that have one were held fixed, and codes write zeros for them."""
    partly = []
    for frame in frames:
        zero = ~frame.labels["forces"].any(axis=1)
        if zero.any() and not zero.all() and _is_disordered(frame):
            partly.append(frame)
    if len(partly) > max(1, 0.02 * len(frames)):
        text = f"{len(partly)} frames have atoms with forces of exactly zero: {named(partly)}"
        cure = "Such atoms were held fixed: write the forces without constraints, or the zeros are trained on."
        yield Finding("warning", "zero forces", subject, text, cure)
    else:
        yield Finding("ok", "zero forces", subject, "no atom of a frame in motion is without force")


def _is_disordered(frame: Configuration) -> bool:
    """Whether forces have many values; symmetry makes some of them vanish."""
    sizes = np.round(np.linalg.norm(frame.labels["forces"], axis=1), 4)
    return bool(len(np.unique(sizes[sizes > 0])) > 0.5 * np.count_nonzero(sizes))


def _digits(subject: str, frames: Sequence[Configuration]) -> Iterator[Finding]:
    """Labels that were rounded, or kept in single precision."""
    found = False
    for name, coarse in COARSE_DIGITS.items():
        values = [np.ravel(frame.labels[name]) for frame in frames if name in frame.labels]
        numbers = np.concatenate(values) if values else np.zeros(0)
        digits = _decimals(numbers[numbers != 0.0])
        if digits is not None and digits <= coarse:
            found = True
            text = f"{name} have only {digits} decimals: {1000 * 10.0**-digits:g} {QUANTITIES[name].milli_unit()}"
            yield Finding("warning", "digits", subject, text, "Write the labels with all their digits.")
    energies = np.array([float(frame.labels["energy"]) for frame in frames if "energy" in frame.labels])
    spacing = float(np.spacing(np.abs(energies).astype(np.float32)).max()) if len(energies) else 0.0
    single = bool((energies.astype(np.float32) == energies).all())
    if single and len(energies) >= FEWEST_VALUES and spacing > COARSEST_FLOAT32:
        found = True
        text = f"energies were kept in single precision: steps of {1000 * spacing:.2g} meV"
        yield Finding("warning", "digits", subject, text, "Write the energies in double precision.")
    if not found:
        yield Finding("ok", "digits", subject, "labels have enough digits")


def _decimals(values: np.ndarray) -> int | None:
    """How many decimals numbers have, if fewer than four; None for too few numbers to tell."""
    if len(values) < FEWEST_VALUES:
        return None
    for digits in range(4):
        scaled = values * 10.0**digits
        if np.abs(scaled - np.round(scaled)).max() < 1e-6 * max(1.0, float(np.abs(scaled).max()) * 1e-6):
            return digits
    return None


def _stiffness(subject: str, frames: Sequence[Configuration]) -> Iterator[Finding]:
    """Slope of the force along bonds to hydrogen over their length: it tells the unit of the forces."""
    check = "unit of forces"
    bonds = [bond for frame in frames if (frame.numbers == 1).any() and frame.num_atoms > 2 for bond in _bonds(frame)]
    lengths, forces = np.array(bonds).reshape(-1, 2).T
    if len(lengths) < FEWEST_BONDS or lengths.std() < 0.005:
        yield Finding("not checked", check, subject, "too few bonds to hydrogen that vary in length")
        return
    slope = -float(np.polyfit(lengths, forces, 1)[0])
    said = f"bonds to hydrogen have a stiffness of {slope:.3g} eV/Å²; usual: 15 to 55"
    if STIFFNESS[0] <= slope <= STIFFNESS[1]:
        yield Finding("ok", check, subject, said)
        return
    yield Finding("warning", check, subject, said, _unit_of(slope))


def _unit_of(slope: float) -> str:
    if slope < 0:
        return "Forces are minus the gradient of the energy: check their sign."
    units = {"kcal/mol/Å": 23.06, "kJ/mol/Å": 96.49, "meV/Å": 1000.0, "Hartree/bohr": 1 / 51.42, "Ry/bohr": 1 / 25.71}
    likely = min(units, key=lambda unit: abs(np.log(slope / units[unit] / 30.0)))
    return f"Check the units; forces in {likely} would look like this: data.units: {{forces: {likely}}}"


def _bonds(frame: Configuration) -> Iterator[tuple[float, float]]:
    """Length (Å) of bonds to hydrogen, less what is usual of the element, and the force on H along them (eV/Å)."""
    hydrogen = np.flatnonzero(frame.numbers == 1)
    heavy = np.flatnonzero(frame.numbers > 1)
    if not len(heavy):
        return
    vectors = frame.positions[hydrogen][:, None] - frame.positions[heavy][None]
    if frame.pbc.all():
        vectors -= np.round(vectors @ np.linalg.inv(frame.cell)) @ frame.cell
    r = np.linalg.norm(vectors, axis=2)
    nearest = r.argmin(axis=1)
    for row, column in enumerate(nearest):
        usual = covalent_radii[1] + covalent_radii[frame.numbers[heavy[column]]]
        if r[row, column] < HYDROGEN_BOND * usual:
            along = vectors[row, column] / r[row, column]
            yield r[row, column] - usual, float(frame.labels["forces"][hydrogen[row]] @ along)
