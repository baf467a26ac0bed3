"""ASE calculator of a saved or freshly trained potential."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator as AseCalculator
from ase.calculators.calculator import Parameters, PropertyNotImplementedError, all_changes
from ase.stress import full_3x3_to_voigt_6_stress

from clebsch.data import Batch
from clebsch.deploy.compiled import CompiledPotential, compiled_copy
from clebsch.deploy.neighbors import SkinList, check_skin
from clebsch.errors import ConfigError, DataError, ExplodedError, ExtrapolationWarning
from clebsch.models import FrozenPotential, Potential
from clebsch.models.serialization import load_potential

Source = Potential | CompiledPotential | str | Path

CALLS_PER_CHECK = 20  # of the domain
NEAR_CELL = 1.0  # Å that a cell may have changed since the last frame of a trajectory


class Calculator(AseCalculator):
    """Energy, forces and stress of ``atoms`` by a potential: ``atoms.calc = Calculator("potential.safetensors")``.

    Results in ASE's units: energy, free_energy (their equal: no electronic temperature) and energies (per atom, their
    sum is the energy) in eV, forces in eV/Å, stress = (1/V) ∂E/∂ε in eV/Å³ and Voigt order xx, yy, zz, yz, xz, xy, for
    cells with a volume, along their periodic directions: that of a slab has no component out of its plane. The
    neighbour list is searched again when an atom may have crossed the skin.

    An `ExtrapolationWarning` says, once, that the atoms have left what the potential was trained on (`Domain`), which
    every twentieth call looks at; `grades` tells how far they are. If a trajectory explodes, an `ExplodedError` says
    so, and ``last_good`` is the last frame with finite forces.

    Copies (`copy.deepcopy`) and calculators in other processes, forked or spawned, are independent and give the same
    results; in the last bits these depend on the number of threads, which is one in forked processes.

    Args:
        potential: a potential, or the path of a saved one, which then has to reproduce its reference frames. A frozen
            copy of it is kept: later training does not reach the calculator. A compiled library ("potential.so") is
            taken as it is, so that it has a dtype, but no device or backend to choose.
        dtype: of the network, float32 or float64, also by name; None keeps that of the potential.
        device: torch device of the network; None keeps that of the potential, and is the CPU for a saved one.
        backend: kernels; None keeps those of the potential, and takes the fastest of the device for a saved one.
        skin: Å beyond r_max in which neighbours are searched (`SkinList`); it decides the speed only.
        warn: whether to warn of extrapolation.
        compiled: whether to compile the potential first (`compile_potential`), which takes seconds and needs a C
            compiler; small systems are then computed several times faster. It uses as many threads as PyTorch does.

    Raises:
        ConfigError: dtype, device or backend are given for a compiled library, or the potential cannot be compiled.
    """

    implemented_properties = ["energy", "free_energy", "energies", "forces", "stress"]

    def __init__(
        self,
        potential: Source,
        *,
        dtype: torch.dtype | str | None = None,
        device: torch.device | str | None = None,
        backend: str | None = None,
        skin: float = 0.5,
        warn: bool = True,
        compiled: bool = False,
    ) -> None:
        super().__init__()
        source = str(potential) if isinstance(potential, str | Path) else type(potential).__name__
        found = _opened(potential, dtype, device, backend)
        self.parameters = Parameters(potential=source)  # with the name, what ASE writes beside results
        if isinstance(found, CompiledPotential):
            self.parameters["sha256"] = found.metadata["sha256"]
        elif not isinstance(found, FrozenPotential):  # which has no weights of its own
            self.parameters["sha256"] = found.fingerprint()
        if isinstance(found, Potential):
            found = compiled_copy(found, torch.get_num_threads()) if compiled else found.frozen()
        self.potential: FrozenPotential | CompiledPotential = found
        self.neighbors = SkinList(self.potential.elements, self.potential.r_max, check_skin(skin))
        self.last_good: Atoms | None = None
        self._calls, self._warned = 0, self.potential.domain is None or not warn

    @property
    def name(self) -> str:
        """What ASE calls the calculator in trajectories and databases, beside its parameters."""
        return "clebsch"

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
        """Fill ``results`` for ``atoms``.

        Raises:
            DataError: the potential does not know an element, or the positions cannot be used.
            ExplodedError: the same for atoms that were computed before, which have moved there, or their forces are
                not finite.
        """
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
        found = self._evaluate(atoms, stress=periodic)
        self.results = {
            "energy": found.energy,
            "free_energy": found.energy,
            "energies": found.energies,
            "forces": found.forces,
        }
        if found.stress is not None:
            projected = along_periodic_directions(found.stress, atoms.pbc, atoms.cell.array)
            self.results["stress"] = full_3x3_to_voigt_6_stress(projected)
        self.last_good = atoms

    def grades(self, atoms: Atoms) -> np.ndarray:
        """Return the extrapolation grade of every atom, see `Domain`; DataError if the potential has no domain."""
        if self.potential.domain is None:
            raise DataError("This potential does not know what it was trained on; train it again with this version.")
        return self.potential.domain.grades(self.neighbors.batch(atoms))

    def _evaluate(self, atoms: Atoms, *, stress: bool) -> Evaluation:
        self.results = {}
        try:
            other = self.last_good is None or not np.array_equal(self.last_good.numbers, atoms.numbers)
            if not self._warned and (other or self._calls % CALLS_PER_CHECK == 0):
                self._warn(self.neighbors.batch(atoms))
            compute = _by_library if isinstance(self.potential, CompiledPotential) else _by_network
            found = compute(self.potential, self.neighbors, atoms, stress)  # type: ignore[arg-type]
            self._calls += 1
        except DataError as error:
            raise self._exploded(atoms, str(error)) or error from None
        if not np.isfinite(found.forces).all():
            reason = "The forces are not finite."
            raise self._exploded(atoms, reason) or DataError(f"{reason} Look at the positions.")
        return found

    def _warn(self, batch: Batch) -> None:
        left = self.potential.domain and self.potential.domain.leaves(batch)
        if left:
            self._warned = True
            warnings.warn(
                f"The atoms are unlike what the potential was trained on: {left}. Energies and forces are extrapolated "
                "from here on; this is said once.",
                ExtrapolationWarning,
                stacklevel=6,
            )

    def _exploded(self, atoms: Atoms, reason: str) -> ExplodedError | None:
        """The error of a trajectory, if these are the atoms of the last good frame at other positions."""
        last = self.last_good
        if last is None or not np.array_equal(last.numbers, atoms.numbers) or not np.array_equal(last.pbc, atoms.pbc):
            return None
        if not np.allclose(last.cell.array, atoms.cell.array, atol=NEAR_CELL):
            return None
        return ExplodedError(
            f"The trajectory has exploded after {self._calls} evaluations: {reason} The last frame with finite forces "
            "is `last_good` of the calculator. Start from relaxed positions, take a shorter time step, or train on "
            "such configurations.",
            reason,
        )


@dataclass(frozen=True)
class Evaluation:
    """Energy and energies of atoms in eV, forces [atoms, 3] in eV/Å, stress [3, 3] in eV/Å^3 if it is wanted."""

    energy: float
    energies: np.ndarray
    forces: np.ndarray
    stress: np.ndarray | None


def _opened(
    potential: Source, dtype: torch.dtype | str | None, device: torch.device | str | None, backend: str | None
) -> Potential | CompiledPotential:
    choices = {"dtype": dtype, "device": device, "backend": backend}
    if isinstance(potential, CompiledPotential) or str(potential).endswith(".so"):
        given = [name for name, value in choices.items() if value is not None]
        if given:
            raise ConfigError(f"{', '.join(given)}: a compiled library has its own; leave it out, or compile it again")
        if isinstance(potential, CompiledPotential):
            return potential
        return CompiledPotential(potential, torch.get_num_threads())  # type: ignore[arg-type]
    if not isinstance(potential, Potential):
        return load_potential(potential, dtype=dtype, device=device or "cpu", backend=backend)
    unchanged = all(choice is None for choice in choices.values())
    return potential if unchanged else potential.copy(dtype=dtype, device=device, backend=backend)


def _by_network(potential: FrozenPotential, neighbors: SkinList, atoms: Atoms, stress: bool) -> Evaluation:
    found = potential(neighbors.batch(atoms).to(potential.device), forces=True, stress=stress)
    assert found.forces is not None
    return Evaluation(
        float(found.energy[0]),
        found.node_energy.cpu().numpy(),
        found.forces.cpu().numpy(),
        None if found.stress is None else found.stress[0].cpu().numpy(),
    )


def _by_library(library: CompiledPotential, neighbors: SkinList, atoms: Atoms, stress: bool) -> Evaluation:
    found = library.compute(*neighbors.pairs(atoms))
    tensor = 0.5 * (found.virial + found.virial.T) / atoms.cell.volume if stress else None
    return Evaluation(found.energy, found.node_energy, found.forces, tensor)


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
