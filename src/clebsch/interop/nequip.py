"""NequIP (Batzner et al., arXiv 2101.03164) as published in mir-group/nequip, versions with ``NequIPGNNModel``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import torch

from clebsch.basis.mlp import activation_scale
from clebsch.config import parse_config
from clebsch.errors import ConfigError
from clebsch.interop.e3nn import ACTIVATION_SCALE, convolution_paths, element_maps, linear_maps
from clebsch.interop.parameters import (
    Parameters,
    arrange_radial,
    arrange_rows,
    bessel_config,
    fill,
    linear_parameters,
    pad,
    paths_of,
    per_element,
    perceptron_parameters,
)
from clebsch.interop.published import Array, Source
from clebsch.models import MultiACEConfig, Potential, PotentialConfig
from clebsch.models.layer import Layer
from clebsch.o3 import Irrep, Irreps

ROOT = "model.func"
EMBEDDING = f"{ROOT}.type_embed.embed_module.weight"
READOUT = f"{ROOT}.per_atom_energy_readout.mlp_module.mlp"
EXPECTED = {
    "readout_mlp_nonlinearity": "silu",
    "convnet_sc": True,
    "convnet_nonlinearity_type": "gate",
    "convnet_nonlinearity_scalars": {"e": "silu", "o": "tanh"},
    "convnet_nonlinearity_gates": {"e": "silu", "o": "tanh"},
    **dict.fromkeys(("convnet_resnet", "per_edge_type_cutoff", "pair_potential", "categorical_graph_field_embed")),
}
SCALAR, PSEUDOSCALAR = Irrep(0, 1), Irrep(0, -1)


def from_nequip(state: Mapping[str, torch.Tensor | Array], hyper: Mapping[str, Any], *, e3nn_version: str) -> Potential:
    """Read a NequIPGNNModel as a float64 potential with the same energies, forces and stress.

    Read otherwise than written:

    * The embedding of the elements is also what selects the maps of the self-connection; both together are one map per
      element.
    * The constants of the gates are Monte-Carlo numbers in e3nn; what follows a gate carries the ratio to ours.
    * Radial networks and readout have plain SiLUs and their own normalisation, multiplied into the weights; so is the
      prefactor 2 / r_max of the Bessel functions, here sqrt(2 / r_max).
    * Where the embedding has another width than the features, the narrower one is filled up with zero channels.
    * Energies of isolated atoms are the ``shifts``; E0 is 0.

    Args:
        state: ``model.state_dict()``.
        hyper: ``type_names`` (chemical symbols), ``r_max``, ``l_max``, ``parity``, ``num_features`` (one number),
            ``avg_num_neighbors`` (one number) and ``polynomial_cutoff_p``, by their names in the code; others that are
            given are checked for what cannot be read.
        e3nn_version: version of e3nn of the training; "0.6.0" for nequip 0.19.

    Raises:
        ConfigError: a setting is missing or cannot be expressed.
        CheckpointError: a weight is missing, left over or of the wrong shape.
    """
    source = Source("NequIP", state, hyper, e3nn_version)
    config = _config(source)
    potential = Potential(
        PotentialConfig(model=config),
        e0=dict.fromkeys(config.elements, 0.0),
        scale=per_element(source, f"{ROOT}.per_type_energy_scale_shift.scales", config.elements, default=1.0),
        shift=per_element(source, f"{ROOT}.per_type_energy_scale_shift.shifts", config.elements, default=0.0),
        dtype=torch.float64,
    )
    parameters = {"embedding": pad(source.weight(EMBEDDING), config.num_channels)}
    if config.radial_basis.trained():
        parameters["edges.radial_basis.constants"] = _frequencies(source, config.r_max)
    return fill(source, potential, parameters, partial(_layer, source, config), [rf"{ROOT}\.edge_norm\._rmax_recip"])


def _config(source: Source) -> MultiACEConfig:
    source.expect(EXPECTED)
    l_max, parity = source.setting("l_max"), source.setting("parity")
    hidden = Irreps(Irrep(l, p) for l in range(l_max + 1) for p in ((1, -1) if parity else ((-1) ** l,)))
    last = source.count(f"{ROOT}.layer", "_convnet.conv.linear_2.weight") - 1
    readout = _perceptron(source, READOUT)
    if len(readout) > 2:
        raise ConfigError("NequIP: a readout with several hidden layers cannot be read, only one with none or one.")
    layers = [
        {
            "hidden_irreps": str(hidden) if index < last else "0e",
            "radial": {"kind": "mlp", "hidden": [matrix.shape[1] for matrix in _radial(source, index)[:-1]]},
            "residual": "element" if index else "none",
            "gate": "silu",
            "readout": "none" if index < last else ("linear", "mlp")[len(readout) - 1],
            "readout_hidden": readout[0].shape[1],
        }
        for index in range(last + 1)
    ]
    r_max = float(source.setting("r_max"))
    content = {
        "elements": source.setting("type_names"),
        "r_max": r_max,
        "l_max": l_max,
        "num_channels": max(source.weight(EMBEDDING).shape[1], int(_number(source, "num_features"))),
        "avg_num_neighbors": _number(source, "avg_num_neighbors"),
        "neighbor_normalization": "sqrt",
        "radial_basis": bessel_config(_frequencies(source, r_max), r_max, source.setting("polynomial_cutoff_p")),
        "layers": layers,
    }
    return parse_config(MultiACEConfig, content, "The NequIP model")


def _layer(source: Source, config: MultiACEConfig, index: int, layer: Layer) -> Parameters:
    name, channels = f"{ROOT}.layer{index}_convnet.conv", config.num_channels
    width, embedding = int(_number(source, "num_features")), source.weight(EMBEDDING)
    inputs = dict.fromkeys(layer.features, width if index else embedding.shape[1])
    outputs = dict.fromkeys(sorted(layer.irreps), width)
    outputs[SCALAR] += width * _num_gates(layer)
    up = _after_gate(linear_maps(source.weight(f"{name}.linear_1.weight"), inputs, inputs), index, channels)
    parameters = linear_parameters("atomic_basis.linear_up", [pad(up[irrep], channels) for irrep in layer.features])
    parameters |= _message(source, config, index, layer, inputs, outputs)
    if layer.residual:
        skip = element_maps(source.weight(f"{name}.sc.weight"), inputs, outputs, embedding)
        skip = _without_gates(_after_gate(skip, index, channels), layer, width, channels)
        parameters |= linear_parameters("residual", skip)
    if layer.readout.mlp:
        first, *others = _perceptron(source, READOUT)
        first = _after_gate({SCALAR: first}, index + 1, channels)[SCALAR]
        parameters |= perceptron_parameters("readout.mlp", [first, *others])
    return parameters


def _message(
    source: Source,
    config: MultiACEConfig,
    index: int,
    layer: Layer,
    inputs: Mapping[Irrep, int],
    outputs: Mapping[Irrep, int],
) -> Parameters:
    """Radial weights and mixing of the paths; ``inputs`` and ``outputs`` are the published multiplicities."""
    name, channels, width = f"{ROOT}.layer{index}_convnet.conv", config.num_channels, min(outputs.values())
    published = convolution_paths(inputs, config.l_max, outputs)
    ours = paths_of(layer.atomic_basis.descriptor)
    radial = _radial(source, index)
    radial[0] = radial[0] * (2 / config.r_max) ** 0.5
    width_in = max(inputs.values())
    radial[-1] = arrange_radial(radial[-1], published, ours, channels=width_in, old_signs=source.old_signs)
    radial[-1] = pad(radial[-1], channels)
    counts = Counter(path[2] for path in published)
    rows = {irrep: width_in * counts[irrep] for irrep in outputs}
    mixing = linear_maps(source.weight(f"{name}.linear_2.weight"), rows, outputs)
    mixing = arrange_rows(mixing, published, ours, channels)
    return {
        **perceptron_parameters("atomic_basis.radial.mlp", radial),
        **linear_parameters("atomic_basis.mixing", _without_gates(mixing, layer, width, channels)),
    }


def _after_gate(maps: Mapping[Irrep, Array], index: int, channels: int) -> dict[Irrep, Array]:
    """Maps [..., channels_in, channels_out] of the features that enter layer ``index``, for our gates and channels."""
    found = {}
    for irrep, matrix in maps.items():
        activation = "tanh" if irrep == PSEUDOSCALAR else "silu"
        ratio = ACTIVATION_SCALE[activation] / activation_scale(activation) if index else 1.0
        found[irrep] = pad(ratio * matrix, channels, axis=-2)
    return found


def _without_gates(maps: Mapping[Irrep, Array], layer: Layer, width: int, channels: int) -> list[Array | None]:
    """Split maps whose scalars are [features | gates], as published, into one per irrep that our gate takes."""
    found: list[Array | None] = []
    for position, irrep in enumerate(layer.atomic_basis.irreps):
        block = position + 1 if position < _num_gates(layer) else 0
        columns = maps[irrep][..., block * width : (block + 1) * width] if irrep in maps else None
        found.append(None if columns is None else pad(columns, channels))
    return found


def _num_gates(layer: Layer) -> int:
    return sum(irrep.l > 0 for irrep in layer.irreps)


def _radial(source: Source, index: int) -> list[Array]:
    return _perceptron(source, f"{ROOT}.layer{index}_convnet.conv.edge_mlp.mlp")


def _perceptron(source: Source, prefix: str) -> list[Array]:
    """Effective matrices of a ScalarMLP between its plain SiLUs; all but the first are normalised with sqrt(2 / n)."""
    count = source.count(f"{prefix}.", ".weight")
    weights = [source.weight(f"{prefix}.{2 * index}.weight") for index in range(count)]
    gains = [1.0] + [2.0] * (count - 1)
    return [weight * (gain / len(weight)) ** 0.5 for gain, weight in zip(gains, weights, strict=True)]


def _frequencies(source: Source, r_max: float) -> Array:
    """Frequencies of the Bessel functions, 1/Å."""
    return source.weight(f"{ROOT}.bessel_encode.bessel_weights", -1) * np.pi / r_max


def _number(source: Source, name: str) -> float:
    """A setting that is one number.

    Raises:
        ConfigError: the model has one number per type or per degree.
    """
    value = source.setting(name)
    if not isinstance(value, (int, float)):
        raise ConfigError(f"NequIP: {name} = {value} cannot be read, only one number for all; see docs/interop.md.")
    return value
