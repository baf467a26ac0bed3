"""ASE calculator of a saved or freshly trained potential."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator as AseCalculator
from ase.calculators.calculator import PropertyNotImplementedError, all_changes
from ase.stress import full_3x3_to_voigt_6_stress

from clebsch.deploy.neighbors import SkinList, check_skin
from clebsch.errors import DataError
from clebsch.models import Potential
from clebsch.models.serialization import load_potential


class Calculator(AseCalculator):
    """Energy, forces and stress of ``atoms`` by a potential: ``atoms.calc = Calculator("potential.safetensors")``.

    Results in ASE's units: energy, free_energy (their equal: no electronic temperature) and energies (per atom, their
    sum is the energy) in eV, forces in eV/Å, stress = (1/V) ∂E/∂ε in eV/Å³ and Voigt order xx, yy, zz, yz, xz, xy, for
    cells with a volume, along their periodic directions: that of a slab has no component out of its plane. The
    neighbour list is searched again when an atom may have crossed the skin.

    Args:
        potential: a potential, or the path of a saved one, which then has to reproduce its reference frames. A frozen
            copy of it is kept: later training does not reach the calculator.
        dtype: of the network, float32 or float64, also by name; None keeps that of the potential.
        device: torch device of the network; None keeps that of the potential, and is the CPU for a saved one.
        backend: kernels; None keeps those of the potential, and takes the fastest of the device for a saved one.
        skin: Å beyond r_max in which neighbours are searched (`SkinList`); it decides the speed only.
    """

    implemented_properties = ["energy", "free_energy", "energies", "forces", "stress"]

    def __init__(
        self,
        potential: Potential | str | Path,
        *,
        dtype: torch.dtype | str | None = None,
        device: torch.device | str | None = None,
        backend: str | None = None,
        skin: float = 0.5,
    ) -> None:
        super().__init__()
        if not isinstance(potential, Potential):
            potential = load_potential(potential, dtype=dtype, device=device or "cpu", backend=backend)
        elif not all(choice is None for choice in (dtype, device, backend)):
            potential = potential.copy(dtype=dtype, device=device, backend=backend)
        self.potential = potential.frozen()
        self.neighbors = SkinList(self.potential.elements, self.potential.r_max, check_skin(skin))

    def check_state(self, atoms: Atoms, tol: float = 0.0) -> list[str]:
        """Names of what has changed since the last call, of all that a result depends on, bit for bit."""
        if self.atoms is None:
            return list(all_changes)
        names = ("numbers", "positions", "cell", "pbc")
        return [name for name in names if not np.array_equal(getattr(self.atoms, name), getattr(atoms, name))]

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] | None = None,
        system_changes: Sequence[str] = tuple(all_changes),
    ) -> None:
        """Fill ``results`` for ``atoms``; raises DataError for an element the potential does not know."""
        atoms = self.atoms if atoms is None else atoms.copy()
        if atoms is None:
            raise DataError("There are no atoms to compute: set atoms.calc, or pass atoms.")
        self.atoms = atoms
        periodic = has_stress(atoms.pbc, atoms.cell.array)
        if "stress" in (properties or ()) and not periodic:
            raise PropertyNotImplementedError(
                "Stress needs a periodic direction and a cell with a volume, got "
                f"pbc = {atoms.pbc.tolist()} and cell {atoms.cell.array.tolist()}."
            )
        batch = self.neighbors.batch(atoms).to(self.potential.device)
        prediction = self.potential(batch, forces=True, stress=periodic)
        energy = float(prediction.energy[0])
        self.results = {
            "energy": energy,
            "free_energy": energy,
            "energies": prediction.node_energy.cpu().numpy(),
            "forces": prediction.forces.cpu().numpy(),
        }
        if periodic:
            stress = along_periodic_directions(prediction.stress[0].cpu().numpy(), atoms.pbc, atoms.cell.array)
            self.results["stress"] = full_3x3_to_voigt_6_stress(stress)


def has_stress(pbc: np.ndarray, cell: np.ndarray) -> bool:
    """Return whether a system has a stress: a periodic direction, and a cell with a volume."""
    return bool(np.any(pbc) and np.linalg.matrix_rank(cell) == 3)


def along_periodic_directions(stress: np.ndarray, pbc: np.ndarray, cell: np.ndarray) -> np.ndarray:
    """Return P σ P of a stress [3, 3], with P the projection on what the periodic cell vectors span."""
    if np.all(pbc):
        return stress
    axes, _ = np.linalg.qr(cell[pbc].T)
    projection = axes @ axes.T
    return projection @ stress @ projection
