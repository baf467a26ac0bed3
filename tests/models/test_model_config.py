"""Configurations of models: what is refused, and with which cure."""

from __future__ import annotations

import json
from typing import Any

import pytest

from clebsch.config import parse_config
from clebsch.errors import ConfigError
from clebsch.models import LayerConfig, MultiACEConfig, PotentialConfig
from clebsch.models.presets import mace, pace

LAYER: dict[str, Any] = {"hidden_irreps": "0e+1o"}
MODEL: dict[str, Any] = {"elements": ["H", "O"], "layers": [LAYER]}


def refused(cls: type, mapping: dict[str, Any]) -> str:
    """The message with which ``mapping`` is refused."""
    with pytest.raises(ConfigError) as caught:
        parse_config(cls, mapping, "model.yaml")
    assert str(caught.value).startswith("model.yaml is not valid:\n")
    return str(caught.value)


def layer(**changes: Any) -> dict[str, Any]:
    return {**MODEL, "layers": [{**LAYER, **changes}]}


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({**MODEL, "num_chanels": 4}, "unknown key 'num_chanels'. Did you mean 'num_channels'?"),
        (layer(corelation=2), "unknown key 'layers.0.corelation'. Did you mean 'correlation'?"),
        (layer(radial={"kin": "mlp"}), "unknown key 'layers.0.radial.kin'. Did you mean 'kind'?"),
        ({**MODEL, "booster": {"levels": 1}}, "unknown key 'booster.levels'. Did you mean 'level'?"),
        ({"elements": ["H"]}, "key 'layers' is missing"),
        ({**MODEL, "layers": []}, "key 'layers'"),
        ({**MODEL, "elements": []}, "key 'elements'"),
        ({**MODEL, "elements": ["H", "Oo"]}, "'Oo' is not a chemical symbol."),
        ({**MODEL, "elements": ["H", "X"]}, "'X' is not a chemical symbol."),
        ({**MODEL, "elements": ["h"]}, "'h' is not a chemical symbol."),
        ({**MODEL, "elements": ["H", "O", "H"]}, "'H' is listed twice; list every element once"),
        ({**MODEL, "r_max": 0}, "key 'r_max'"),
        ({**MODEL, "r_max": float("inf")}, "key 'r_max'"),
        ({**MODEL, "avg_num_neighbors": float("nan")}, "key 'avg_num_neighbors'"),
        ({**MODEL, "l_max": -1}, "key 'l_max'"),
        (layer(hidden_irreps="0e+1o+0e"), "'0e+1o+0e' names an irrep twice; list it once"),
        (layer(hidden_irreps="16x0e+16x1o"), "channels are a separate setting"),
        (layer(hidden_irreps=""), "no irreps; write for example 0e+1o+2e"),
        (layer(hidden_irreps="1o"), "readout 'linear' needs the scalars 0e, but hidden_irreps are '1o'; add 0e"),
        (layer(readout="none"), "every layer has readout 'none', so there is no energy; give the last one"),
        (layer(correlation=0), "key 'layers.0.correlation'"),
        (layer(gate="silu", correlation=2, product_linear=False), "gate 'silu' needs product_linear"),
        (layer(gate="relu"), "key 'layers.0.gate'"),
        (layer(radial={"kind": "none"}), "layers.0.radial.kind 'none' needs a booster; choose linear, mlp or mlp_pair"),
        (
            {**MODEL, "num_channels": 64, "booster": {"level": 2}},
            "num_channels 64 is not a multiple of booster.level + 1 = 3, the streams that share the channels; take 66",
        ),
        (
            {**MODEL, "num_channels": 2, "booster": {"level": 1}},
            "num_channels 2 leave one channel to each of the booster's 2 streams",
        ),
        ({**MODEL, "radial_basis": {"cutoff": {"kind": "cosine"}}}, "key 'radial_basis.cutoff.kind'"),
    ],
)
def test_what_is_wrong_is_said(mapping: dict[str, Any], message: str):
    assert message in refused(MultiACEConfig, mapping)


def test_all_errors_are_listed_at_once():
    message = refused(PotentialConfig, {"model": {**MODEL, "r_max": -1, "l_max": "three"}, "termss": []})
    for part in ("'model.r_max'", "'model.l_max'", "unknown key 'termss'. Did you mean 'terms'?"):
        assert part in message


def test_the_smallest_configuration():
    config = parse_config(MultiACEConfig, MODEL)
    assert config.elements == ("H", "O") and config.layers == (LayerConfig(hidden_irreps="0e+1o"),)


def test_irreps_are_written_one_way():
    assert LayerConfig(hidden_irreps=" 0e + 1o").hidden_irreps == "0e+1o"


@pytest.mark.parametrize("config", [mace(elements=["H"]), pace(elements=["H", "C"])], ids=["mace", "pace"])
def test_json_and_back(config: MultiACEConfig):
    assert parse_config(MultiACEConfig, json.loads(config.model_dump_json())) == config


def test_configurations_cannot_be_changed():
    with pytest.raises(ValueError, match="frozen"):
        mace(elements=["H"]).r_max = 3.0  # type: ignore[misc]
