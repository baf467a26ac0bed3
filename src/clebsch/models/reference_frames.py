"""Reference frames: configurations with the energies and forces that a saved potential must reproduce."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from ase.data import atomic_numbers, covalent_radii

from clebsch.data import Configuration
from clebsch.data.neighbors import complete_cell
from clebsch.errors import CheckpointError, DamagedFileError
from clebsch.models.potential import Potential

# Largest deviations; those of float32 are ten and more times what rounding takes.
ENERGY_TOLERANCES = {torch.float64: 1e-9, torch.float32: 1e-6}
FORCE_TOLERANCES = {torch.float64: 1e-8, torch.float32: 1e-4}
MOST_EDGES = 1e7  # of one frame


@dataclass(frozen=True)
class ReferenceFrame:
    """A configuration without labels, and the ``energy`` (eV) and ``forces`` [atoms, 3] (eV/Å) of a potential."""

    configuration: Configuration
    energy: float
    forces: np.ndarray


def compute_frames(potential: Potential, configurations: Iterable[Configuration]) -> list[ReferenceFrame]:
    """Return ``configurations`` with what ``potential`` gives for them."""
    frames = []
    for configuration in configurations:
        bare = replace(configuration, labels={})
        prediction = potential(potential.batch([bare]), forces=True)
        frames.append(ReferenceFrame(bare, prediction.energy.item(), prediction.forces.cpu().numpy()))
    return frames


def verify_frames(potential: Potential, frames: Sequence[ReferenceFrame], path: str | Path) -> None:
    """Compute ``frames`` again with ``potential`` and compare, see `difference_of_frame`.

    Raises:
        CheckpointError: an energy or a force differs by more than rounding; the message shows the numbers.
    """
    e0 = dict(zip(potential.elements, potential.get_buffer("e0").tolist(), strict=True))
    for frame, found in zip(frames, compute_frames(potential, [frame.configuration for frame in frames]), strict=True):
        difference = difference_of_frame(frame, found, e0, potential.dtype)
        if difference is not None:
            raise CheckpointError(
                f"'{path}' does not give the energies and forces stored with it ({potential.dtype}, backend "
                f"'{potential.backend}', device {potential.device}). {difference}. "
                "The weights are damaged, or float32 is too coarse for them: copy the file again, or load it with "
                "dtype=torch.float64; verify=False loads it unchecked."
            )


def difference_of_frame(
    frame: ReferenceFrame, found: ReferenceFrame, e0: Mapping[str, float], dtype: torch.dtype
) -> str | None:
    """Return what is different between a frame and the same computed again; None if it is no more than rounding.

    |E - E_ref| <= t (|E_ref - sum E0| + atoms (1 eV + f 1 Å)) and max |F - F_ref| <= u (f + 1 eV/Å) with
    f = max |F_ref|, t = 1e-9 and u = 1e-8 in float64, t = 1e-6 and u = 1e-4 in float32.

    Args:
        frame: as stored.
        found: as computed.
        e0: energies of isolated atoms in eV by element.
        dtype: of the computation.
    """
    atoms = frame.configuration.num_atoms
    interaction = abs(frame.energy - sum(e0[symbol] for symbol in frame.configuration.symbols))
    largest = np.abs(frame.forces).max()
    energy_limit = ENERGY_TOLERANCES[dtype] * (interaction + atoms * (1.0 + largest))
    forces_limit = FORCE_TOLERANCES[dtype] * (largest + 1.0)
    forces_error = np.abs(found.forces - frame.forces).max()
    # Written so that NaN fails.
    if abs(found.energy - frame.energy) <= energy_limit and forces_error <= forces_limit:
        return None
    return (
        f"{frame.configuration.origin}, {atoms} atoms: energy expected {frame.energy:.9f} eV, got "
        f"{found.energy:.9f} eV (tolerance {energy_limit:.1e}); largest force difference {forces_error:.3e} eV/Å "
        f"(tolerance {forces_limit:.1e})"
    )


def frames_to_tensors(frames: Sequence[ReferenceFrame]) -> dict[str, torch.Tensor]:
    """Return ``frames`` as tensors, atoms of all frames one after another."""
    configurations = [frame.configuration for frame in frames]
    return {
        "num_atoms": torch.tensor([configuration.num_atoms for configuration in configurations]),
        "numbers": torch.from_numpy(np.concatenate([configuration.numbers for configuration in configurations])),
        "positions": torch.from_numpy(np.concatenate([configuration.positions for configuration in configurations])),
        "cell": torch.from_numpy(np.stack([configuration.cell for configuration in configurations])),
        "pbc": torch.from_numpy(np.stack([configuration.pbc for configuration in configurations])),
        "energy": torch.tensor([frame.energy for frame in frames], dtype=torch.float64),
        "forces": torch.from_numpy(np.concatenate([frame.forces for frame in frames])),
    }


def frames_from_tensors(tensors: Mapping[str, torch.Tensor], r_max: float) -> list[ReferenceFrame]:
    """Return the frames that ``frames_to_tensors`` was given, for a cutoff ``r_max`` in Å.

    Raises:
        DamagedFileError: there is no frame, the tensors do not fit together, or a frame is so dense that its neighbours
            would not fit into memory.
    """
    arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
    frames_in_file, atoms_in_file = len(arrays["num_atoms"]), int(arrays["num_atoms"].sum())
    shapes = {"energy": (frames_in_file,), "numbers": (atoms_in_file,), "forces": (atoms_in_file, 3)}
    wrong = [name for name, shape in shapes.items() if arrays[name].shape != shape]
    if wrong or not frames_in_file or arrays["num_atoms"].min() < 1:
        raise DamagedFileError(
            f"The reference frames of the file make no sense ({', '.join(wrong) or 'num_atoms'}). Copy the file again."
        )
    ends = np.cumsum(arrays["num_atoms"])
    frames = []
    for index, end in enumerate(ends):
        atoms = slice(end - arrays["num_atoms"][index], end)
        configuration = Configuration(
            arrays["numbers"][atoms],
            arrays["positions"][atoms],
            arrays["cell"][index],
            arrays["pbc"][index],
            origin=f"reference frame {index}",
        )
        _check_density(configuration, r_max)
        frames.append(ReferenceFrame(configuration, float(arrays["energy"][index]), arrays["forces"][atoms]))
    return frames


def _check_density(configuration: Configuration, r_max: float) -> None:
    """Raise DamagedFileError if there are more than `MOST_EDGES` edges, as the density says."""
    open_directions = ~configuration.pbc
    box = complete_cell(configuration.cell, configuration.pbc)
    box[open_directions] *= np.ptp(configuration.positions, axis=0).max() + r_max
    edges = configuration.num_atoms**2 * 4 / 3 * np.pi * r_max**3 / abs(np.linalg.det(box))
    if not edges <= MOST_EDGES:
        raise DamagedFileError(
            f"{configuration.origin}: {configuration.num_atoms} atoms have about {edges:.1e} neighbours within r_max = "
            f"{r_max:g} Å; the limit is {MOST_EDGES:.0e}. The file is damaged: copy it again."
        )


def missing_elements(elements: Sequence[str], configurations: Iterable[Configuration]) -> set[str]:
    """Return the ``elements`` that occur in none of the configurations."""
    return set(elements).difference(*(configuration.symbols for configuration in configurations))


def example_frames(elements: Sequence[str]) -> list[Configuration]:
    """Return a cluster and a periodic box in which every element occurs, with distances like those of bonds."""
    rng = np.random.default_rng(0)
    numbers = np.array([atomic_numbers[symbol] for symbol in elements])
    frames = []
    for index, periodic in enumerate((False, True)):
        chosen = rng.permutation(np.resize(numbers, max(6, len(numbers))))
        positions = _cluster(chosen, rng)
        cell = np.diag(np.ptp(positions, axis=0) + 2.5) if periodic else np.zeros((3, 3))
        frames.append(Configuration(chosen, positions, cell, np.full(3, periodic), origin=f"example frame {index}"))
    return frames


def _cluster(numbers: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Positions [atoms, 3] in Å: each atom near an earlier one, no two closer than 0.9 times their bond length."""
    radii = np.maximum(covalent_radii[numbers], 0.3)
    positions = np.zeros((1, 3))
    for atom in range(1, len(numbers)):
        stretch = 1.0
        while True:
            anchor = rng.integers(atom)
            direction = rng.normal(size=3)
            step = stretch * (radii[atom] + radii[anchor]) * direction / np.linalg.norm(direction)
            distances = np.linalg.norm(positions[anchor] + step - positions, axis=1)
            if (distances >= 0.9 * (radii[atom] + radii[:atom])).all():
                break
            stretch *= 1.02  # A crowded place: look a little farther out.
        positions = np.vstack([positions, positions[anchor] + step])
    return positions
