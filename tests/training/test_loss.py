from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from clebsch.config import parse_config
from clebsch.data import Batch, collate
from clebsch.errors import ConfigError, DataError
from clebsch.models import Prediction
from clebsch.ops import Edges
from clebsch.training import TrainConfig
from clebsch.training.loss import LossConfig, loss, penalty, require_labels


def make_batch() -> Batch:
    """Two graphs of one and two atoms, without edges."""
    nothing = torch.zeros(0, dtype=torch.int64)
    return Batch(
        positions=torch.zeros(3, 3, dtype=torch.float64),
        cell=torch.eye(3, dtype=torch.float64).expand(2, 3, 3),
        edges=Edges.of(nothing, nothing, torch.zeros(3, dtype=torch.int64), 1),
        shifts=torch.zeros(0, 3, dtype=torch.float64),
        graph_index=torch.tensor([0, 1, 1]),
        num_atoms=torch.tensor([1, 2]),
        labels={
            "energy": torch.tensor([-1.0, -2.0], dtype=torch.float64),
            "forces": torch.zeros(3, 3, dtype=torch.float64),
            "stress": torch.zeros(2, 3, 3, dtype=torch.float64),
        },
    )


def relabelled(item, **labels):
    """A graph or batch with other labels, None for one taken away."""
    changed = {**item.labels, **labels}
    return dataclasses.replace(item, labels={name: value for name, value in changed.items() if value is not None})


def make_prediction(**changes: Any) -> Prediction:
    values: dict[str, Any] = {
        "energy": torch.tensor([-1.0, -2.0], dtype=torch.float64),
        "forces": torch.zeros(3, 3, dtype=torch.float64),
        "stress": torch.zeros(2, 3, 3, dtype=torch.float64),
    }
    unused = {
        "node_energy": torch.zeros(3, dtype=torch.float64),
        "layer_energy": torch.zeros(2, 1, dtype=torch.float64),
        "interaction_energy": torch.zeros(2, dtype=torch.float64),
    }
    return Prediction(**unused, **{**values, **changes})


class WithDipole(Prediction):
    """A prediction of no dipole moment."""

    def get(self, quantity: str) -> torch.Tensor | None:
        return torch.zeros(2, 3, dtype=torch.float64) if quantity == "dipole" else super().get(quantity)


def test_mean_squares_by_hand():
    prediction = make_prediction(
        energy=torch.tensor([-1.0 + 0.3, -2.0 + 0.8], dtype=torch.float64),
        forces=torch.tensor([[0.3, 0.0, 0.0], [0.0, 0.6, 0.0], [0.0, 0.0, 0.0]], dtype=torch.float64),
        stress=torch.full((2, 3, 3), 0.1, dtype=torch.float64),
    )
    config = LossConfig(energy_weight=2.0, forces_weight=10.0, stress_weight=100.0)
    total, parts = loss(prediction, make_batch(), config)
    assert parts["energy"].item() == pytest.approx(2 * (0.3**2 + 0.4**2) / 2)
    assert parts["forces"].item() == pytest.approx(10 * (0.3**2 + 0.6**2) / 9)
    assert parts["stress"].item() == pytest.approx(100 * 0.1**2)
    assert total.item() == pytest.approx(sum(part.item() for part in parts.values()))


def test_energies_are_subtracted_in_float64():
    """A difference of 1e-4 eV of energies near -1e6 eV, where float32 resolves 0.06 eV."""
    batch = relabelled(make_batch(), energy=torch.tensor([-1e6, -1e6], dtype=torch.float64))
    prediction = make_prediction(energy=torch.tensor([-1e6 + 1e-4, -1e6], dtype=torch.float64))
    total, _ = loss(prediction, batch, LossConfig(energy_weight=1.0, forces_weight=0.0))
    assert total.item() == pytest.approx(1e-8 / 2, rel=1e-5)


def test_huber_is_square_near_zero_and_linear_far_out():
    config = LossConfig(kind="huber", forces_huber_delta=0.5)
    difference = torch.tensor([0.0, 0.2, -0.5, 2.0, -3.0], dtype=torch.float64)
    expected = torch.tensor([0.0, 0.04, 0.25, 0.5 * (4.0 - 0.5), 0.5 * (6.0 - 0.5)], dtype=torch.float64)
    torch.testing.assert_close(penalty(difference, "forces", config), expected)


def test_means_run_over_what_is_labelled():
    """Two atoms without forces, a molecule without stress: neither their zeros nor their NaN count."""
    nan = torch.full((3, 3), torch.nan, dtype=torch.float64)
    stress = torch.stack([torch.full((3, 3), 0.1, dtype=torch.float64), nan]).requires_grad_(True)
    forces = torch.tensor([[0.3, 0.0, 0.0], [7.0, 7.0, 7.0], [7.0, 7.0, 7.0]], dtype=torch.float64)
    only_first = torch.tensor([1.0, 0.0], dtype=torch.float64)
    batch = dataclasses.replace(make_batch(), weights={"forces": only_first, "stress": only_first})
    total, parts = loss(make_prediction(forces=forces, stress=stress), batch, LossConfig(stress_weight=10.0))
    assert parts["forces"].item() == pytest.approx(100 * 0.3**2 / 3)
    assert parts["stress"].item() == pytest.approx(10 * 0.1**2)
    (gradient,) = torch.autograd.grad(total, stress)
    assert gradient[0].all() and not gradient[1].any()


def test_weights_of_configurations_are_factors():
    energy = torch.tensor([-1.0 + 0.3, -2.0 + 0.8], dtype=torch.float64)
    batch = dataclasses.replace(make_batch(), weights={"energy": torch.tensor([3.0, 0.5], dtype=torch.float64)})
    _, parts = loss(make_prediction(energy=energy), batch, LossConfig())
    assert parts["energy"].item() == pytest.approx((3 * 0.3**2 + 0.5 * 0.4**2) / 2)
    batch = dataclasses.replace(make_batch(), weights={"energy": torch.zeros(2, dtype=torch.float64)})
    assert loss(make_prediction(energy=energy), batch, LossConfig())[0].item() == 0.0


def test_a_quantity_that_the_batch_has_no_label_of_adds_zero():
    batch = relabelled(make_batch(), stress=None)
    _, parts = loss(make_prediction(), batch, LossConfig(stress_weight=1.0))
    assert parts["stress"].item() == 0.0


def test_zero_weight_leaves_a_quantity_out():
    batch = relabelled(make_batch(), energy=None)
    total, parts = loss(make_prediction(), batch, LossConfig(energy_weight=0.0))
    assert list(parts) == ["forces"]
    assert total.item() == 0.0


def test_a_batch_without_a_fitted_label_is_an_error():
    batch = relabelled(make_batch(), energy=None, forces=None)
    with pytest.raises(DataError, match=r"no labels of what is fitted \(energy, forces\)"):
        loss(make_prediction(), batch, LossConfig())


def test_nothing_to_fit_is_an_error():
    with pytest.raises(
        ConfigError, match="one of energy_weight, forces_weight, stress_weight and dipole_weight must be positive"
    ):
        parse_config(LossConfig, {"energy_weight": 0, "forces_weight": 0})


def test_missing_label_names_its_origin(train_graphs):
    bare = relabelled(train_graphs[3], energy=None)
    require_labels([*train_graphs[:3], bare], LossConfig(), "training")
    with pytest.raises(
        DataError,
        match=r"energy_weight is 1, but no frame of the training set has energy labels, such as train.xyz, frame 3",
    ):
        require_labels([bare], LossConfig(), "training")
    bare = relabelled(train_graphs[3], energy=None, forces=None)
    with pytest.raises(DataError, match=r"train.xyz, frame 3 of the training set has no label of what is fitted"):
        require_labels([*train_graphs[:3], bare], LossConfig(), "training")


def test_a_dipole_is_fitted_per_atom_and_has_to_be_predicted():
    batch = relabelled(make_batch(), dipole=torch.tensor([[0.3, 0.0, 0.0], [0.0, 0.8, 0.0]], dtype=torch.float64))
    config = LossConfig(energy_weight=0.0, forces_weight=0.0, dipole_weight=3.0)
    with pytest.raises(DataError, match=r"predicts no dipole\. .* set dipole_weight to 0"):
        loss(make_prediction(), batch, config)
    total, parts = loss(WithDipole(**vars(make_prediction())), batch, config)
    assert list(parts) == ["dipole"]
    assert total.item() == pytest.approx(3 * (0.3**2 + 0.4**2) / 6)


def test_settings_of_what_is_not_fitted_are_no_part_of_the_course():
    """So that runs begun before a quantity was in the table go on."""
    course = TrainConfig.model_validate({"stages": [{"start": 0.5, "energy_weight": 2.0}]}).course()
    assert set(course["loss"]) == {
        "kind", *(f"{name}_{key}" for name in ("energy", "forces", "stress") for key in ("weight", "huber_delta"))
    }  # fmt: skip
    assert "dipole_weight" not in course["stages"][0] and "stress_weight" in course["stages"][0]
    later = TrainConfig.model_validate({"stages": [{"start": 0.5, "dipole_weight": 2.0}]}).course()
    assert later["stages"][0]["dipole_weight"] == 2.0 and later["loss"]["dipole_weight"] == 0.0


def test_gradient_of_the_forces_part_reaches_the_weights(train_graphs, make_potential):
    potential = make_potential()
    batch = collate(train_graphs[:2])
    total, _ = loss(potential(batch, create_graph=True), batch, LossConfig(energy_weight=0.0))
    total.backward()
    assert any(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in potential.parameters())
