"""Checks of what must not change an energy: rotation, inversion, translation, permutation, batching."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch

from clebsch.data import QUANTITIES, Batch, Configuration, Quantity
from clebsch.models import Prediction
from clebsch.o3 import random_rotation
from clebsch.ops import Edges
from clebsch.testing.contract import CheckResult, Comparison, PotentialLike, device_of, make_batch, predict, sizes_of
from clebsch.testing.systems import cluster, crystal, deformed, displaced, mixed_sizes, reordered, repeated

USUAL = (1e-9, 1e-4)
FAR = 1e3  # Å; a potential must not lose digits to the choice of origin


def check_rotation(potential: PotentialLike, *, tolerance: float | None = None, seed: int = 0) -> CheckResult:
    r"""Check that a rotation leaves every energy and turns forces, :math:`F \to R F`, and stress, :math:`R \sigma R^T`.

    Args:
        potential: the potential.
        tolerance: largest relative error; None for 1e-9 in float64, 1e-4 in lower precision.
        seed: of the random systems and rotation.

    Raises:
        ContractViolation: the error is larger.
    """
    meaning = "Energies must be invariant, forces and stress must turn with the atoms."
    comparison = Comparison("rotation", meaning, tolerance, USUAL, potential.dtype)
    rng = np.random.default_rng(seed)
    _compare_orthogonal(comparison, potential, random_rotation(rng), rng)
    return comparison.result()


def check_inversion(potential: PotentialLike, *, tolerance: float | None = None, seed: int = 0) -> CheckResult:
    """Check that improper rotations leave every energy: inversion, and a mirror plane of random orientation.

    Args:
        potential: the potential.
        tolerance: largest relative error; None for 1e-9 in float64, 1e-4 in lower precision.
        seed: of the random systems and the mirror plane.

    Raises:
        ContractViolation: the error is larger.
    """
    meaning = "A structure and its mirror image must have one energy; odd (pseudo-scalar) terms must not reach it."
    comparison = Comparison("inversion", meaning, tolerance, USUAL, potential.dtype)
    rng = np.random.default_rng(seed)
    _compare_orthogonal(comparison, potential, -np.eye(3), rng)
    rotation = random_rotation(rng)
    _compare_orthogonal(comparison, potential, rotation @ np.diag([1.0, 1.0, -1.0]) @ rotation.T, rng)
    return comparison.result()


def check_translation(potential: PotentialLike, *, tolerance: float | None = None, seed: int = 0) -> CheckResult:
    """Check that nothing changes with the origin, nor with the choice of images, cell vectors and periodic cell.

    A cluster and a crystal are moved by 1000 Å; atoms of the crystal are moved by lattice vectors; the lattice is
    described by other vectors; the cell is doubled.

    Args:
        potential: the potential.
        tolerance: largest relative error; None for 1e-9 in float64, 1e-4 in lower precision.
        seed: of the random systems and shifts.

    Raises:
        ContractViolation: the error is larger.
    """
    meaning = "Only differences of positions, and the periodic crystal itself, may matter."
    comparison = Comparison("translation", meaning, tolerance, USUAL, potential.dtype)
    rng = np.random.default_rng(seed)
    molecule, solid = cluster(potential.elements, rng), crystal(potential.elements, rng)
    shift = FAR * rng.normal(size=3)
    expected = predict(potential, [molecule])
    comparison.add_prediction("a cluster far away", predict(potential, [displaced(molecule, shift)]), expected)
    integers = rng.integers(-2, 3, (solid.num_atoms, 3))
    sheared = np.array([[1, 1, 0], [0, 1, -1], [0, 0, 1]]) @ solid.cell
    moved = {
        "a crystal far away": displaced(solid, shift),
        "a crystal with atoms moved by lattice vectors": displaced(solid, integers @ solid.cell),
        "a crystal in other cell vectors": replace(solid, cell=sheared),
    }
    expected = predict(potential, [solid], stress=True)
    for where, configuration in moved.items():
        comparison.add_prediction(where, predict(potential, [configuration], stress=True), expected)
    for axis in range(3):
        found = predict(potential, [repeated(solid, axis)], stress=True)
        comparison.add_prediction(f"a crystal doubled along vector {axis}", found, _doubled(expected))
    return comparison.result()


def check_permutation(potential: PotentialLike, *, tolerance: float | None = None, seed: int = 0) -> CheckResult:
    """Check that the order of atoms, and of the edges of one centre, does not matter.

    Args:
        potential: the potential.
        tolerance: largest relative error; None for 1e-9 in float64, 1e-4 in lower precision.
        seed: of the random systems and orders.

    Raises:
        ContractViolation: the error is larger.
    """
    meaning = "Atoms of one element are indistinguishable; their order is bookkeeping."
    comparison = Comparison("permutation", meaning, tolerance, USUAL, potential.dtype)
    rng = np.random.default_rng(seed)
    for configuration in (cluster(potential.elements, rng), crystal(potential.elements, rng, 4)):
        stress, where = bool(configuration.pbc.any()), configuration.origin
        expected = predict(potential, [configuration], stress=stress)
        order = rng.permutation(configuration.num_atoms)
        found = predict(potential, [reordered(configuration, order)], stress=stress)
        back = torch.as_tensor(np.argsort(order), device=device_of(potential))
        comparison.add_prediction(f"a {where} in another order", _of_atoms(found, back), expected)
        shuffled = _shuffle_edges(make_batch(potential, [configuration]), rng)
        found = potential(shuffled, stress=stress)
        comparison.add_prediction(f"a {where}, its edges in another order", found, expected)
    return comparison.result()


def check_batching(potential: PotentialLike, *, tolerance: float | None = None, seed: int = 0) -> CheckResult:
    """Check that a graph in a batch of mixed sizes gives the numbers it gives alone.

    Args:
        potential: the potential.
        tolerance: largest relative error; None for 1e-9 in float64, 1e-4 in lower precision.
        seed: of the random systems.

    Raises:
        ContractViolation: the error is larger.
    """
    meaning = "Graphs of one batch must not know of each other."
    comparison = Comparison("batching", meaning, tolerance, USUAL, potential.dtype)
    rng = np.random.default_rng(seed)
    mixed = mixed_sizes(potential.elements, potential.r_max, rng)
    _compare_batch(comparison, potential, mixed, stress=False)
    crystals = [crystal(potential.elements, rng, num_atoms) for num_atoms in (3, 1, 2)]
    _compare_batch(comparison, potential, crystals, stress=True)
    return comparison.result()


def _compare_orthogonal(
    comparison: Comparison, potential: PotentialLike, matrix: np.ndarray, rng: np.random.Generator
) -> None:
    """Compare predictions before and after r -> ``matrix`` r; the prediction before is turned instead."""
    for configuration in (cluster(potential.elements, rng), crystal(potential.elements, rng)):
        stress = bool(configuration.pbc.any())
        before = predict(potential, [configuration], stress=stress)
        after = predict(potential, [deformed(configuration, matrix)], stress=stress)
        turn = torch.as_tensor(matrix, device=before.energy.device)
        expected = _mapped(before, partial(_turned, turn))
        comparison.add_prediction(f"a {configuration.origin}", after, expected)


def _compare_batch(
    comparison: Comparison, potential: PotentialLike, configurations: Sequence[Configuration], *, stress: bool
) -> None:
    together = predict(potential, configurations, stress=stress)
    ends = np.cumsum([configuration.num_atoms for configuration in configurations])
    for graph, configuration in enumerate(configurations):
        alone = predict(potential, [configuration], stress=stress)
        atoms = torch.arange(ends[graph] - configuration.num_atoms, ends[graph], device=together.energy.device)
        part = _of_graph(_of_atoms(together, atoms), graph)
        comparison.add_prediction(f"a {configuration.origin} in a batch", part, alone, sizes_of(together))


def _mapped(
    prediction: Prediction, change: Callable[[Quantity, torch.Tensor], torch.Tensor], **others: torch.Tensor
) -> Prediction:
    """The prediction with the values of every quantity changed."""
    values = {name: (quantity, prediction.get(name)) for name, quantity in QUANTITIES.items()}
    changed = {name: change(quantity, value) for name, (quantity, value) in values.items() if value is not None}
    outputs = {name: changed.pop(name) for name in prediction.outputs if name in changed}
    return replace(prediction, **changed, **others, outputs=outputs)


def _turned(turn: torch.Tensor, quantity: Quantity, value: torch.Tensor) -> torch.Tensor:
    if quantity.character == "scalar":
        return value
    return value @ turn.T if quantity.character == "vector" else turn @ value @ turn.T


def _of_atoms(prediction: Prediction, atoms: torch.Tensor) -> Prediction:
    return _mapped(
        prediction,
        lambda quantity, value: value[atoms] if quantity.of == "atom" else value,
        node_energy=prediction.node_energy[atoms],
    )


def _of_graph(prediction: Prediction, graph: int) -> Prediction:
    one = slice(graph, graph + 1)
    return _mapped(
        prediction,
        lambda quantity, value: value if quantity.of == "atom" else value[one],
        layer_energy=prediction.layer_energy[one],
        interaction_energy=prediction.interaction_energy[one],
    )


def _doubled(prediction: Prediction) -> Prediction:
    """The prediction of two copies of one crystal."""

    def doubled(quantity: Quantity, value: torch.Tensor) -> torch.Tensor:
        if quantity.of == "atom":
            return torch.cat([value, value])
        return 2 * value if quantity.extensive else value

    twice = 2 * prediction.interaction_energy
    return _mapped(prediction, doubled, node_energy=prediction.node_energy.repeat(2), interaction_energy=twice)


def _shuffle_edges(batch: Batch, rng: np.random.Generator) -> Batch:
    """The batch with the edges of every centre in random order; centres stay sorted, as a batch promises."""
    keys = rng.random(batch.num_edges)
    order = torch.as_tensor(np.lexsort((keys, batch.centers.cpu().numpy())), device=batch.centers.device)
    edges = Edges.of(batch.centers[order], batch.neighbors[order], batch.species, batch.edges.num_elements)
    return replace(batch, edges=edges, shifts=batch.shifts[order])
