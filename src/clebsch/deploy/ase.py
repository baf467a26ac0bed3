"""ASE calculator of a saved or freshly trained potential."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from ase import Atoms
from ase.calculators.calculator import Calculator as AseCalculator
from ase.calculators.calculator import PropertyNotImplementedError, all_changes
from ase.stress import full_3x3_to_voigt_6_stress

from clebsch.data import Configuration
from clebsch.errors import DataError
from clebsch.models import Potential, find_device
from clebsch.models.serialization import load_potential


class Calculator(AseCalculator):
    """Energy, forces and stress of ``atoms`` by a potential: ``atoms.calc = Calculator("potential.safetensors")``.

    Results in ASE's units: energy, free_energy (their equal: no electronic temperature) and energies (per atom, their
    sum is the energy) in eV, forces in eV/Å, stress = (1/V) ∂E/∂ε in eV/Å³ and Voigt order xx, yy, zz, yz, xz, xy, for
    cells that are periodic in three directions. The neighbour list is rebuilt at every call.

    Args:
        potential: a potential, or the path of a saved one, which then has to reproduce its reference frames.
        dtype: of the network, torch.float32 or torch.float64; None keeps that of the potential.
        device: torch device of the network; None keeps that of the potential, and is the CPU for a saved one.
        backend: kernels; None keeps those of the potential, and takes the fastest of the device for a saved one.
    """

    implemented_properties = ["energy", "free_energy", "energies", "forces", "stress"]

    def __init__(
        self,
        potential: Potential | str | Path,
        *,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
        backend: str | None = None,
    ) -> None:
        super().__init__()
        self._species: torch.Tensor | None = None
        if isinstance(potential, Potential):
            self.potential = _twin(potential, dtype, device, backend)
        else:
            self.potential = load_potential(potential, dtype=dtype, device=device or "cpu", backend=backend)

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] | None = None,
        system_changes: Sequence[str] = tuple(all_changes),
    ) -> None:
        """Fill ``results`` for ``atoms``; raises DataError for an element the potential does not know."""
        super().calculate(atoms, list(properties or ()), list(system_changes))
        atoms = self.atoms
        if atoms is None:
            raise DataError("There are no atoms to compute: set atoms.calc, or pass atoms.")
        periodic = bool(atoms.pbc.all())
        if "stress" in (properties or ()) and not periodic:
            raise PropertyNotImplementedError(
                f"Stress needs a cell that is periodic in three directions, got pbc = {atoms.pbc.tolist()}."
            )
        batch = self.potential.batch([Configuration.from_atoms(atoms, origin="ASE atoms")])
        if self._species is not None and torch.equal(batch.species, self._species):
            batch.species = self._species  # one tensor for all steps: what depends on the elements alone is found once
        self._species = batch.species
        prediction = self.potential(batch, forces=True, stress=periodic)
        energy = float(prediction.energy[0])
        self.results = {
            "energy": energy,
            "free_energy": energy,
            "energies": prediction.node_energy.detach().cpu().numpy(),
            "forces": prediction.forces.detach().cpu().numpy(),
        }
        if periodic:
            self.results["stress"] = full_3x3_to_voigt_6_stress(prediction.stress[0].detach().cpu().numpy())


def _twin(
    potential: Potential, dtype: torch.dtype | None, device: torch.device | str | None, backend: str | None
) -> Potential:
    """A copy of ``potential`` in another dtype, on another device or with other kernels; the original is left alone."""
    twin = Potential(
        potential.config,
        e0=dict.fromkeys(potential.elements, 0.0),
        dtype=dtype or potential.dtype,
        backend=backend or potential.backend,
    )
    twin.load_state_dict(potential.state_dict())
    return twin.to(find_device(device or potential.device))
