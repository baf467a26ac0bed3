"""Errors of a potential on labelled configurations, in meV and meV/Å."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import groupby, islice
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from clebsch.data import Batch, Configuration, Graph, build_graph, collate
from clebsch.errors import DataError
from clebsch.models import Potential, Prediction

MILLI = 1000.0
METRICS = {"rmse": ("energy_rmse_meV", "force_rmse_meV_A"), "mae": ("energy_mae_meV", "force_mae_meV_A")}


@dataclass(frozen=True)
class Comparison:
    """Labels beside predictions; a missing label is NaN.

    Energies in eV per configuration, forces in eV/Å per atom, stress in eV/Å³; ``symbols`` names the element of every
    row of the forces.
    """

    num_atoms: Int[np.ndarray, "frames"]
    symbols: np.ndarray
    energy_label: Float[np.ndarray, "frames"]
    energy: Float[np.ndarray, "frames"]
    forces_label: Float[np.ndarray, "atoms 3"]
    forces: Float[np.ndarray, "atoms 3"]
    stress_label: Float[np.ndarray, "frames 3 3"]
    stress: Float[np.ndarray, "frames 3 3"]


@dataclass(frozen=True)
class Accuracy:
    """Errors over n configurations; None where there are no labels of that kind.

    Energy errors are per configuration (meV) and, where the name says so, per atom; a force error is over Cartesian
    components (meV/Å), a stress error over tensor components (meV/Å³).
    """

    n: int
    energy_mae_meV: float | None
    energy_rmse_meV: float | None
    energy_rmse_meV_per_atom: float | None
    force_mae_meV_A: float | None
    force_rmse_meV_A: float | None
    force_rmse_meV_A_of_element: dict[str, float]
    stress_rmse_meV_A3: float | None

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers, for JSON."""
        return asdict(self)


def compare(potential: Potential, frames: Sequence[Configuration | Graph], *, batch_size: int = 16) -> Comparison:
    """Predict labelled ``frames`` in batches of ``batch_size`` and set the predictions beside the labels.

    Raises:
        DataError: no frames, an element the potential does not know, or a prediction that is not finite.
    """
    if not frames:
        raise DataError("There is nothing to evaluate: expected at least one configuration, got none.")
    parts = []
    for graphs in _batches((_graph(potential, frame) for frame in frames), batch_size):
        # Without labels, since some frames of a batch may have one that others lack.
        batch = collate([replace(graph, energy=None, forces=None, stress=None) for graph in graphs])
        prediction = potential(batch.to(potential.device), forces=True, stress=graphs[0].stress is not None)
        parts.append(_compare_batch(potential, graphs, batch, prediction))
    return Comparison(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def accuracy(comparison: Comparison) -> Accuracy:
    """Reduce a comparison to MAE = ⟨|Δ|⟩ and RMSE = ⟨Δ²⟩^½ over the components that carry a label."""
    energy = MILLI * (comparison.energy - comparison.energy_label)
    forces = MILLI * (comparison.forces - comparison.forces_label)
    elements = sorted(set(comparison.symbols.tolist()))
    by_element = {symbol: _rmse(forces[comparison.symbols == symbol]) for symbol in elements}
    return Accuracy(
        n=len(comparison.num_atoms),
        energy_mae_meV=_mae(energy),
        energy_rmse_meV=_rmse(energy),
        energy_rmse_meV_per_atom=_rmse(energy / comparison.num_atoms),
        force_mae_meV_A=_mae(forces),
        force_rmse_meV_A=_rmse(forces),
        force_rmse_meV_A_of_element={symbol: value for symbol, value in by_element.items() if value is not None},
        stress_rmse_meV_A3=_rmse(MILLI * (comparison.stress - comparison.stress_label)),
    )


def _graph(potential: Potential, frame: Configuration | Graph) -> Graph:
    return frame if isinstance(frame, Graph) else build_graph(frame, potential.elements, potential.r_max)


def _batches(graphs: Iterable[Graph], batch_size: int) -> Iterator[list[Graph]]:
    """Cut ``graphs`` into batches, in their order; those with a stress label, which needs a cell, stay apart."""
    for _, alike in groupby(graphs, key=lambda graph: graph.stress is not None):
        while batch := list(islice(alike, batch_size)):
            yield batch


def _compare_batch(potential: Potential, graphs: list[Graph], batch: Batch, prediction: Prediction) -> tuple:
    """The columns of `Comparison` for one batch, in the order of its fields."""
    energy, forces = _array(prediction.energy), _array(prediction.forces)
    finite = np.isfinite(energy) & _per_graph_finite(forces, graphs)
    if not finite.all():
        bad = graphs[int(np.argmin(finite))]
        raise DataError(f"{bad.origin}: the predicted energy or forces are not finite; look at the positions.")
    labels = _labels(graphs)
    stress = _array(prediction.stress) if prediction.stress is not None else np.full((len(graphs), 3, 3), np.nan)
    symbols = np.asarray(potential.elements)[_array(batch.species)]
    return _array(batch.num_atoms), symbols, labels[0], energy, labels[1], forces, labels[2], stress


def _labels(graphs: list[Graph]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Energies [graphs], forces [atoms, 3] and stresses [graphs, 3, 3] of the graphs, NaN where there is none."""
    energy = np.array([np.nan if graph.energy is None else float(graph.energy) for graph in graphs])
    forces = [np.full((len(g.species), 3), np.nan) if g.forces is None else _array(g.forces) for g in graphs]
    stress = [np.full((3, 3), np.nan) if graph.stress is None else _array(graph.stress) for graph in graphs]
    return energy, np.concatenate(forces), np.stack(stress)


def _per_graph_finite(forces: np.ndarray, graphs: list[Graph]) -> np.ndarray:
    ends = np.cumsum([len(graph.species) for graph in graphs])
    return np.array([bool(np.isfinite(part).all()) for part in np.split(forces, ends[:-1])])


def _array(tensor: Any) -> np.ndarray:
    return tensor.detach().cpu().numpy()


def _mae(difference: np.ndarray) -> float | None:
    labelled = difference[~np.isnan(difference)]
    return float(np.abs(labelled).mean()) if labelled.size else None


def _rmse(difference: np.ndarray) -> float | None:
    labelled = difference[~np.isnan(difference)]
    return float(np.sqrt((labelled**2).mean())) if labelled.size else None
