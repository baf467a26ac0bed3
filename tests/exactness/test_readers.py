"""What readers accept, refuse and say."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from clebsch.errors import CheckpointError, ConfigError
from clebsch.interop import compare, from_mace, read_published
from clebsch.interop.coupling import published_couplings
from clebsch.o3 import Irrep, Irreps

CONTRACTIONS = "products.{layer}.symmetric_contractions.contractions.{index}"


def mace_with_couplings(model, recombine):
    """State of MACE with its couplings U, and weights for ``recombine(U) -> (U', T)``, U = T U'."""
    state, harmonics = dict(model.state), Irreps.spherical_harmonics(3)
    for layer, outputs in ((0, 3), (1, 1)):
        for index in range(outputs):
            name = CONTRACTIONS.format(layer=layer, index=index)
            output = Irrep(index, (-1) ** index)
            for nu, weight in ((3, "weights_max"), (2, "weights.0"), (1, "weights.1")):
                couplings = published_couplings(harmonics, output, nu, old_signs=True)
                couplings, transform = recombine(couplings.reshape(len(couplings), -1))
                tensor = couplings.T.reshape(*(output.dim,) * (index > 0), *(16,) * nu, -1)
                state[f"{name}.U_matrix_{nu}"] = tensor
                state[f"{name}.{weight}"] = np.einsum("ef,zek->zfk", transform, state[f"{name}.{weight}"].astype(float))
    return state


def test_couplings_in_the_state_are_used_whatever_their_basis(published, make):
    rng, model = np.random.default_rng(0), published("mace")

    def recombine(couplings):
        mixing = np.linalg.qr(rng.standard_normal((len(couplings),) * 2))[0]
        return mixing @ couplings, mixing.T

    # The version would give the wrong signs, but the couplings that are given have theirs.
    potential = make("mace", mace_with_couplings(model, recombine), e3nn_version="0.6.0")
    assert compare(potential, model.frames[2]).largest <= 1e-10


def test_reduced_couplings_are_read_with_their_couplings_only(published, make):
    """A code may keep fewer, independent couplings; without them nobody knows what the weights mean."""
    model = published("mace")

    def fewer(couplings):
        return couplings[:1], np.eye(len(couplings), 1)

    state = mace_with_couplings(model, fewer)
    make("mace", state)
    bare = {name: value for name, value in state.items() if "U_matrix" not in name}
    with pytest.raises(CheckpointError, match=r"for 1 couplings of 2 factors, not for e3nn's 4.*Keep U_matrix_2"):
        make("mace", bare)


def test_tensors_do_as_well_as_arrays_and_constants_of_the_code_are_passed_over(published, make):
    model = published("mace")
    state = {name: torch.from_numpy(np.asarray(value)) for name, value in model.state.items()}
    state["interactions.0.linear.output_mask"] = torch.ones(96)
    state["interactions.0.linear.bias"] = torch.zeros(0)
    state["interactions.1.conv_tp._compiled_main_left_right._w3j_1_1_2"] = torch.zeros(3, 3, 5)
    state["products.0.symmetric_contractions.contractions.0.weights_max_zeroed"] = torch.tensor(False)
    assert compare(make("mace", state), model.frames[0]).largest <= 1e-10


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("mace", {"gate": "tanh"}, "MACE: gate = 'tanh' cannot be read, only 'silu'"),
        (
            "mace",
            {"interaction_cls": "RealAgnosticAttResidualInteractionBlock"},
            "cannot be read, only 'RealAgnosticInt",
        ),
        ("mace", {"hidden_irreps": "6x0e+4x1o"}, "different multiplicities"),
        ("mace", {"hidden_irreps": "6x0e+6x0e"}, "list 0e twice"),
        ("mace", {"correlation": 4}, "only a correlation of 2 or 3"),
        ("mace", {"avg_num_neighbors": 0.0}, "The MACE model is not valid:\n.*avg_num_neighbors"),
        ("pace", {"edge_emb": "expbern"}, "PACE: edge_emb = 'expbern' cannot be read"),
        ("botnet", {"interaction_cls": "ElementDependentInteractionBlock"}, "BOTNet: interaction_cls = "),
        ("nequip_options", {"avg_num_neighbors": {"H": 2.0, "C": 3.0, "O": 2.0}}, "only one number for all"),
        ("nequip", {"convnet_resnet": True}, "convnet_resnet = True cannot be read"),
        ("nequip", {"type_names": ["H", "C", "oxygen"]}, "'oxygen' is not a chemical symbol"),
    ],
)
def test_what_cannot_be_expressed_is_refused(name, changes, message, published, make):
    with pytest.raises(ConfigError, match=message):
        make(name, hyper={**published(name).hyper, **changes})


def test_a_missing_setting_is_named(published, make):
    hyper = {key: value for key, value in published("mace").hyper.items() if key != "max_ell"}
    with pytest.raises(ConfigError, match="MACE: the settings have no 'max_ell'"):
        make("mace", hyper=hyper)


def test_a_missing_weight_is_named(published, make):
    state = dict(published("botnet").state)
    state["interactions.2.linear_up.weights"] = state.pop("interactions.2.linear_up.weight")
    with pytest.raises(CheckpointError, match=r"no 'interactions.2.linear_up.weight'. Did you mean '.*weights'\?"):
        make("botnet", state)


def test_a_weight_that_was_not_read_is_an_error(published, make):
    state = {**published("nequip").state, "model.func.pair_potential.scale": np.ones(3)}
    with pytest.raises(CheckpointError, match=r"1 weights have no place.*pair_potential"):
        make("nequip", state)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("mace", {"max_ell": 2}),
        ("mace", {"max_ell": 4}),
        ("mace", {"atomic_numbers": [1, 6]}),
        ("botnet", {"max_ell": 2}),
        ("pace", {"hidden_irreps": "8x0e+8x1o"}),
        ("nequip", {"num_features": 5}),
        ("nequip", {"l_max": 1}),
    ],
)
def test_settings_of_another_model_do_not_pass(name, changes, published, make):
    with pytest.raises(CheckpointError):
        make(name, hyper={**published(name).hyper, **changes})


def test_weights_of_another_code_do_not_pass(published, make):
    with pytest.raises(CheckpointError, match="this is no model of the kind"):
        make("mace", published("pace").state)


def test_several_heads_do_not_pass(published, make):
    state = {**published("mace").state, "atomic_energies_fn.atomic_energies": np.ones((2, 3))}
    with pytest.raises(
        CheckpointError, match="atomic_energies are for 2 heads, but the settings name 1 heads: Default"
    ):
        make("mace", state)


def test_the_version_of_e3nn_must_be_one(published, make):
    with pytest.raises(ConfigError, match=r"e3nn_version: expected a version such as '0.4.4', got 'latest'"):
        make("mace", e3nn_version="latest")
    with pytest.raises(TypeError):
        from_mace(published("mace").state, published("mace").hyper)  # type: ignore[call-arg]


def test_files_that_are_no_published_models_are_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"nothing.safetensors' cannot be read"):
        read_published(tmp_path / "nothing.safetensors")
    (tmp_path / "text.safetensors").write_text("not tensors")
    with pytest.raises(CheckpointError, match=r"text.safetensors' cannot be read"):
        read_published(tmp_path / "text.safetensors")
