"""Phonons of a crystal: bands, what they say of its stability, and thermal properties, by phonopy."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import torch
from ase import Atoms, units
from ase.cell import Cell
from jaxtyping import Float
from pydantic import Field

from clebsch.config import StrictConfig, parse_config
from clebsch.deploy.predict import predict
from clebsch.dynamics.pictures import plot_bands
from clebsch.dynamics.start import Structure, open_potential, read_structure, require_crystal, require_elements
from clebsch.errors import BackendError
from clebsch.files import explained, write_file
from clebsch.models import Potential
from clebsch.progress import progress

if TYPE_CHECKING:
    from rich.console import Console

BANDS_NAME, THERMAL_NAME, PICTURE_NAME, PHONOPY_NAME = "bands.csv", "thermal.csv", "bands.png", "phonopy_params.yaml"
UNRELAXED = 0.02  # eV/Å
IMAGINARY = -0.05  # THz; acoustic modes near Γ are below zero by rounding

Repeats = Annotated[int, Field(ge=1, le=100)]


class PhononConfig(StrictConfig):
    """Phonons by finite displacements.

    Attributes:
        supercell: repeats of the cell in each direction; None for the fewest that give ``length`` between images.
        length: Å, smallest distance of an atom from its images.
        displacement: Å.
        mesh: Å; the mesh for thermal properties has about this length times a reciprocal vector over 2π points.
        points: of the path of the bands.
        t_max: K, highest temperature of the thermal properties.
        t_step: K, between temperatures.
        symprec: Å, within which symmetry is looked for.
    """

    supercell: tuple[Repeats, Repeats, Repeats] | None = None
    length: float = Field(default=12.0, gt=0, le=200, allow_inf_nan=False)
    displacement: float = Field(default=0.01, gt=0, le=0.5, allow_inf_nan=False)
    mesh: float = Field(default=100.0, gt=0, le=1000, allow_inf_nan=False)
    points: int = Field(default=200, ge=2, le=10_000)
    t_max: float = Field(default=1000.0, gt=0, allow_inf_nan=False)
    t_step: float = Field(default=10.0, gt=0, allow_inf_nan=False)
    symprec: float = Field(default=1e-5, gt=0, lt=1)


@dataclass(frozen=True)
class Phonons:
    """Phonons of a crystal.

    Attributes:
        phonopy: phonopy's object, with force constants, for all that it can do besides.
        supercell: repeats of the cell.
        displacements: how many supercells were computed.
        path: distance along the path of the bands, 1/Å, without 2π.
        qpoints: along the path, in reciprocal vectors of the primitive cell.
        frequencies: along the path, THz; imaginary ones are negative.
        labels: names of special points, and where they are on the path.
        thermal: by name: temperature_K and, of a primitive cell, free_energy_eV, entropy_eV_K, heat_capacity_eV_K.
    """

    phonopy: Any
    supercell: tuple[int, int, int]
    displacements: int
    path: Float[np.ndarray, " points"]
    qpoints: Float[np.ndarray, "points 3"]
    frequencies: Float[np.ndarray, "points bands"]
    labels: list[tuple[str, float]]
    thermal: dict[str, np.ndarray]

    @property
    def lowest(self) -> float:
        """Lowest frequency of the bands, THz."""
        return float(self.frequencies.min())

    @property
    def stable(self) -> bool:
        """Whether no mode of the bands is imaginary; if one is, the thermal properties leave it out."""
        return self.lowest > IMAGINARY

    def write(self, directory: str | Path) -> Path:
        """Write bands (CSV, PNG), thermal properties (CSV) and phonopy's file with force constants.

        Raises OutputError if that cannot be done.
        """
        directory = Path(directory)
        bands = [f"band_{number}_THz" for number in range(1, self.frequencies.shape[1] + 1)]
        rows = np.column_stack([self.path, self.qpoints, self.frequencies])
        write_file(directory / BANDS_NAME, _csv(["path_1_A", "q1", "q2", "q3", *bands], rows))
        write_file(directory / THERMAL_NAME, _csv(list(self.thermal), np.column_stack(list(self.thermal.values()))))
        plot_bands(self.path, self.frequencies, self.labels, self.thermal, directory / PICTURE_NAME)
        with explained(directory / PHONOPY_NAME):
            self.phonopy.save(directory / PHONOPY_NAME, settings={"force_constants": True})
        return directory


def phonons(
    potential: Potential | str | Path,
    structure: Structure,
    config: PhononConfig | None = None,
    *,
    dtype: torch.dtype | None = torch.float64,
    device: torch.device | str | None = None,
    console: Console | None = None,
    **choices: Any,
) -> Phonons:
    """Return the phonons of a relaxed crystal, from forces of supercells with one atom displaced.

    Args:
        potential: a potential, the path of a saved one or the name of one that comes with the library.
        structure: atoms, or a file of which the last frame is taken; relaxed, else modes may be imaginary.
        config: choices, of which ``choices`` changes some, as in ``supercell=(3, 3, 3)``.
        dtype: of the network; float64, since forces are differences of forces here. None keeps that of the potential.
        device: torch device of the network; None keeps that of the potential, and is the CPU for a saved one.
        console: where progress is told.

    Raises:
        BackendError: phonopy is not installed.
        ConfigError: a choice is unknown or out of range.
        DataError: the structure cannot be computed or is no crystal.

    Warns:
        UserWarning: the structure is not relaxed.
    """
    given = {} if config is None else config.model_dump()
    config = parse_config(PhononConfig, {**given, **choices}, "Phonons")
    atoms = read_structure(structure)
    require_crystal(atoms, "A calculation of phonons")
    phonopy = _phonopy()
    model, _ = open_potential(potential, dtype=dtype, device=device)
    require_elements(model, atoms)
    (at_rest,) = predict(model.frozen(), [atoms])
    left = float(np.linalg.norm(at_rest["forces"], axis=1).max())
    if left > UNRELAXED:
        warnings.warn(f"The structure has forces of up to {left:.2g} eV/Å. Relax it first.", stacklevel=2)
    supercell = config.supercell or _supercell(atoms, config.length)
    cell = phonopy.structure.atoms.PhonopyAtoms(
        atoms.get_chemical_symbols(), cell=atoms.cell.array, positions=atoms.positions, masses=atoms.get_masses()
    )
    with warnings.catch_warnings():  # of a choice that is made here
        warnings.filterwarnings("ignore", "primitive_matrix defaulted")
        options = {"primitive_matrix": "auto", "symprec": config.symprec}
        solver = phonopy.Phonopy(cell, supercell_matrix=np.diag(supercell), **options)
    solver.generate_displacements(distance=config.displacement)
    displaced = solver.supercells_with_displacements
    solver.forces = _forces(model, displaced, console)
    solver.produce_force_constants(show_drift=False)
    solver.symmetrize_force_constants(show_drift=False)
    return _collect(solver, supercell, len(displaced), config)


def _forces(model: Potential, supercells: Any, console: Console | None) -> list[np.ndarray]:
    frozen, found = model.frozen(), []
    for supercell in progress(console, supercells, "displacements", len(supercells)):
        atoms = Atoms(supercell.symbols, supercell.positions, cell=supercell.cell, pbc=True)
        found.append(predict(frozen, [atoms])[0]["forces"])
    return found


def _collect(solver: Any, supercell: tuple[int, int, int], displacements: int, config: PhononConfig) -> Phonons:
    band_path = Cell(solver.primitive.cell).bandpath(npoints=config.points)
    path, places, names = band_path.get_linear_kpoint_axis()
    frequencies = solver.run_qpoints(band_path.kpts).frequencies
    solver.run_mesh(config.mesh)
    solver.run_thermal_properties(t_min=0, t_max=config.t_max, t_step=config.t_step, exclude_gamma_acoustic=True)
    found = solver.thermal_properties
    joule = 1.0 / units.mol * units.J
    thermal = {
        "temperature_K": found.temperatures,
        "free_energy_eV": found.free_energy * 1000 * joule,
        "entropy_eV_K": found.entropy * joule,
        "heat_capacity_eV_K": found.heat_capacity * joule,
    }
    return Phonons(
        phonopy=solver,
        supercell=supercell,
        displacements=displacements,
        path=np.asarray(path),
        qpoints=np.asarray(band_path.kpts),
        frequencies=np.asarray(frequencies),
        labels=_labels(names, places),
        thermal={name: np.asarray(values, dtype=np.float64) for name, values in thermal.items()},
    )


def _labels(names: Iterable[str], places: Iterable[float]) -> list[tuple[str, float]]:
    """Special points and where they are; two at one place, where the path jumps, as one, K|U."""
    found: dict[float, str] = {}
    for name, place in zip(names, places, strict=True):
        name = name.replace("G", "Γ")
        found[float(place)] = f"{found[float(place)]}|{name}" if float(place) in found else name
    return [(name, place) for place, name in found.items()]


def _supercell(atoms: Atoms, length: float) -> tuple[int, int, int]:
    """The fewest repeats with ``length`` (Å) between opposite faces."""
    heights = atoms.get_volume() / np.linalg.norm(
        np.cross(atoms.cell.array[[1, 2, 0]], atoms.cell.array[[2, 0, 1]]), axis=1
    )
    first, second, third = (max(1, math.ceil(length / height - 1e-6)) for height in heights)
    return first, second, third


def _csv(names: list[str], rows: np.ndarray) -> str:
    lines = [",".join(names), *(",".join(map(repr, row)) for row in rows.tolist())]
    return "\n".join(lines) + "\n"


def _phonopy() -> Any:
    try:
        import phonopy
        import phonopy.structure.atoms
    except ImportError:
        raise BackendError("Phonons need phonopy: pip install 'clebsch[phonons]'.") from None
    return phonopy
