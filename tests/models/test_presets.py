"""The named models: published hyper-parameters, numbers of parameters, names of the weights."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
import torch

from clebsch.errors import ConfigError
from clebsch.models import MultiACE, MultiACEConfig, presets
from clebsch.models.layer import Layer
from clebsch.models.presets import botnet, linear_ace, mace, nequip, pace
from clebsch.o3 import Irreps

PRESETS = {function.__name__: function for function in (linear_ace, nequip, botnet, mace, pace)}
ELEMENTS = ("H", "C", "O")
BOTH = "0e+0o+1e+1o+2e+2o+3e+3o"
Z, K = 3, 4


def count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def mlp(*sizes: int) -> int:
    return sum(a * b for a, b in pairwise(sizes))


def layers_of(model: MultiACE) -> list[Layer]:
    return [layer for layer in model.layers if isinstance(layer, Layer)]


def test_published_pace():
    config = pace(elements=ELEMENTS)
    first, second = config.layers
    assert (config.num_channels, config.l_max, config.r_max) == (256, 3, 5.0)
    assert (config.radial_basis.kind, config.radial_basis.num, config.radial_basis.cutoff.p) == ("bessel", 4, 5)
    assert config.booster is not None and (config.booster.level, config.booster.hidden) == (1, (64, 64, 64))
    assert (first.hidden_irreps, second.hidden_irreps) == ("0e+1o+2e", "0e")
    assert (first.node_features, second.node_features) == (False, True)
    assert (first.radial.kind, second.radial.kind, second.radial.hidden) == ("none", "mlp_pair", (64, 64, 64))
    for layer in config.layers:
        assert (layer.correlation, layer.distinct_factors, layer.path_mixing) == (3, True, "sum")
        assert (layer.residual, layer.readout, layer.readout_hidden, layer.gate) == ("element", "mlp", 16, "none")
    assert pace(elements=ELEMENTS, L_max=3).layers[0].hidden_irreps == "0e+1o+2e+3o"


def test_published_mace():
    config = mace(elements=ELEMENTS)
    first, second = config.layers
    assert (config.num_channels, config.l_max, config.r_max, config.booster) == (256, 3, 5.0, None)
    assert (config.radial_basis.kind, config.radial_basis.num, config.radial_basis.cutoff.p) == ("bessel", 8, 5)
    assert (first.hidden_irreps, second.hidden_irreps) == ("0e+1o+2e", "0e")
    assert (first.residual, second.residual) == ("none", "element")
    assert (first.element_message, second.element_message) == (True, False)
    assert (first.readout, second.readout, second.readout_hidden) == ("linear", "mlp", 16)
    for layer in config.layers:
        assert (layer.correlation, layer.distinct_factors, layer.path_mixing) == (3, False, "linear")
        assert layer.node_features and layer.linear_up
        assert (layer.radial.kind, layer.radial.hidden, layer.gate) == ("mlp", (64, 64, 64), "none")


def test_clebsch():
    """MACE with smooth, linear radial functions, deeper, and gated but for the last layer."""
    sizes = [presets.clebsch(elements=ELEMENTS, size=size) for size in ("S", "M", "L")]
    _, middle, large = sizes
    assert [(len(c.layers), c.num_channels, c.layers[0].hidden_irreps) for c in sizes] == [
        (3, 48, "0e+1o"), (4, 64, "0e+1o+2e"), (4, 128, "0e+1o+2e"),
    ]  # fmt: skip
    assert presets.clebsch(elements=ELEMENTS) == middle == large.model_copy(update={"num_channels": 64})
    for config in sizes:
        assert (config.r_max, config.radial_basis.decay) == (4.0, 1.0)
        assert (config.neighbor_normalization, config.neighbor_gain) == ("sqrt", 2.0)
        assert [layer.gate for layer in config.layers] == ["tanh"] * (len(config.layers) - 1) + ["none"]
        assert {(layer.radial.kind, layer.correlation) for layer in config.layers} == {("linear", 2)}


def test_published_botnet():
    config = botnet(elements=ELEMENTS)
    assert (config.num_channels, config.l_max, config.r_max, len(config.layers)) == (80, 3, 4.0, 5)
    assert (config.radial_basis.kind, config.radial_basis.num, config.radial_basis.cutoff.p) == ("bessel", 8, 6)
    assert [layer.hidden_irreps for layer in config.layers] == [BOTH] * 4 + ["0e"]
    assert all((layer.correlation, layer.gate) == (1, "none") for layer in config.layers)
    assert [layer.residual for layer in config.layers] == ["none"] + ["element"] * 4
    assert [layer.element_message for layer in config.layers] == [True] + [False] * 4
    assert [layer.readout for layer in config.layers] == ["linear"] * 4 + ["mlp"]
    assert all(layer.radial.kind == "mlp" for layer in config.layers)


def test_published_nequip():
    config = nequip(elements=ELEMENTS)
    assert (config.num_channels, config.l_max, len(config.layers)) == (64, 3, 5)
    assert (config.radial_basis.kind, config.radial_basis.num) == ("bessel", 8)
    assert config.neighbor_normalization == "sqrt"
    assert [layer.hidden_irreps for layer in config.layers] == [BOTH] * 4 + ["0e"]
    assert [layer.readout for layer in config.layers] == ["none"] * 4 + ["linear"]
    assert [layer.residual for layer in config.layers] == ["none"] + ["element"] * 4
    assert all((layer.gate, layer.correlation) == ("silu", 1) for layer in config.layers)
    assert nequip(elements=ELEMENTS, parity=False).layers[0].hidden_irreps == "0e+1o+2e+3o"


def test_linear_ace_is_linear():
    (layer,) = linear_ace(elements=ELEMENTS).layers
    assert (layer.radial.kind, layer.readout, layer.gate, layer.residual) == ("linear", "linear", "none", "none")
    assert not layer.node_features and not layer.product_linear and layer.correlation == 3


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_sizes_are_arguments(name: str):
    config = PRESETS[name](elements=["O", "H"], r_max=3.5, num_channels=6, l_max=1)
    assert config.elements == ("O", "H")
    assert (config.r_max, config.num_channels, config.l_max) == (3.5, 6, 1)


@pytest.mark.parametrize("function", [mace, nequip, botnet, pace])
def test_number_of_layers(function: Callable[..., MultiACEConfig]):
    for num_layers in (1, 2, 3, 4):
        config = function(elements=ELEMENTS, num_layers=num_layers)
        published = function(elements=ELEMENTS)
        assert len(config.layers) == num_layers
        assert config.layers[-1].readout == published.layers[-1].readout
        assert config.layers[-1].hidden_irreps == published.layers[-1].hidden_irreps
        assert config.layers[0].residual == published.layers[0].residual
    with pytest.raises(ConfigError, match="num_layers: expected an integer >= 1, got 0"):
        function(elements=ELEMENTS, num_layers=0)


def test_parameters_of_mace():
    model = MultiACE(mace(elements=ELEMENTS, num_channels=K, L_max=1))
    first, second = (count(layer) for layer in layers_of(model))
    radial, product = mlp(8, 64, 64, 64), Z * K * (1 + 4 + 8)
    up, mixing, message = K * K, 4 * K * K, Z * 4 * K * K
    vectors = Z * K * (1 + 3 + 12)
    assert first == radial + 64 * 4 * K + up + mixing + message + product + vectors + 2 * K * K + K
    paths = 2 + 3 + 3 + 2  # into 0e, 1o, 2e, 3o from 0e and 1o
    assert second == radial + 64 * paths * K + 2 * up + paths * K * K + product + K * K + Z * K * K + mlp(K, 16, 1)
    assert count(model) == Z * K + first + second


def test_parameters_of_pace():
    model = MultiACE(pace(elements=ELEMENTS, num_channels=K))
    width, booster = K // 2, count(model.edges)
    pair = mlp(2 * Z, width, width) + 2 * width
    level = mlp(4, 64, 64, 64, 23 * width) + mlp(2 * Z, 64, 64, 64, 23 * width)
    assert booster == pair + mlp(4, 64, 64, 64, 4 * width) + level
    first, second = (count(layer) for layer in layers_of(model))
    factors, readout = 3 * 4 * K * K, mlp(K, 16, 1)
    scalars, others = Z * K * (1 + 4 + 23), Z * K * (1 + 6 + 51 + 1 + 7 + 65)
    assert first == factors + scalars + others + 3 * K * K + Z * K * K + readout
    radial = mlp(4, 64, 64, 64, 17 * K) + mlp(2 * Z, 64, 64, 64, 17 * K)
    assert second == radial + factors + scalars + K * K + Z * K * K + readout
    assert count(model) == Z * K + booster + first + second


def test_parameters_of_botnet():
    model = MultiACE(botnet(elements=ELEMENTS, num_channels=K))
    paths, multiplicities = [4, 34, 64, 68, 4], [4, 7, 8, 8, 1]
    features = [1, 4, 7, 8, 8]
    for number, layer in enumerate(layers_of(model)):
        radial = mlp(8, 64, 64, 64, paths[number] * K)
        by_element = Z * K * K * (4 if number == 0 else len(set(layer.features) & set(layer.irreps)))
        readout = mlp(K, 16, 1) if number == 4 else K
        assert len(layer.irreps) == multiplicities[number] and len(layer.features) == features[number]
        assert count(layer) == radial + (features[number] + paths[number]) * K * K + by_element + readout


def test_parameters_of_nequip():
    model = MultiACE(nequip(elements=ELEMENTS, num_channels=K, l_max=2, num_layers=4))
    paths = [3, 15, 27, 3]
    gates = [2, 4, 4, 0]  # one more map of the paths into 0e for every gated irrep
    scalars = [1, 3, 3, 3]
    for number, layer in enumerate(layers_of(model)):
        up = len(layer.features)
        assert sum(irrep.l > 0 for irrep in layer.irreps) == gates[number]
        matched = sum(irrep in layer.features for irrep in layer.irreps) + gates[number] if number else 0
        mixing = (paths[number] + gates[number] * scalars[number]) * K * K
        readout = K if number == 3 else 0
        expected = mlp(8, 64, 64, paths[number] * K) + up * K * K + mixing + Z * matched * K * K + readout
        assert count(layer) == expected


def test_parameters_of_linear_ace():
    model = MultiACE(linear_ace(elements=ELEMENTS, num_channels=K))
    assert count(model) == Z * K + Z * Z * 8 * 4 * K + Z * K * (1 + 4 + 8) + K


def test_names_of_the_weights():
    """Saved potentials hold these names: a change here breaks every file written so far."""
    state = MultiACE(pace(elements=ELEMENTS, num_channels=K, L_max=1, correlation=2)).state_dict()
    layer, edges = "layers.1.", "edges.booster."
    expected = {
        "embedding",
        *(edges + name for name in ("pair_input", "pair_output", "pair_norm.weight", "pair_norm.bias")),
        *(
            f"{edges}{name}.weights.{n}"
            for name in ("radial", "level_radials.0", "level_pairs.0.mlp")
            for n in range(4)
        ),
        *(f"{layer}atomic_basis.radial.{name}.weights.{n}" for name in ("mlp", "pair_mlp.mlp") for n in range(4)),
        *(f"layers.{t}.product_basis.factors.{f}.weights.{l}" for t in (0, 1) for f in (0, 1) for l in range(4)),
        *(f"layers.{t}.product_basis.weights.{n}" for t in (0, 1) for n in range(2 if t else 4)),
        *(f"layers.{t}.product_basis.mixing.weights.{l}" for t, l in ((0, 0), (0, 1), (1, 0))),
        *(f"layers.{t}.residual.weights.0" for t in (0, 1)),
        *(f"layers.{t}.readout.mlp.weights.{n}" for t in (0, 1) for n in (0, 1)),
    }
    assert set(state) == expected
    state = MultiACE(mace(elements=ELEMENTS, num_channels=K, L_max=1, correlation=1)).state_dict()
    expected = {
        "embedding",
        "layers.0.atomic_basis.linear_up.weights.0",
        *(f"layers.{t}.atomic_basis.radial.mlp.weights.{n}" for t in (0, 1) for n in range(4)),
        *(f"layers.0.atomic_basis.{name}.weights.{l}" for name in ("mixing", "element_mixing") for l in (0, 1)),
        *(f"layers.1.atomic_basis.linear_up.weights.{l}" for l in (0, 1)),
        "layers.1.atomic_basis.mixing.weights.0",
        "layers.1.residual.weights.0",
        "layers.0.readout.mlp.weights.0",
        *(f"layers.1.readout.mlp.weights.{n}" for n in (0, 1)),
    }
    assert set(state) == expected


def test_features_that_stay_zero_are_left_out():
    """After one layer nothing has unnatural parity, after two no pseudoscalar is made of 0e, 1o, 2e and 3o."""
    first, second, third, *_ = layers_of(MultiACE(botnet(elements=ELEMENTS, num_channels=2)))
    assert first.irreps == Irreps("0e+1o+2e+3o")
    assert set(Irreps(BOTH)) - set(second.irreps) == set(Irreps("0o"))
    assert set(third.irreps) == set(Irreps(BOTH))
