"""How far a potential is from what a published code gave."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from clebsch.interop.published import Array, PublishedFrame
from clebsch.models import Potential
from clebsch.models.potential import edge_vectors


@dataclass(frozen=True)
class Difference:
    """Largest differences of one frame, relative to the largest published value of the kind; None where not published.

    Attributes:
        energy: of the total energy.
        forces: of the forces.
        stress: of the stress.
        layers: of the readouts of all layers, atom by atom.
    """

    energy: float
    forces: float
    stress: float | None
    layers: float

    @property
    def largest(self) -> float:
        """The largest of all; NaN where one is."""
        return float(np.max([self.energy, self.forces, self.stress or 0.0, self.layers]))


def compare(potential: Potential, frame: PublishedFrame, *, average_energy: float = 0.0) -> Difference:
    """Evaluate ``potential`` for ``frame`` and compare.

    Args:
        potential: ours.
        frame: results of a published code.
        average_energy: what the code adds per structure, in eV (PACE).
    """
    labels = frame.configuration.labels
    batch = potential.batch([frame.configuration])
    prediction = potential(batch, forces=True, stress="stress" in labels)
    with torch.no_grad():
        vectors = edge_vectors(batch, batch.positions, batch.cell).to(potential.dtype)
        layers = potential.model(vectors, batch.edges).readouts["energy"].numpy()
    stress = None
    if prediction.stress is not None:
        stress = relative_difference(prediction.stress[0].numpy(), labels["stress"])
    return Difference(
        energy=relative_difference(prediction.energy.numpy() + average_energy, labels["energy"]),
        forces=relative_difference(prediction.forces.numpy(), labels["forces"]),
        stress=stress,
        layers=relative_difference(layers[:, layers.shape[1] - frame.layer_energy.shape[1] :], frame.layer_energy),
    )


def relative_difference(found: Float[Array, "..."], expected: Any) -> float:
    """max |found - expected| / max |expected|; the difference itself where everything expected is zero."""
    expected = np.asarray(expected, dtype=np.float64)
    return float(np.abs(found - expected).max() / (np.abs(expected).max() or 1.0))
