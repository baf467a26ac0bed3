"""Errors against hand-made numbers, and against potentials whose energies are known."""

from __future__ import annotations

from dataclasses import fields, replace

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
    "energy_rmse_meV_per_atom",
    "force_mae_meV_A",
    "force_rmse_meV_A",
}


@pytest.fixture(scope="module")
def potential() -> Potential:
    model = linear_ace(elements=("H", "O"), r_max=3.0, num_channels=2, l_max=1, correlation=2, num_radial=3)
    return Potential(PotentialConfig(model=model), e0=E0, dtype=torch.float64)


def water(shift: float = 0.0, **labels) -> Configuration:
    positions = np.array([[0.0, 0.0, 0.0], [0.96 + shift, 0.0, 0.0], [-0.24, 0.93, 0.0]])
    return Configuration(numbers=np.array([8, 1, 1]), positions=positions, **labels)


def comparison(**values) -> Comparison:
    """Two configurations of 2 and 3 atoms, all labels and predictions zero but those given."""
    zero = {
        "num_atoms": np.array([2, 3]),
        "symbols": np.array(["H", "H", "O", "H", "H"]),
        **{name: np.zeros(2) for name in ("energy_label", "energy")},
        **{name: np.zeros((5, 3)) for name in ("forces_label", "forces")},
        **{name: np.zeros((2, 3, 3)) for name in ("stress_label", "stress")},
    }
    return Comparison(**{**zero, **values})


def test_energy_errors_by_hand():
    found = accuracy(comparison(energy=np.array([0.002, -0.006])))
    assert found.n == 2
    assert found.energy_mae_meV == pytest.approx(4.0)
    assert found.energy_rmse_meV == pytest.approx(np.sqrt((4 + 36) / 2))
    assert found.energy_rmse_meV_per_atom == pytest.approx(np.sqrt((1 + 4) / 2))


def test_force_errors_by_hand():
    forces = np.zeros((5, 3))
    forces[2, 0] = 0.003  # the oxygen
    found = accuracy(comparison(forces=forces))
    assert found.force_mae_meV_A == pytest.approx(3 / 15)
    assert found.force_rmse_meV_A == pytest.approx(np.sqrt(9 / 15))
    assert found.force_rmse_meV_A_of_element == pytest.approx({"H": 0.0, "O": np.sqrt(3.0)})


def test_absent_labels_are_null():
    found = accuracy(comparison(forces_label=np.full((5, 3), np.nan), stress_label=np.full((2, 3, 3), np.nan)))
    assert found.force_mae_meV_A is None
    assert found.force_rmse_meV_A is None
    assert found.force_rmse_meV_A_of_element == {}
    assert found.stress_rmse_meV_A3 is None
    assert found.energy_mae_meV == 0.0


def test_json_has_the_documented_keys():
    assert set(accuracy(comparison()).as_dict()) >= JSON_KEYS


def test_own_predictions_have_no_error(potential: Potential):
    frames = [water(), water(0.1)]
    found = compare(potential, frames)
    labelled = [
        replace(frame, energy=found.energy[i], forces=found.forces[3 * i : 3 * i + 3]) for i, frame in enumerate(frames)
    ]
    perfect = evaluate(potential, labelled)
    assert perfect.energy_mae_meV == pytest.approx(0.0, abs=1e-9)
    assert perfect.force_rmse_meV_A == pytest.approx(0.0, abs=1e-9)


def test_batch_size_does_not_matter(potential: Potential):
    frames = [water(0.02 * i, energy=float(i), forces=np.ones((3, 3))) for i in range(7)]
    one, many = compare(potential, frames, batch_size=1), compare(potential, frames, batch_size=4)
    for field in fields(Comparison):
        left, right = getattr(one, field.name), getattr(many, field.name)
        assert (left == right).all() if left.dtype.kind == "U" else np.allclose(left, right, atol=1e-12, equal_nan=True)


def test_labels_may_differ_from_frame_to_frame(potential: Potential):
    """A molecule with an energy, one with forces, a crystal with a stress: each counts for what it has."""
    crystal = water(cell=5.0 * np.eye(3), pbc=np.ones(3, dtype=bool), stress=np.zeros((3, 3)))
    frames = [water(energy=1.0), crystal, water(forces=np.zeros((3, 3)))]
    found = compare(potential, frames)
    assert np.isnan(found.energy_label).tolist() == [False, True, True]
    assert np.isnan(found.forces_label[:, 0]).tolist() == [True] * 6 + [False] * 3
    assert np.isnan(found.stress_label[:, 0, 0]).tolist() == [True, False, True]
    assert accuracy(found).energy_mae_meV == pytest.approx(evaluate(potential, frames[:1]).energy_mae_meV)


def test_graphs_are_as_good_as_configurations(potential: Potential):
    frames = [water(energy=1.0, forces=np.zeros((3, 3)))]
    assert evaluate(potential, frames) == evaluate(potential, build_graphs(frames, ("H", "O"), 3.0))


def test_a_free_atom_has_its_e0(potential: Potential):
    atom = Configuration(numbers=np.array([8]), positions=np.zeros((1, 3)), energy=-5.0, forces=np.zeros((1, 3)))
    assert evaluate(potential, [atom]).energy_mae_meV == pytest.approx(0.0, abs=1e-9)


def test_nothing_to_evaluate(potential: Potential):
    with pytest.raises(DataError, match="at least one configuration"):
        evaluate(potential, [])


def test_unknown_element_is_named(potential: Potential):
    gold = Configuration(numbers=np.array([79]), positions=np.zeros((1, 3)), energy=0.0, origin="gold.xyz, frame 0")
    with pytest.raises(DataError, match=r"gold.xyz, frame 0.*Au.*H, O"):
        evaluate(potential, [gold])


def test_predictions_that_are_not_finite_are_no_numbers(potential: Potential):
    broken = Potential(potential.config, e0=E0, dtype=torch.float64)
    for parameter in broken.parameters():
        torch.nn.init.constant_(parameter, torch.nan)
    with pytest.raises(DataError, match="not finite"):
        evaluate(broken, [water(energy=0.0)])
