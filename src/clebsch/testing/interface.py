"""Checks of the interface: what a prediction holds, and graphs without edges or atoms."""

from __future__ import annotations

import numpy as np
import torch

from clebsch.data import QUANTITIES, Batch, build_graph, collate
from clebsch.models import Prediction
from clebsch.testing.contract import (
    CheckResult,
    Comparison,
    PotentialLike,
    device_of,
    make_batch,
    parameters_of,
    predict,
    sizes_of,
)
from clebsch.testing.systems import cluster, crystal, empty_graph, isolated_atom, mixed_sizes

USUAL = (1e-9, 1e-4)


def check_prediction(potential: PotentialLike, *, tolerance: float | None = None, seed: int = 0) -> CheckResult:
    """Check shapes and dtypes of a prediction, that its energies agree, and that the batch it is for is left alone.

    Args:
        potential: the potential.
        tolerance: largest relative error; None for 1e-9 in float64, 1e-4 in lower precision.
        seed: of the random systems.

    Raises:
        ContractViolation: the error is larger, or something has the wrong shape or dtype.
    """
    meaning = "A prediction must hold what was asked for, in eV, float64 and its documented shape."
    comparison = Comparison("prediction", meaning, tolerance, USUAL, potential.dtype)
    rng = np.random.default_rng(seed)
    batch = make_batch(potential, mixed_sizes(potential.elements, potential.r_max, rng))
    before = batch.positions.clone()
    prediction = potential(batch)
    if batch.positions.requires_grad or not torch.equal(batch.positions, before):
        comparison.fail("the potential changed the positions of the batch it was given")
    _check_shapes(comparison, prediction, batch, stress=False)
    pooled = torch.zeros_like(prediction.energy, dtype=prediction.node_energy.dtype)
    pooled = pooled.index_add(0, batch.graph_index, prediction.node_energy)
    size = sizes_of(prediction)["energy"]
    comparison.add("sum of node_energy", pooled, prediction.energy, size, "eV")
    comparison.add("energy without forces", potential(batch, forces=False).energy, prediction.energy, size, "eV")
    attached = potential(batch, create_graph=True).forces
    if parameters_of(potential) and not (attached is not None and attached.requires_grad):
        comparison.fail("with create_graph the forces must be differentiable")
    crystals = make_batch(potential, [crystal(potential.elements, rng, num_atoms) for num_atoms in (2, 1)])
    _check_shapes(comparison, potential(crystals, stress=True), crystals, stress=True)
    return comparison.result()


def check_no_edges(potential: PotentialLike, *, tolerance: float | None = None, seed: int = 0) -> CheckResult:
    """Check batches without any edge, graphs without atoms, and that both can be trained on.

    Args:
        potential: the potential.
        tolerance: largest relative error; None for 1e-9 in float64, 1e-4 in lower precision.
        seed: of the random systems.

    Raises:
        ContractViolation: the error is larger, or the potential raises an exception.
    """
    meaning = "Atoms without neighbours and graphs without atoms are ordinary input."
    comparison = Comparison("no_edges", meaning, tolerance, USUAL, potential.dtype)
    try:
        _compare_without_edges(comparison, potential, np.random.default_rng(seed))
    except Exception as error:
        comparison.fail(f"{type(error).__name__}: {error}")
    return comparison.result()


def _compare_without_edges(comparison: Comparison, potential: PotentialLike, rng: np.random.Generator) -> None:
    elements, device = tuple(potential.elements), device_of(potential)
    atom = isolated_atom(elements[0])
    with_edges = predict(potential, [atom, cluster(elements, rng)])
    sizes = sizes_of(with_edges)
    alone = predict(potential, [atom])
    comparison.add("energy of a batch without edges", alone.energy[0], with_edges.energy[0], sizes["energy"], "eV")
    nothing = torch.zeros(1, 3, dtype=torch.float64, device=device)
    comparison.add("forces without edges", alone.forces, nothing, sizes["forces"], "eV/Å")
    graph = build_graph(atom, elements, potential.r_max)
    padded = potential(collate([graph, empty_graph(len(elements)), graph]).to(device))
    expected = torch.stack([alone.energy[0], torch.zeros_like(alone.energy[0]), alone.energy[0]])
    comparison.add("energies around a graph without atoms", padded.energy, expected, sizes["energy"], "eV")
    empty = collate([empty_graph(len(elements))]).to(device)
    prediction = potential(empty)
    comparison.add("energy of no atoms", prediction.energy, torch.zeros_like(expected[:1]), sizes["energy"], "eV")
    _check_shapes(comparison, prediction, empty, stress=False)
    parameters = parameters_of(potential)
    if parameters:
        trained = predict(potential, [atom], create_graph=True)
        loss = trained.energy.sum() + (0.0 if trained.forces is None else trained.forces.square().sum())
        gradients = torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)
        if not all(bool(gradient.isfinite().all()) for gradient in gradients):
            comparison.fail("the gradient of a loss on a batch without edges is not finite")


def _check_shapes(comparison: Comparison, prediction: Prediction, batch: Batch, *, stress: bool) -> None:
    atoms, graphs = len(batch.species), batch.num_graphs
    shapes = {
        "node_energy": (atoms,),
        "interaction_energy": (graphs,),
        "layer_energy": (graphs, prediction.layer_energy.shape[-1]),
    }
    asked = ("energy", "forces", "stress") if stress else ("energy", "forces")
    for name, quantity in QUANTITIES.items():
        if name in asked or prediction.get(name) is not None:
            shapes[name] = (atoms if quantity.of == "atom" else graphs, *quantity.components)
    if not stress and prediction.stress is not None:
        comparison.fail("a stress that was not asked for")
    for name, shape in shapes.items():
        value = prediction.get(name)
        if value is None or tuple(value.shape) != shape or value.dtype != torch.float64:
            came = "None" if value is None else f"{tuple(value.shape)} {value.dtype}"
            comparison.fail(f"{name}: expected {shape} torch.float64, got {came}")
        elif value.requires_grad or not bool(value.isfinite().all()):
            comparison.fail(f"{name}: not finite, or attached to a graph without create_graph")
