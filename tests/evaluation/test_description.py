"""What `clebsch info` prints, against counts done by hand."""

from __future__ import annotations

import pytest

from clebsch.basis import RadialConfig
from clebsch.evaluation import describe
from clebsch.evaluation.cost import convolution_flops, product_flops, shared_cost
from clebsch.models import MultiACE, MultiACEConfig
from clebsch.models.presets import botnet, linear_ace, mace, nequip, pace
from clebsch.o3 import Irreps
from clebsch.ops import ConvolutionDescriptor, ProductBasisDescriptor

SMALL = {"elements": ("H", "O"), "num_channels": 4, "l_max": 2}
MODELS = [f(**SMALL) for f in (linear_ace, nequip, botnet, mace, pace)]


@pytest.mark.parametrize("config", MODELS, ids=("linear_ace", "nequip", "botnet", "mace", "pace"))
def test_every_parameter_is_counted_once(config: MultiACEConfig):
    assert describe(config).num_parameters == sum(parameter.numel() for parameter in MultiACE(config).parameters())


def test_body_orders():
    """ν + 1 for one layer; the published 13 for MACE's two; one more per layer of BOTNet; none with gates."""
    assert [layer.body_order for layer in describe(linear_ace(**SMALL)).layers] == [4]
    assert [layer.body_order for layer in describe(mace(**SMALL)).layers] == [4, 13]
    assert [layer.body_order for layer in describe(botnet(**SMALL)).layers] == [2, 3, 4, 5, 6]
    assert [layer.body_order for layer in describe(nequip(**SMALL)).layers] == [None] * 5


def test_degrees():
    """One layer multiplies ν harmonics of degree l_max; a second one ν times those and one more each."""
    assert [layer.degree for layer in describe(mace(**SMALL)).layers] == [6, 24]
    assert [layer.degree for layer in describe(botnet(**SMALL)).layers] == [2, 4, 6, 8, 10]


def test_degrees_that_parity_leaves_out():
    """A scalar has even degree: 3 + 3 + 2 for linear ACE, 12 + 2 in the last of BOTNet's layers, 0 for one harmonic."""
    sizes = {**SMALL, "l_max": 3}
    assert [layer.degree for layer in describe(linear_ace(**sizes)).layers] == [8]
    assert [layer.degree for layer in describe(botnet(**sizes)).layers] == [3, 6, 9, 12, 14]
    assert [layer.degree for layer in describe(linear_ace(**sizes, correlation=1)).layers] == [0]
    assert [layer.degree for layer in describe(pace(**sizes)).layers] == [9, 36]


def test_a_residual_keeps_the_degree_of_what_enters():
    """Of a second layer that sees harmonics alone, of degree 2."""
    config = mace(**SMALL)
    second = config.layers[0].model_copy(update={"correlation": 1, "node_features": False, "residual": "none"})
    alone, kept = (
        config.model_copy(update={"layers": (config.layers[0], second.model_copy(update={"residual": residual}))})
        for residual in ("none", "linear")
    )
    assert [[layer.degree for layer in describe(found).layers] for found in (alone, kept)] == [[6, 2], [6, 6]]


def test_receptive_field():
    assert describe(nequip(**SMALL, r_max=4.0, num_layers=3)).receptive_field == 12.0


def test_scalar_convolution_by_hand():
    """0e x Y_0: one coupling, one multiply-add with the feature, one with the weight, per channel."""
    descriptor = ConvolutionDescriptor(Irreps("0e"), 0, Irreps("0e"))
    assert convolution_flops(descriptor, 8, features=True) == 2 + 8 * (2 + 2)
    assert convolution_flops(descriptor, 8, features=False) == 2 + 8 * 2


def test_scalar_product_by_hand():
    """A and A² of one scalar: one product, two couplings, two weights."""
    descriptor = ProductBasisDescriptor(Irreps("0e"), Irreps("0e"), 2)
    assert product_flops(descriptor, 8) == 8 * (1 + 2 * 2 + 2 * 2)


def test_a_layer_of_a_radial_network_by_hand():
    """A hidden layer from 8 to 8 more is 8 x 8 multiply-adds per edge, in each of two layers of the model."""
    config = nequip(**SMALL, num_layers=2, spline_intervals=None)

    def cost(*hidden: int) -> float:
        layers = tuple(layer.model_copy(update={"radial": RadialConfig(kind="mlp", hidden=hidden)})
                       for layer in config.layers)  # fmt: skip
        return describe(config.model_copy(update={"layers": layers})).cost.per_edge

    assert cost(8, 8) - cost(8) == 2 * 2 * 8 * 8


def test_what_layers_share_by_hand():
    """Six operations per harmonic, and per radial function or, of a spline, for its place."""
    networks = nequip(**SMALL, num_radial=5, spline_intervals=None)
    splines = nequip(**SMALL, num_radial=5, spline_intervals=64)
    found = [shared_cost(MultiACE(config).edges, config) for config in (networks, splines)]
    assert [(cost.per_edge, cost.per_atom) for cost in found] == [(6 * 9 + 6 * 5, 0), (6 * 9 + 20, 0)]


def test_cost_grows_with_the_model():
    small, large = describe(mace(**SMALL)), describe(mace(**{**SMALL, "num_channels": 8}))
    assert large.cost.per_edge > small.cost.per_edge
    assert large.flops_per_atom > small.flops_per_atom
