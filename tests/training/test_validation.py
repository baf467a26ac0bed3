from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from clebsch.data import collate
from clebsch.training.loss import LossConfig, loss
from clebsch.training.validation import labelled_quantities, validate


def test_errors_are_means_over_the_set_not_over_batches(valid_graphs, make_potential):
    potential, config = make_potential(), LossConfig(energy_weight=2.0, forces_weight=5.0)
    scores = validate(potential, valid_graphs, [[0, 1, 2], [3]], config)
    batch = collate(valid_graphs)
    prediction = potential(batch)
    per_atom = ((prediction.energy - batch.labels["energy"]) / batch.num_atoms).numpy()
    components = (prediction.forces - batch.labels["forces"]).numpy()
    assert scores["energy_per_atom_rmse_meV"] == pytest.approx(1000 * np.sqrt((per_atom**2).mean()), rel=1e-5)
    assert scores["forces_rmse_meV_A"] == pytest.approx(1000 * np.sqrt((components**2).mean()), rel=1e-5)
    assert scores["loss"] == pytest.approx(loss(prediction, batch, config)[0].item(), rel=1e-5)


def test_huber_loss_and_plain_errors(valid_graphs, make_potential):
    potential, config = make_potential(), LossConfig(kind="huber", energy_huber_delta=1e-3, forces_huber_delta=1e-3)
    scores = validate(potential, valid_graphs, [[0, 2], [1, 3]], config)
    square = validate(potential, valid_graphs, [[0, 2], [1, 3]], LossConfig())
    batch = collate(valid_graphs)
    assert scores["loss"] == pytest.approx(loss(potential(batch), batch, config)[0].item(), rel=1e-5)
    assert scores["loss"] < square["loss"]
    assert scores["forces_rmse_meV_A"] == square["forces_rmse_meV_A"]


def test_what_is_labelled_is_compared(valid_graphs, periodic_graphs, make_potential):
    forces_only = [dataclasses.replace(graph, labels={"forces": graph.labels["forces"]}) for graph in valid_graphs]
    config = LossConfig(energy_weight=0.0)
    assert labelled_quantities(valid_graphs, config) == ("energy", "forces")
    assert labelled_quantities(forces_only, config) == ("forces",)
    assert labelled_quantities(periodic_graphs, config) == ("energy", "forces")
    stress = LossConfig(stress_weight=1.0)
    assert labelled_quantities(periodic_graphs, stress) == ("energy", "forces", "stress")
    assert "stress_rmse_meV_A3" in validate(make_potential(), periodic_graphs, [[0, 1], [2, 3]], stress)
