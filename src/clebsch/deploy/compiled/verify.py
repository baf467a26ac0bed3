"""Whether a compiled library reproduces its reference frames."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from clebsch.data import Configuration, neighbor_list
from clebsch.data.graph import species_of
from clebsch.deploy.compiled.library import CompiledPotential, CompiledResult
from clebsch.errors import CheckpointError
from clebsch.models.reference_frames import ReferenceFrame, difference_of_frame


def compute_configuration(library: CompiledPotential, configuration: Configuration) -> CompiledResult:
    """Return what a library gives for a configuration; DataError as in `CompiledPotential.compute`."""
    species = species_of(configuration, library.elements)
    centers, neighbors, shifts = neighbor_list(
        configuration.positions, configuration.cell, configuration.pbc, library.r_max
    )
    positions = configuration.positions
    vectors = positions[neighbors] - positions[centers] + shifts @ configuration.cell
    first = np.searchsorted(centers, np.arange(len(species) + 1))
    return library.compute(species, (first, neighbors, vectors))


def verify_library(library: CompiledPotential, name: str | Path) -> int:
    """Compute the reference frames that a library carries, compare, and return how many there are.

    Args:
        library: the library.
        name: what errors call it.

    Raises:
        CheckpointError: an energy or a force differs by more than rounding (`difference_of_frame`).
    """
    e0 = dict(zip(library.elements, library.metadata["e0"], strict=True))
    frames = library.frames()
    for frame in frames:
        found = compute_configuration(library, frame.configuration)
        again = ReferenceFrame(frame.configuration, found.energy, found.forces)
        difference = difference_of_frame(frame, again, e0, getattr(torch, library.dtype))
        if difference is not None:
            raise CheckpointError(
                f"'{name}' does not give the energies and forces that it carries ({library.dtype}, "
                f"{library.processor}). {difference}. Compile it again; float32 may be too coarse for the potential: "
                "--dtype float64."
            )
    return len(frames)
