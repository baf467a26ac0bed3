"""Parts of public MACE models beyond the first paper: densities, transforms, repulsion, heads, non-linearities."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from clebsch.data import Configuration
from clebsch.errors import CheckpointError, ConfigError
from clebsch.interop import PublishedModel, compare, from_mace, read_published
from clebsch.models import Potential
from clebsch.models.potential import edge_vectors
from clebsch.models.serialization import load_potential, save_potential
from clebsch.testing.portability import rebuild

MODELS = {
    "mace_density": ("one", "two"),
    "mace_nonlinear": ("one", "two"),
    "mace_omol": ("omol",),
    "mace_soft": ("Default",),
}
HEADS = [(name, head) for name, heads in MODELS.items() for head in heads]
TOLERANCE, VISIBLE = 1e-10, 1e-6


@cache
def read(name: str) -> PublishedModel:
    return read_published(Path(__file__).parent / "fixtures" / f"{name}.safetensors")


def make(name: str, head: str | None = None, state: Any = None, hyper: Any = None, **options: Any) -> Potential:
    model = read(name)
    options = {"inputs": model.hyper["inputs"], **options}
    return from_mace(
        model.state if state is None else state,
        {**model.hyper, **(hyper or {})},
        e3nn_version=model.e3nn_version,
        head=head or MODELS[name][0],
        **options,
    )


@cache
def potential(name: str, head: str) -> Potential:
    return make(name, head)


def largest_difference(found: Potential, name: str, head: str) -> float:
    return max(compare(found, frame).largest for frame in read(name).frames if frame.head == head)


@pytest.mark.parametrize(("name", "head"), HEADS)
def test_agrees_with_the_published_code(name, head, backend):
    found = rebuild(potential(name, head), torch.float64, backend)
    frames = [frame for frame in read(name).frames if frame.head == head]
    assert [frame.configuration.num_atoms for frame in frames] == [15, 15, 7, 1]
    for frame in frames:
        difference = compare(found, frame)
        assert difference.largest <= TOLERANCE
        assert (difference.stress is not None) == bool(frame.configuration.pbc.all())


@pytest.mark.parametrize(("name", "head"), HEADS)
def test_frozen_and_splines(name, head):
    """A table per sum of radii, or per pair where the network knows the elements, and one for the density."""
    exact = rebuild(potential(name, head), torch.float64, "reference")
    spline = exact.with_splines(1024)
    frozen = spline.frozen()
    for frame in read(name).frames:
        batch = exact.batch([frame.configuration])
        expected, found, constant = exact(batch), spline(batch), frozen(batch)
        assert float(((found.energy - expected.energy) / batch.num_atoms).abs().max()) < 1e-5
        assert float((found.forces - expected.forces).abs().max()) < 1e-3
        torch.testing.assert_close(constant.forces, found.forces, rtol=1e-10, atol=1e-12)


def test_tables_are_shared_by_pairs_of_the_same_size():
    """H, C and O make nine pairs, of which six differ."""
    spline = make("mace_density", "one").with_splines(16)
    frame = read("mace_density").frames[0].configuration
    batch = spline.batch([frame])
    vectors = edge_vectors(batch, batch.positions, batch.cell)
    edges = spline.model.edges(vectors, batch.edges)
    layer: Any = spline.model.layers[0]
    assert len(layer.atomic_basis.radial_weights(edges).table) == 6 * (16 + 3)


def test_heads_differ():
    frame = read("mace_density").frames[0]
    assert compare(potential("mace_density", "two"), frame).energy > VISIBLE


@pytest.mark.parametrize(
    ("name", "weight"),
    [
        ("mace_density", "interactions.1.density_fn.layer0.weight"),
        ("mace_density", "radial_embedding.distance_transform.a"),
        ("mace_density", "radial_embedding.distance_transform.q"),
        ("mace_density", "radial_embedding.distance_transform.p"),
        ("mace_density", "pair_repulsion_fn.a_exp"),
        ("mace_density", "pair_repulsion_fn.a_prefactor"),
        ("mace_density", "pair_repulsion_fn.c"),
        ("mace_density", "readouts.1.linear_2.weight"),
        ("mace_density", "scale_shift.shift"),
        ("mace_density", "atomic_energies_fn.atomic_energies"),
        ("mace_nonlinear", "interactions.1.alpha"),
        ("mace_nonlinear", "interactions.1.beta"),
        ("mace_nonlinear", "interactions.0.density_fn.net.0.bias"),
        ("mace_nonlinear", "interactions.0.density_fn.net.1.weight"),
        ("mace_nonlinear", "interactions.1.conv_tp_weights.net.4.bias"),
        ("mace_nonlinear", "interactions.1.conv_tp_weights.net.6.bias"),
        ("mace_nonlinear", "interactions.1.source_embedding.weight"),
        ("mace_nonlinear", "interactions.1.target_embedding.weight"),
        ("mace_nonlinear", "interactions.1.linear_res.weight"),
        ("mace_nonlinear", "interactions.0.linear_2.weight"),
        ("mace_nonlinear", "readouts.0.linear_mid.bias"),
        ("mace_nonlinear", "readouts.0.linear_2.bias"),
        ("mace_omol", "joint_embedding.embedders.total_spin.weight"),
        ("mace_omol", "embedding_readout.linear.weight"),
        ("mace_soft", "radial_embedding.distance_transform.alpha"),
    ],
)
def test_a_wrong_number_does_not_pass(name, weight):
    head, state = MODELS[name][0], dict(read(name).state)
    state[weight] = np.asarray(state[weight], dtype=np.float64) * 1.01 + 0.003
    assert largest_difference(make(name, head, state), name, head) > VISIBLE


@pytest.mark.parametrize("name", ["mace_density", "mace_omol"])
def test_some_of_the_elements(name):
    """The same energies of structures that consist of them, from fewer weights."""
    head = MODELS[name][0]
    part, every = make(name, head, elements=("O", "H")), potential(name, head)
    assert part.elements == ("H", "O")
    rng = np.random.default_rng(0)
    numbers, positions = np.array([8, 1, 1, 8, 1]), rng.normal(0, 1.5, (5, 3))
    frame = Configuration(numbers, positions, np.zeros((3, 3)), np.zeros(3, dtype=bool))
    expected, found = every(every.batch([frame])), part(part.batch([frame]))
    torch.testing.assert_close(found.energy, expected.energy, rtol=1e-12, atol=0)
    torch.testing.assert_close(found.forces, expected.forces, rtol=1e-9, atol=1e-12)


def test_all_heads_are_in_one_file(tmp_path):
    frames = read("mace_density").frames
    heads = {head: potential("mace_density", head) for head in ("two", "one")}
    path = tmp_path / "heads.safetensors"
    save_potential(heads["two"], path, frames=[frames[0].configuration], heads=heads)
    for head in (None, "one", "two"):
        found, expected = load_potential(path, head=head), heads[head or "two"]
        batch = expected.batch([frames[0].configuration])
        assert float(found(batch).energy) == float(expected(batch).energy)
        assert found.fingerprint() == expected.fingerprint()
    with pytest.raises(ConfigError, match=r"head: the file has two, one, not 'on'. Did you mean 'one'"):
        load_potential(path, head="on")
    alone = tmp_path / "one.safetensors"
    save_potential(heads["one"], alone)
    with pytest.raises(ConfigError, match="one potential without a name, not 'one'"):
        load_potential(alone, head="one")
    with pytest.raises(CheckpointError, match="'other' is a potential of another model"):
        save_potential(heads["one"], path, heads={"one": heads["one"], "other": potential("mace_soft", "Default")})


@pytest.mark.parametrize(
    ("name", "changes", "options", "message"),
    [
        ("mace_density", {}, {"head": "three"}, "head: expected one of one, two, but 'three' was named"),
        ("mace_density", {}, {"elements": ("H", "Xe")}, "elements: expected some of H, C, O, got Xe"),
        ("mace_density", {}, {"inputs": {"total_charge": 1}}, "the model has no total_charge, only none"),
        (
            "mace_density",
            {"distance_transform": "Log"},
            {},
            "distance_transform = 'Log' cannot be read, only 'Agnesi' or",
        ),
        (
            "mace_density",
            {"radial_type": "chebyshev"},
            {},
            "radial_type = 'chebyshev' cannot be read, only 'bessel' or",
        ),
        ("mace_density", {"use_so3": True}, {}, "use_so3 = True cannot be read"),
        ("mace_density", {"interaction_cls": "RealAgnosticAttResidualInteractionBlock"}, {}, "cannot be read, only"),
        ("mace_nonlinear", {"apply_cutoff": True}, {}, "apply_cutoff = True cannot be read, only False"),
        ("mace_nonlinear", {"edge_irreps": "3x0e+2x1o"}, {}, "different multiplicities"),
        ("mace_omol", {}, {"inputs": {"total_charge": 1}}, "the model embeds total_spin of a structure"),
        ("mace_omol", {}, {"inputs": {"total_charge": 9, "total_spin": 1}}, "an integer from -2 to 2, got 9"),
    ],
)
def test_what_cannot_be_represented_is_refused(name, changes, options, message):
    with pytest.raises(ConfigError, match=message):
        make(name, options.pop("head", None), hyper=changes, **options)


def test_one_of_several_heads_has_to_be_named():
    model = read("mace_density")
    with pytest.raises(ConfigError, match="head: expected one of one, two, but none was named"):
        from_mace(model.state, model.hyper, e3nn_version=model.e3nn_version)


def test_a_repulsion_beyond_the_cutoff_is_refused():
    """The code leaves out pairs beyond r_max, whose repulsion has not ended there."""
    state = dict(read("mace_density").state)
    state["radial_embedding.cutoff_fn.r_max"] = np.array(1.4)
    with pytest.raises(ConfigError, match=r"pair_repulsion of C-C ends at 1.52 Å, beyond r_max = 1.4 Å"):
        make("mace_density", state=state)
