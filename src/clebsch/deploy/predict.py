"""Energies, forces and stresses of many configurations at once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ase import Atoms
from ase.stress import full_3x3_to_voigt_6_stress

from clebsch.data import Configuration
from clebsch.models import Potential


def predict(
    potential: Potential, frames: Iterable[Atoms | Configuration], *, batch_size: int = 16
) -> list[dict[str, Any]]:
    """Return energy, forces and stress of every frame, by the names, units and signs of ASE.

    A result holds ``energy`` (eV), ``forces`` [atoms, 3] (eV/Å) and, for a frame that is periodic in three directions,
    ``stress`` (eV/Å^3, in the order xx, yy, zz, yz, xz, xy): what `clebsch.Calculator` gives, frame by frame.

    Args:
        potential: the potential.
        frames: ASE ``Atoms`` or configurations; labels play no part.
        batch_size: frames per call of the potential.

    Raises:
        DataError: a frame holds an element that the potential does not know, or two atoms at one place.
    """
    configurations = [_bare(frame, number) for number, frame in enumerate(frames)]
    results: dict[int, dict[str, Any]] = {}
    for periodic in (False, True):
        alike = [number for number, found in enumerate(configurations) if found.pbc.all() == periodic]
        for start in range(0, len(alike), batch_size):
            numbers = alike[start : start + batch_size]
            found = _predict_batch(potential, [configurations[number] for number in numbers], periodic)
            results |= zip(numbers, found, strict=True)
    return [results[number] for number in range(len(configurations))]


def _bare(frame: Atoms | Configuration, number: int) -> Configuration:
    """The frame without labels, of which some may have what others lack."""
    atoms = frame.to_atoms() if isinstance(frame, Configuration) else frame
    return Configuration.from_atoms(atoms, origin=f"frame {number}")


def _predict_batch(potential: Potential, configurations: list[Configuration], stress: bool) -> list[dict[str, Any]]:
    batch = potential.batch(configurations)
    found = potential(batch, forces=True, stress=stress)
    assert found.forces is not None
    forces = found.forces.cpu().split(batch.num_atoms.tolist())
    results = [
        {"energy": energy, "forces": part.numpy()} for energy, part in zip(found.energy.tolist(), forces, strict=True)
    ]
    if found.stress is not None:
        for result, tensor in zip(results, found.stress.cpu().numpy(), strict=True):
            result["stress"] = full_3x3_to_voigt_6_stress(tensor)
    return results
