"""Energies, forces and stresses of many configurations at once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ase import Atoms
from ase.stress import full_3x3_to_voigt_6_stress

from clebsch.data import Configuration
from clebsch.deploy.ase import along_periodic_directions, has_stress
from clebsch.models import Potential


def predict(
    potential: Potential, frames: Iterable[Atoms | Configuration], *, batch_size: int = 16
) -> list[dict[str, Any]]:
    """Return energy, forces and stress of every frame, by the names, units and signs of ASE.

    A result holds ``energy`` (eV), ``forces`` [atoms, 3] (eV/Å) and, for a frame with a periodic direction and a
    volume, ``stress`` (eV/Å^3, in the order xx, yy, zz, yz, xz, xy): what `clebsch.Calculator` gives.

    Args:
        potential: the potential.
        frames: ASE ``Atoms`` or configurations; labels play no part.
        batch_size: frames per call of the potential.

    Raises:
        DataError: a frame holds an element that the potential does not know, or two atoms at one place.
    """
    configurations = [bare(frame, number) for number, frame in enumerate(frames)]
    starts = range(0, len(configurations), batch_size)
    batches = (configurations[start : start + batch_size] for start in starts)
    return [result for batch in batches for result in _predict_batch(potential, batch)]


def bare(frame: Atoms | Configuration, number: int) -> Configuration:
    """Return the frame without labels; in messages it is that of its number."""
    atoms = frame.to_atoms() if isinstance(frame, Configuration) else frame
    return Configuration.from_atoms(atoms, origin=f"frame {number}")


def _predict_batch(potential: Potential, configurations: list[Configuration]) -> list[dict[str, Any]]:
    batch = potential.batch(configurations)
    stressed = [has_stress(configuration.pbc, configuration.cell) for configuration in configurations]
    found = potential(batch, forces=True, stress=any(stressed))
    assert found.forces is not None
    forces = found.forces.cpu().split(batch.num_atoms.tolist())
    results: list[dict[str, Any]] = [
        {"energy": energy, "forces": part.numpy()} for energy, part in zip(found.energy.tolist(), forces, strict=True)
    ]
    for number, configuration in enumerate(configurations):
        if found.stress is not None and stressed[number]:
            stress = along_periodic_directions(
                found.stress[number].cpu().numpy(), configuration.pbc, configuration.cell
            )
            results[number]["stress"] = full_3x3_to_voigt_6_stress(stress)
    return results
