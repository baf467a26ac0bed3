"""Linear fits: the rows are the potential, the solution is numpy's, a linear potential is recovered."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from clebsch.data import Graph, collate
from clebsch.errors import ConfigError, DataError
from clebsch.models import CoreConfig, Potential, PotentialConfig
from clebsch.models.presets import linear_ace, mace
from clebsch.training.least_squares import LeastSquaresConfig, LinearFeatures, fit_least_squares

ELEMENTS = ("H", "C", "O")
R_MAX = 3.0
E0 = {"H": -13.6, "C": -1030.5, "O": -2042.25}


def linear_potential(seed: int = 0, correlation: int = 3, core: dict[str, float] | None = None) -> Potential:
    model = linear_ace(elements=ELEMENTS, r_max=R_MAX, num_channels=3, l_max=2, correlation=correlation, num_radial=4)
    return Potential(
        PotentialConfig(model=model, terms=() if core is None else (CoreConfig(radii=core),)),
        e0=E0,
        scale=1.7,
        shift={"H": 0.1, "C": 0.2, "O": 0.3},
        dtype=torch.float64,
        seed=seed,
    )


def with_random_coefficients(potential: Potential) -> tuple[Potential, torch.Tensor]:
    features = LinearFeatures(potential)
    count = len(ELEMENTS) * features.num_couplings * potential.config.model.num_channels
    coefficients = torch.randn(count, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    features.set_coefficients(coefficients)
    return potential, coefficients


def relabelled(graphs: list[Graph], potential: Potential) -> list[Graph]:
    """The graphs with energies and forces of ``potential``."""
    found = [potential(collate([graph])) for graph in graphs]
    return [replace(g, labels={"energy": p.energy[0], "forces": p.forces}) for g, p in zip(graphs, found, strict=True)]


@pytest.fixture(params=["molecules", "crystals"])
def graphs(request: pytest.FixtureRequest, train_graphs: list[Graph], periodic_graphs: list[Graph]) -> list[Graph]:
    return train_graphs if request.param == "molecules" else periodic_graphs


@pytest.mark.parametrize("core", [None, {"H-O": 1.6, "C-C": 1.9, "C-H": 1.7}], ids=["bare", "core"])
@pytest.mark.parametrize("correlation", [2, 3])
def test_rows_times_coefficients_are_energies_and_forces(graphs: list[Graph], correlation: int, core: dict | None):
    potential, coefficients = with_random_coefficients(linear_potential(correlation=correlation, core=core))
    batch = collate(graphs)
    features = LinearFeatures(potential)
    energy_rows, force_rows = features(batch)
    energy, forces = features.constant(batch)
    prediction = potential(batch)
    torch.testing.assert_close(energy_rows @ coefficients + energy, prediction.energy, rtol=1e-12, atol=1e-9)
    assert prediction.forces is not None and prediction.forces.abs().max() > 0.1
    torch.testing.assert_close(
        (force_rows @ coefficients + forces).reshape(-1, 3), prediction.forces, rtol=1e-10, atol=1e-9
    )
    reference = (potential.e0 + potential.shift)[batch.species]
    without = torch.zeros(batch.num_graphs, dtype=torch.float64).index_add(0, batch.graph_index, reference)
    assert torch.equal(energy, without) == (core is None), "the repulsion is there where there is a core"


def test_solution_is_that_of_numpy(train_graphs: list[Graph], valid_graphs: list[Graph]):
    potential = linear_potential()
    config = LeastSquaresConfig(energy_weight=3.0, forces_weight=0.5, ridges=(1e-4,), batch_size=3)
    fit_least_squares(potential, train_graphs, valid_graphs, config)
    batch = collate(train_graphs)
    energy_rows, force_rows = (rows.numpy() for rows in LinearFeatures(linear_potential())(batch))
    count = batch.num_atoms.double().numpy()
    energy_factor = np.sqrt(3.0 / len(train_graphs)) / count
    force_factor = np.sqrt(0.5 / force_rows.shape[0])
    rows = np.concatenate([energy_rows * energy_factor[:, None], force_rows * force_factor])
    reference = (potential.e0 + potential.shift)[batch.species].numpy()
    constant = np.bincount(batch.graph_index.numpy(), weights=reference)
    target = np.concatenate(
        [
            (batch.labels["energy"].numpy() - constant) * energy_factor,
            batch.labels["forces"].numpy().ravel() * force_factor,
        ]
    )
    norms = np.linalg.norm(rows, axis=0)
    augmented = np.concatenate([rows, np.diag(np.sqrt(1e-4) * norms)])
    solution = np.linalg.lstsq(augmented, np.concatenate([target, np.zeros(len(norms))]), rcond=None)[0]
    found = potential(batch, forces=False).energy.numpy() - constant
    np.testing.assert_allclose(found, energy_rows @ solution, rtol=1e-6, atol=1e-8)


def test_linear_potential_is_recovered(train_graphs: list[Graph]):
    truth, _ = with_random_coefficients(linear_potential(correlation=2))
    train = relabelled(train_graphs, truth)
    potential = linear_potential(correlation=2)
    before = potential(collate(train), forces=False).energy
    result = fit_least_squares(potential, train, train, LeastSquaresConfig(ridges=(1e-2, 1e-13)))
    assert result.ridge == 1e-13 and result.history[0]["valid_loss"] > result.history[1]["valid_loss"]
    batch = collate(train)
    assert (before - batch.labels["energy"]).abs().max() > 0.1
    torch.testing.assert_close(potential(batch, forces=False).energy, batch.labels["energy"], rtol=0, atol=1e-4)


def test_the_ridge_is_chosen_by_validation(train_graphs: list[Graph], valid_graphs: list[Graph]):
    result = fit_least_squares(linear_potential(), train_graphs, valid_graphs, LeastSquaresConfig())
    losses = {row["ridge"]: row["valid_loss"] for row in result.history}
    assert result.ridge == min(losses, key=lambda ridge: losses[ridge])
    assert result.best_validation == losses[result.ridge]


def test_a_negative_ridge_is_refused():
    """It would take from the diagonal what a ridge adds."""
    with pytest.raises(ValidationError, match="greater than or equal to 0"):
        LeastSquaresConfig(ridges=(1e-8, -1e-6))


def test_a_nonlinear_model_is_refused(train_graphs: list[Graph]):
    model = mace(elements=ELEMENTS, r_max=R_MAX, num_channels=2, l_max=1, correlation=2)
    with pytest.raises(ConfigError, match=r"2 layers \(expected 1\).*Fit it by gradients"):
        fit_least_squares(
            Potential(PotentialConfig(model=model), e0=E0), train_graphs, train_graphs, LeastSquaresConfig()
        )


def test_some_labels_are_enough(train_graphs: list[Graph], valid_graphs: list[Graph]):
    """Frames without forces count with their energies alone, and frames of weight zero not at all."""

    def bare(graph: Graph, *names: str, **changes: Any) -> Graph:
        return replace(graph, labels={name: graph.labels[name] for name in names}, **changes)

    def coefficients(graphs: list[Graph]) -> torch.Tensor:
        potential = linear_potential()
        fit_least_squares(potential, graphs, valid_graphs, LeastSquaresConfig(ridges=(1e-8,)))
        return torch.cat([weight.detach().flatten() for weight in potential.parameters()])

    some = [bare(graph, "energy") if number % 2 else graph for number, graph in enumerate(train_graphs)]
    nothing = {"energy": 0.0, "forces": 0.0}
    unweighted = [replace(graph, weights=nothing if number % 2 else {}) for number, graph in enumerate(train_graphs)]
    every_second = [bare(graph) if number % 2 else graph for number, graph in enumerate(train_graphs)]
    found = coefficients(some)
    assert not torch.allclose(found, coefficients(train_graphs), rtol=1e-3)
    assert coefficients([bare(graph, "energy") for graph in train_graphs]).isfinite().all()
    scale = coefficients(every_second)
    torch.testing.assert_close(coefficients(unweighted), scale, rtol=0, atol=1e-3 * float(scale.abs().max()))
    with pytest.raises(DataError, match="frame 0: the linear fit needs energies or forces"):
        coefficients([bare(graph) for graph in train_graphs])
