"""The readout: an energy from the scalars and nothing else."""

from __future__ import annotations

import pytest
import torch

from clebsch.basis.mlp import activation_scale
from clebsch.errors import ConfigError
from clebsch.models.config import LayerConfig
from clebsch.models.readout import Readout
from clebsch.o3 import Irreps

IRREPS = Irreps("1o+0e+0o")


def readout(kind: str, generator: torch.Generator, irreps: Irreps = IRREPS) -> Readout:
    layer = LayerConfig.model_validate({"hidden_irreps": "1o+0e+0o", "readout": kind, "readout_hidden": 5})
    return Readout(layer, irreps, 3, torch.float64, generator)


@pytest.mark.parametrize("kind", ["linear", "mlp"])
def test_the_formula(kind: str, generator: torch.Generator):
    module = readout(kind, generator)
    features = torch.randn(5, 4, 3, dtype=torch.float64, generator=generator)
    x, weights = features[3], list(module.parameters())
    if kind == "linear":
        expected = x @ weights[0] / 3**0.5
    else:
        hidden = activation_scale("silu") * torch.nn.functional.silu(x @ weights[0] / 3**0.5)
        expected = hidden @ weights[1] / 5**0.5
    energies = module(features)
    torch.testing.assert_close(energies, expected.squeeze(1))
    features[[0, 1, 2, 4]] += 1  # neither vectors nor pseudoscalars
    assert torch.equal(module(features), energies)


def test_none_gives_zero(generator: torch.Generator):
    module = readout("none", generator)
    assert torch.equal(module(torch.ones(5, 4, 3)), torch.zeros(4)) and not list(module.parameters())


def test_without_scalars_there_is_no_energy(generator: torch.Generator):
    with pytest.raises(
        ConfigError, match=r"readout: expected scalars 0e among the features of the layer, got '1o\+0o'"
    ):
        readout("linear", generator, Irreps("1o+0o"))
