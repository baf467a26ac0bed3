"""Errors against hand-made numbers, and against potentials whose energies are known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from clebsch.data import Configuration, build_graphs
from clebsch.errors import DataError
from clebsch.evaluation import Comparison, accuracy, compare, evaluate
from clebsch.models import Potential, PotentialConfig
from clebsch.models.presets import linear_ace

E0 = {"H": -1.0, "O": -5.0}
JSON_KEYS = {
    "n",
    "energy_mae_meV",
    "energy_rmse_meV",
    "energy_per_atom_rmse_meV",
    "forces_mae_meV_A",
    "forces_rmse_meV_A",
}


@pytest.fixture(scope="module")
def potential() -> Potential:
    model = linear_ace(elements=("H", "O"), r_max=3.0, num_channels=2, l_max=1, correlation=2, num_radial=3)
    return Potential(PotentialConfig(model=model), e0=E0, dtype=torch.float64)


def water(shift: float = 0.0, **labels) -> Configuration:
    positions = np.array([[0.0, 0.0, 0.0], [0.96 + shift, 0.0, 0.0], [-0.24, 0.93, 0.0]])
    return Configuration(np.array([8, 1, 1]), positions, labels=labels)


def comparison(labels=None, **predictions) -> Comparison:
    """Two configurations of 2 and 3 atoms, all labels and predictions zero but those given."""
    zero = {"energy": np.zeros(2), "forces": np.zeros((5, 3)), "stress": np.zeros((2, 3, 3))}
    symbols = np.array(["H", "H", "O", "H", "H"])
    return Comparison(np.array([2, 3]), symbols, {**zero, **(labels or {})}, {**zero, **predictions})


def test_energy_errors_by_hand():
    found = accuracy(comparison(energy=np.array([0.002, -0.006])))
    assert found.n == 2
    assert found["energy_mae_meV"] == pytest.approx(4.0)
    assert found["energy_rmse_meV"] == pytest.approx(np.sqrt((4 + 36) / 2))
    assert found["energy_per_atom_rmse_meV"] == pytest.approx(np.sqrt((1 + 4) / 2))


def test_force_errors_by_hand():
    forces = np.zeros((5, 3))
    forces[2, 0] = 0.003  # the oxygen
    found = accuracy(comparison(forces=forces))
    assert found["forces_mae_meV_A"] == pytest.approx(3 / 15)
    assert found["forces_rmse_meV_A"] == pytest.approx(np.sqrt(9 / 15))
    assert found.of_element["forces_rmse_meV_A"] == pytest.approx({"H": 0.0, "O": np.sqrt(3.0)})


def test_absent_labels_have_no_errors():
    found = accuracy(comparison({"forces": np.full((5, 3), np.nan), "stress": np.full((2, 3, 3), np.nan)}))
    assert found.get("forces_mae_meV_A") is None
    assert found.get("forces_rmse_meV_A") is None
    assert found.of_element == {}
    assert found.get("stress_rmse_meV_A3") is None
    assert found["energy_mae_meV"] == 0.0


def test_json_has_the_documented_keys():
    assert set(accuracy(comparison()).as_dict()) >= JSON_KEYS


def test_own_predictions_have_no_error(potential: Potential):
    frames = [water(0.1 * i, energy=0.0, forces=np.zeros((3, 3))) for i in range(2)]
    found = compare(potential, frames).predictions
    labelled = [
        replace(frame, labels={"energy": found["energy"][i], "forces": found["forces"][3 * i : 3 * i + 3]})
        for i, frame in enumerate(frames)
    ]
    perfect = evaluate(potential, labelled)
    assert perfect["energy_mae_meV"] == pytest.approx(0.0, abs=1e-9)
    assert perfect["forces_rmse_meV_A"] == pytest.approx(0.0, abs=1e-9)


def test_batch_size_does_not_matter(potential: Potential):
    frames = [water(0.02 * i, energy=float(i), forces=np.ones((3, 3))) for i in range(7)]
    one, many = compare(potential, frames, batch_size=1), compare(potential, frames, batch_size=4)
    assert (one.num_atoms == many.num_atoms).all() and (one.symbols == many.symbols).all()
    assert list(one.labels) == list(one.predictions) == ["energy", "forces"]
    for name in one.labels:
        assert np.array_equal(one.labels[name], many.labels[name])
        assert np.allclose(one.predictions[name], many.predictions[name], atol=1e-12)


def test_labels_may_differ_from_frame_to_frame(potential: Potential):
    """A molecule with an energy, one with forces, a crystal with a stress: each counts for what it has."""
    crystal = replace(water(), cell=5.0 * np.eye(3), pbc=np.ones(3, dtype=bool), labels={"stress": np.zeros((3, 3))})
    frames = [water(energy=1.0), crystal, water(forces=np.zeros((3, 3)))]
    found = compare(potential, frames)
    assert np.isnan(found.labels["energy"]).tolist() == [False, True, True]
    assert np.isnan(found.labels["forces"][:, 0]).tolist() == [True] * 6 + [False] * 3
    assert np.isnan(found.labels["stress"][:, 0, 0]).tolist() == [True, False, True]
    assert np.isnan(found.predictions["stress"][:, 0, 0]).tolist() == [True, False, True]
    assert accuracy(found)["energy_mae_meV"] == pytest.approx(evaluate(potential, frames[:1])["energy_mae_meV"])


def test_graphs_are_as_good_as_configurations(potential: Potential):
    frames = [water(energy=1.0, forces=np.zeros((3, 3)))]
    assert evaluate(potential, frames) == evaluate(potential, build_graphs(frames, ("H", "O"), 3.0))


def test_a_free_atom_has_its_e0(potential: Potential):
    labels = {"energy": -5.0, "forces": np.zeros((1, 3))}
    atom = Configuration(numbers=np.array([8]), positions=np.zeros((1, 3)), labels=labels)
    assert evaluate(potential, [atom])["energy_mae_meV"] == pytest.approx(0.0, abs=1e-9)


def test_nothing_to_evaluate(potential: Potential):
    with pytest.raises(DataError, match="at least one configuration"):
        evaluate(potential, [])


def test_unknown_element_is_named(potential: Potential):
    gold = Configuration(
        numbers=np.array([79]), positions=np.zeros((1, 3)), labels={"energy": 0.0}, origin="gold.xyz, frame 0"
    )
    with pytest.raises(DataError, match=r"gold.xyz, frame 0.*Au.*H, O"):
        evaluate(potential, [gold])


def test_predictions_that_are_not_finite_are_no_numbers(potential: Potential):
    broken = Potential(potential.config, e0=E0, dtype=torch.float64)
    for parameter in broken.parameters():
        torch.nn.init.constant_(parameter, torch.nan)
    frames = [water(), replace(water(forces=np.zeros((3, 3))), origin="a.xyz, frame 7")]
    with pytest.raises(DataError, match=r"a\.xyz, frame 7: the prediction of forces is not finite"):
        evaluate(broken, frames)
