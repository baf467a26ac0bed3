"""A small linear potential fitted to forces, which says what energies and stresses belong to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from clebsch.data import Configuration, build_graphs, compute_statistics, find_elements, fit_e0
from clebsch.evaluation import Comparison, compare
from clebsch.models import Potential, PotentialConfig
from clebsch.models.presets import linear_ace
from clebsch.training.least_squares import LeastSquaresConfig, fit_least_squares

FEWEST_FRAMES = 8
R_MAX = 5.0
MOST_COLUMNS = 1200
MOST_CHANNELS = 16
COUPLINGS = 9  # of the product basis per element and channel
VALUES_PER_COLUMN = 10
FEWEST_PER_COLUMN = 3
FEWEST_ATOMS, MOST_ATOMS = 400, 4000  # in the fit
MOST_JUDGED = 20_000  # atoms
LARGEST_FRAME = 1000  # atoms
ATOMS_PER_BATCH = 200  # whose features are in memory at once
RIDGES = (1e-10, 1e-8, 1e-6)


@dataclass(frozen=True)
class Probe:
    """What a potential fitted to some of the forces of a set predicts of the others.

    Attributes:
        frames: the frames that are judged.
        comparison: their labels beside the predictions.
        explained: 1 - (mean square error) / (mean square) of the forces of frames that were not fitted.
        fitted: number of frames that were fitted.
        determined: whether these have three or more force components for each coefficient.
    """

    frames: list[Configuration]
    comparison: Comparison
    explained: float
    fitted: int
    determined: bool

    def force_errors(self) -> np.ndarray:
        """Root mean square error of the forces of every frame, eV/Å."""
        square = (self.comparison.error("forces") ** 2).sum(axis=1)
        starts = np.cumsum(self.comparison.num_atoms) - self.comparison.num_atoms
        return np.sqrt(np.add.reduceat(square, starts) / (3 * self.comparison.num_atoms))


def probe(frames: Sequence[Configuration], *, energies: bool = False, seed: int = 0) -> Probe | None:
    """Fit half of the frames with forces, or fewer if they are many, and predict all.

    Args:
        frames: a set of configurations.
        energies: fit the energies too, which must belong to the forces; forces at one cell do not say how the energy
            depends on the cell.
        seed: of the choice of frames and the random channels.

    Returns:
        None if fewer than eight frames of at most 1,000 atoms have forces.
    """
    usable = [frame for frame in frames if "forces" in frame.labels and 1 < frame.num_atoms <= LARGEST_FRAME]
    if len(usable) < FEWEST_FRAMES:
        return None
    order = np.random.default_rng(seed).permutation(len(usable))
    elements = find_elements(usable)
    channels = max(2, min(MOST_CHANNELS, MOST_COLUMNS // (len(elements) * COUPLINGS)))
    columns = channels * COUPLINGS * len(elements)
    atoms = min(max(columns * VALUES_PER_COLUMN // 3, FEWEST_ATOMS), MOST_ATOMS)
    fitted, judged = _divide([usable[index] for index in order], atoms)
    graphs = build_graphs(fitted, elements, R_MAX)
    e0 = fit_e0(fitted, elements).e0 if energies else dict.fromkeys(elements, 0.0)
    statistics = compute_statistics(graphs, elements, e0)
    model = linear_ace(elements=elements, r_max=R_MAX, num_channels=channels, l_max=2)
    model = model.model_copy(update={"avg_num_neighbors": max(statistics.average_num_neighbors, 1.0)})
    shift = (statistics.energy_mean_per_atom or 0.0) if energies else 0.0
    potential = Potential(PotentialConfig(model=model), e0=e0, shift=shift, dtype="float64", seed=seed)
    held_out = build_graphs(judged[: max(FEWEST_FRAMES // 2, len(fitted) // 2)], elements, R_MAX)
    batch_size = max(1, ATOMS_PER_BATCH * len(fitted) // sum(frame.num_atoms for frame in fitted))
    settings = LeastSquaresConfig(energy_weight=1.0 if energies else 0.0, ridges=RIDGES, batch_size=batch_size)
    fit_least_squares(potential, graphs, held_out, settings)
    everything = [*judged, *fitted]
    comparison = compare(potential, everything)
    rows = int(comparison.num_atoms[: len(judged)].sum())
    error, label = comparison.error("forces")[:rows], comparison.labels["forces"][:rows]
    explained = 1.0 - float((error**2).mean() / max((label**2).mean(), 1e-30))
    determined = 3 * sum(frame.num_atoms for frame in fitted) >= FEWEST_PER_COLUMN * columns
    return Probe(everything, comparison, explained, len(fitted), determined)


def _divide(frames: list[Configuration], atoms: int) -> tuple[list[Configuration], list[Configuration]]:
    """Frames to fit, of so many atoms but no more than half of all frames, and others to judge."""
    ends = np.cumsum([frame.num_atoms for frame in frames])
    count = int(np.clip(np.searchsorted(ends, atoms) + 1, 1, len(frames) // 2))
    last = int(np.searchsorted(ends, ends[count - 1] + MOST_JUDGED)) + 1
    return frames[:count], frames[count:last]
