"""Errors of a potential on labelled configurations, by quantity of the table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, islice
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int

from clebsch.data import QUANTITIES, Configuration, Graph, build_graph, collate
from clebsch.data.quantities import derivatives
from clebsch.errors import DataError
from clebsch.models import Potential

MILLI = 1000.0
BATCH_SIZE = 16  # configurations of one call
Values = dict[str, Float[np.ndarray, "..."]]


@dataclass(frozen=True)
class Comparison:
    """Labels beside predictions, in the units of the table.

    Attributes:
        num_atoms: of every configuration.
        symbols: [atoms], elements of the rows of what atoms have.
        labels: by quantity that is labelled and predicted, [configurations, …] or [atoms, …]; NaN where there is none.
        predictions: of the same quantities, in the same shapes.
    """

    num_atoms: Int[np.ndarray, " frames"]
    symbols: np.ndarray
    labels: Values
    predictions: Values

    def error(self, quantity: str, *, per_atom: bool = False) -> Float[np.ndarray, "..."]:
        """Return prediction minus label, NaN without label; with ``per_atom`` over the number of atoms."""
        difference = self.predictions[quantity] - self.labels[quantity]
        return difference / self.num_atoms.reshape(-1, *[1] * (difference.ndim - 1)) if per_atom else difference

    def labelled(self, quantity: str) -> bool:
        """Whether any value of ``quantity`` has a label."""
        return quantity in self.labels and not np.isnan(self.labels[quantity]).all()

    @classmethod
    def join(cls, parts: Sequence[Comparison]) -> Comparison:
        """Return the configurations of ``parts``, one after another, with the quantities that are in all parts."""
        names = [name for name in parts[0].predictions if all(name in part.predictions for part in parts)]
        return cls(
            num_atoms=np.concatenate([part.num_atoms for part in parts]),
            symbols=np.concatenate([part.symbols for part in parts]),
            labels={name: np.concatenate([part.labels[name] for part in parts]) for name in names},
            predictions={name: np.concatenate([part.predictions[name] for part in parts]) for name in names},
        )


@dataclass(frozen=True)
class Accuracy:
    """Errors over n configurations, of what is labelled: ``accuracy["forces_rmse_meV_A"]``.

    Attributes:
        n: number of configurations.
        errors: by `Quantity.metric`: MAE and RMSE over all components, in thousandths of the quantity's unit; of what
            is extensive also per atom.
        of_element: RMSE of what atoms have, by metric and element.
    """

    n: int
    errors: dict[str, float]
    of_element: dict[str, dict[str, float]]

    def __getitem__(self, metric: str) -> float:
        return self.errors[metric]

    def get(self, metric: str) -> float | None:
        """Return an error, None where there are no labels of that kind."""
        return self.errors.get(metric)

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers, for JSON."""
        return {"n": self.n, **self.errors, **{f"{name}_of_element": row for name, row in self.of_element.items()}}


def compare(
    potential: Potential, frames: Sequence[Configuration | Graph], *, batch_size: int = BATCH_SIZE
) -> Comparison:
    """Predict what ``frames`` are labelled with, in batches of ``batch_size``, and set it beside the labels.

    Raises:
        DataError: no frames, an element the potential does not know, or a prediction that is not finite.
    """
    comparison = compare_batches(potential, cut(frames, batch_size), labelled_names(frames))
    require_finite(comparison, frames)
    return comparison


def cut(frames: Sequence[Configuration | Graph], batch_size: int) -> list[list[Configuration | Graph]]:
    """Return ``frames`` in batches, in their order; those with a label that needs a volume stay apart.

    Raises DataError if there are none.
    """
    if not frames:
        raise DataError("There is nothing to evaluate: expected at least one configuration, got none.")
    batches = []
    for _, alike in groupby(frames, key=lambda frame: any(QUANTITIES[name].per_volume for name in frame.labels)):
        while batch := list(islice(alike, batch_size)):
            batches.append(batch)
    return batches


def labelled_names(frames: Iterable[Configuration | Graph]) -> set[str]:
    """Return the quantities that any of ``frames`` is labelled with."""
    return {name for frame in frames for name in frame.labels}


def compare_batches(
    potential: Potential, batches: Iterable[Sequence[Configuration | Graph]], names: Iterable[str]
) -> Comparison:
    """Set what ``potential`` predicts of the quantities ``names`` beside the labels, finite or not.

    Args:
        potential: the potential, which is not changed.
        batches: what one call takes; those with labels that need a volume go together.
        names: of quantities; what the potential does not predict is left out.
    """
    chosen = set(names)
    wanted = [name for name in QUANTITIES if name in chosen]
    judged = potential.frozen() if isinstance(potential, Potential) else potential
    graphs = ([_graph(potential, frame) for frame in batch] for batch in batches)
    num_atoms, symbols, labels, values = zip(*(_compare_batch(judged, batch, wanted) for batch in graphs), strict=True)
    predicted = [name for name in wanted if all(name in part for part in values)]
    return Comparison(
        num_atoms=np.concatenate(num_atoms),
        symbols=np.concatenate(symbols),
        labels={name: np.concatenate([part[name] for part in labels]) for name in predicted},
        predictions={name: np.concatenate([part[name].cpu().numpy() for part in values]) for name in predicted},
    )


def accuracy(comparison: Comparison) -> Accuracy:
    """Reduce a comparison to MAE = ⟨|Δ|⟩ and RMSE = ⟨Δ²⟩^½ over the components that carry a label."""
    errors, of_element = {}, {}
    elements = sorted(set(comparison.symbols.tolist()))
    for name in filter(comparison.labelled, comparison.predictions):
        quantity, there = QUANTITIES[name], ~np.isnan(comparison.labels[name])
        for per_atom in (False, True) if quantity.per_atom else (False,):
            difference = MILLI * comparison.error(name, per_atom=per_atom)[there]
            errors[quantity.metric("mae", per_atom=per_atom)] = float(np.abs(difference).mean())
            errors[quantity.metric("rmse", per_atom=per_atom)] = _rms(difference)
        if quantity.of == "atom":
            difference, found = MILLI * comparison.error(name), {}
            for symbol in elements:
                chosen = comparison.symbols == symbol
                if there[chosen].any():
                    found[symbol] = _rms(difference[chosen][there[chosen]])
            of_element[quantity.metric("rmse")] = found
    return Accuracy(len(comparison.num_atoms), errors, of_element)


def _compare_batch(
    potential: Potential, graphs: Sequence[Graph], names: Sequence[str]
) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray], dict[str, torch.Tensor]]:
    """Numbers of atoms, elements, labels and predictions of one batch, the latter NaN where no graph has a label.

    The graphs go in without their labels, since some may have one that others lack. Predictions stay on the device, so
    that nothing waits for them.
    """
    batch = collate([replace(graph, labels={}) for graph in graphs])
    present = [name for name in names if any(name in graph.labels for graph in graphs)]
    prediction = potential(batch.to(potential.device), **derivatives(present))
    labels = {name: _labels(graphs, name) for name in names}
    nothing = {name: torch.full(labels[name].shape, torch.nan) for name in names if name not in present}
    values = {name: value.detach() for name in present if (value := prediction.get(name)) is not None}
    symbols = np.asarray(potential.elements)[batch.species.numpy()]
    return batch.num_atoms.numpy(), symbols, labels, {**nothing, **values}


def _labels(graphs: Sequence[Graph], name: str) -> np.ndarray:
    """Labels of the graphs, one after another, NaN where there is none."""
    quantity = QUANTITIES[name]
    values = [
        graph.labels[name].numpy() if name in graph.labels else np.full(quantity.shape(graph.num_atoms), np.nan)
        for graph in graphs
    ]
    return np.concatenate(values) if quantity.of == "atom" else np.stack(values)


def _graph(potential: Potential, frame: Configuration | Graph) -> Graph:
    return frame if isinstance(frame, Graph) else build_graph(frame, potential.elements, potential.r_max)


def require_finite(comparison: Comparison, frames: Sequence[Configuration | Graph]) -> None:
    """Raise DataError for a prediction that is not finite; ``frames`` are those of the comparison."""
    for name, predicted in comparison.predictions.items():
        wrong = ~np.isfinite(predicted) & ~np.isnan(comparison.labels[name])
        if wrong.any():
            row = int(np.argwhere(wrong)[0, 0])
            if QUANTITIES[name].of == "atom":
                row = int(np.searchsorted(np.cumsum(comparison.num_atoms), row, side="right"))
            raise DataError(f"{frames[row].origin}: the prediction of {name} is not finite; look at the positions.")


def _rms(difference: np.ndarray) -> float:
    return float(np.sqrt((difference**2).mean()))
