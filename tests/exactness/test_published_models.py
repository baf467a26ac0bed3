"""Energies, forces, stress and layers of the published codes, from their weights, by this library."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

from clebsch.interop import PublishedFrame, PublishedModel, compare
from clebsch.models import Potential
from clebsch.models.presets import mace, pace
from clebsch.models.serialization import load_potential, save_potential

MODELS = ["mace", "mace_first", "pace", "botnet", "nequip", "nequip_options"]
TOLERANCE, VISIBLE = 1e-10, 1e-6


def largest_difference(potential: Potential, model: PublishedModel) -> float:
    found = [compare(potential, frame, average_energy=model.average_energy) for frame in model.frames]
    return max(difference.largest for difference in found)


@pytest.mark.parametrize("name", MODELS)
def test_fixtures_cover_molecules_a_triclinic_crystal_and_an_isolated_atom(name, published):
    frames = [frame.configuration for frame in published(name).frames]
    assert [frame.num_atoms for frame in frames] == [15, 15, 7, 1]
    assert [bool(frame.pbc.all()) for frame in frames] == [False, False, True, False]
    assert np.count_nonzero(frames[2].cell - np.diag(np.diag(frames[2].cell))) == 3
    assert np.abs(frames[2].labels["stress"]).max() > 1e-3
    assert all(np.abs(frame.labels["forces"]).max() > 0.1 for frame in frames[:3])
    assert not frames[3].labels["forces"].any()


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("index", range(4))
def test_agrees_with_the_published_code(name, index, backend, published, make):
    model, potential = published(name), make(name, backend=backend)
    difference = compare(potential, model.frames[index], average_energy=model.average_energy)
    assert difference.energy <= TOLERANCE
    assert difference.forces <= TOLERANCE
    assert difference.layers <= TOLERANCE
    assert (difference.stress is not None) == (index == 2)
    assert difference.stress is None or difference.stress <= TOLERANCE


@pytest.mark.parametrize("name", MODELS)
def test_splines_of_published_models(name, published, make):
    """Bounds of docs/performance.md; the random weights of these fixtures make forces of up to 58 eV/Å."""
    exact = make(name, backend="reference")
    spline = exact.with_splines()
    for frame in published(name).frames:
        batch = exact.batch([frame.configuration])
        expected, found = exact(batch), spline(batch)
        largest = max(10.0, float(expected.forces.abs().max()))
        assert float(((found.energy - expected.energy) / batch.num_atoms).abs().max()) < 1e-6
        assert float((found.forces - expected.forces).abs().max()) < 1e-5 * largest / 10


def test_pace_follows_the_version_of_e3nn_that_its_weights_are_run_with(published, make):
    """The same weights were evaluated under e3nn 0.5.1 too: only the signs of odd couplings differ."""
    model, path = published("pace"), Path(__file__).parent / "fixtures" / "pace.safetensors"
    with safe_open(path, framework="numpy") as file:
        others = [
            replace(
                frame.configuration,
                labels={
                    "energy": float(file.get_tensor(f"frames/{index}/energy_e3nn05")),
                    "forces": file.get_tensor(f"frames/{index}/forces_e3nn05"),
                },
            )
            for index, frame in enumerate(model.frames)
        ]
    old, new = make("pace"), make("pace", e3nn_version="0.5.1")
    for frame, other in zip(model.frames, others, strict=True):
        expected = PublishedFrame(other, frame.layer_energy)
        difference = compare(new, expected, average_energy=model.average_energy)
        assert difference.energy <= TOLERANCE and difference.forces <= TOLERANCE
    assert compare(old, PublishedFrame(others[0], model.frames[0].layer_energy)).energy > VISIBLE


@pytest.mark.parametrize(
    ("name", "version"),
    [("mace", "0.5.0"), ("mace_first", "0.6.0"), ("pace", "0.5.0"), ("botnet", "0.5.0"), ("nequip", "0.4.4")],
)
def test_wrong_signs_of_e3nn_do_not_pass(name, version, published, make):
    assert largest_difference(make(name, e3nn_version=version), published(name)) > VISIBLE


def test_signs_do_not_matter_to_features_of_natural_parity(published, make):
    """Without a product basis only couplings of even l1 + l2 + l3 remain, and those never changed."""
    assert largest_difference(make("nequip_options", e3nn_version="0.4.4"), published("nequip_options")) <= TOLERANCE


@pytest.mark.parametrize(
    ("name", "weight"),
    [
        ("mace", "products.0.symmetric_contractions.contractions.1.weights_max"),
        ("mace_first", "interactions.0.skip_tp.weight"),
        ("pace", "edge_booster.x_init.lin1.weight"),
        ("botnet", "interactions.1.conv_tp_weights.layer3.weight"),
        ("nequip", "model.func.layer3_convnet.conv.linear_2.weight"),
        ("nequip_options", "model.func.bessel_encode.bessel_weights"),
    ],
)
def test_one_wrong_number_does_not_pass(name, weight, published, make):
    changed = published(name).state[weight].astype(np.float64)
    changed.reshape(-1)[np.argmax(np.abs(changed))] *= 1.01
    assert largest_difference(make(name, {**published(name).state, weight: changed}), published(name)) > VISIBLE


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_every_weight_is_read_as_it_is(name, published, make):
    model, rng, unseen = published(name), np.random.default_rng(0), []
    not_read = ("prefactor", "r_max", "_rmax_recip", "atomic_numbers", "num_interactions", "cutoff_fn.p")
    for weight, value in model.state.items():
        if weight.endswith(not_read) or weight.startswith("abases.0.conv_tp_weights"):
            continue
        changed = np.asarray(value + 0.01 * rng.standard_normal(value.shape), dtype=np.float64)
        if not largest_difference(make(name, {**model.state, weight: changed}), model) > VISIBLE:
            unseen.append(weight)
    assert not unseen


def test_couplings_of_equal_factors_become_the_independent_ones(published, make):
    """23, 51 and 65 couplings of three factors are 8, 12 and 14 polynomials of one; of distinct factors all differ."""
    paths = {
        name: [weight.shape[1] for weight in make(name).model.layers[0].product_basis.weights][2::3]
        for name in ("mace", "pace")
    }
    published_paths = [
        published("mace").state[f"products.0.symmetric_contractions.contractions.{index}.weights_max"].shape[1]
        for index in range(3)
    ]
    assert published_paths == [23, 51, 65] == paths["pace"]
    assert paths["mace"] == [8, 12, 14]


def test_presets_are_the_published_architectures(make):
    """The configurations that the readers find are those of the presets."""
    sizes = {"elements": ("H", "C", "O"), "r_max": 5.0, "l_max": 3, "L_max": 2, "spline_intervals": None}
    expected = mace(**sizes, num_channels=6).model_copy(update={"avg_num_neighbors": 2.37})
    assert make("mace_first").config.model == expected
    expected = pace(**sizes, num_channels=8).model_copy(update={"avg_num_neighbors": 2.71})
    assert make("pace").config.model == expected


@pytest.mark.parametrize("name", ["mace", "nequip_options"])
def test_what_was_read_can_be_saved(name, published, make, tmp_path):
    frames = [frame.configuration for frame in published(name).frames[:1]]
    save_potential(make(name), tmp_path / "potential.safetensors", frames=frames)
    loaded = load_potential(tmp_path / "potential.safetensors")
    assert largest_difference(loaded, published(name)) <= TOLERANCE
