"""PACE (Xu et al., arXiv 2411.04219) as published in divelab/AIRS, folder OpenMol/PACE."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import torch

from clebsch.interop.coupling import product_parameters
from clebsch.interop.e3nn import convolution_paths, element_maps, linear_maps, multiplicities, num_channels, perceptron
from clebsch.interop.lineage import (
    UNUSED,
    empty_potential,
    model_config,
    radial_widths,
    readout_choice,
    readout_maps,
    shared_parameters,
)
from clebsch.interop.parameters import (
    Parameters,
    arrange_radial,
    fill,
    linear_parameters,
    paths_of,
    perceptron_parameters,
)
from clebsch.interop.published import Array, Source
from clebsch.models import MultiACEConfig, Potential
from clebsch.models.layer import Layer
from clebsch.o3 import Irreps

FACTORS = ("lin2", "lin1", "lin3")  # the maps of the first, second and third factor of the published product

# The first layer does not use node features, but the published code makes the radial networks for them.
DEAD = (r"abases\.0\.conv_tp_weights(_2)?\..*",)


def from_pace(state: Mapping[str, torch.Tensor | Array], hyper: Mapping[str, Any], *, e3nn_version: str) -> Potential:
    """Read a PACE model as a float64 potential; energies agree up to the constant of a structure, see below.

    Read otherwise than written:

    * The published energy has a constant ``average_energy`` per structure, whatever its size. A potential here is a sum
      over atoms and has none: E(published) = E(potential) + average_energy. Forces and stress are the same.
    * The booster couples edge features with harmonics of the same vector; here it is the radial function that this is.
    * The first factor of the product is the map ``lin2``, the second ``lin1``, the third ``lin3``.
    * The 4-65 couplings per irrep and order are all independent, since factors differ; only their basis changes.
    * The radial networks of node features in the first layer, which uses none, are dropped.
    * Inputs of pair networks are ordered centre, neighbour instead of neighbour, centre; plain linear maps get the
      normalisation of this library; the constant of SiLU is carried over into the next linear map.

    Args:
        state: ``model.state_dict()``.
        hyper: ``atomic_numbers`` (of the table of elements), ``hidden_irreps``, ``max_ell``, ``correlation``,
            ``avg_num_neighbors`` and, if not "radial", ``edge_emb``, by their names in the code.
        e3nn_version: version of e3nn of the training. The code leaves it open and the same weights give other energies
            with 0.4 than with 0.5 and later, unless the state has its ``U_matrix_*``, which are then used.

    Raises:
        ConfigError: a setting is missing or cannot be expressed.
        CheckpointError: a weight is missing, left over or of the wrong shape.
    """
    source = Source("PACE", state, hyper, e3nn_version)
    config = _config(source)
    potential = empty_potential(source, config)
    parameters = shared_parameters(source, config) | _booster(source, config)
    return fill(source, potential, parameters, partial(_layer, source, config), UNUSED + DEAD)


def _config(source: Source) -> MultiACEConfig:
    source.expect({"edge_emb": "radial", "gate": "silu"})
    hidden = multiplicities(source.setting("hidden_irreps"))
    last = source.count("pmbs.", ".linear.weight") - 1
    layers = []
    for index in range(last + 1):
        widths = radial_widths(source, f"abases.{index}.conv_tp_weights")
        if index:
            message = {"linear_up": False, "radial": {"kind": "mlp_pair", "hidden": widths}}
        else:
            message = {"node_features": False, "radial": {"kind": "none"}}
        layer = {
            "hidden_irreps": str(Irreps(hidden)) if index < last else "0e",
            "path_mixing": "sum",
            "correlation": source.setting("correlation"),
            "distinct_factors": True,
            "residual": "element",
        }
        layers.append(layer | message | readout_choice(source, index, num_channels(hidden)))
    level = source.count("edge_booster.edge_boost_tps_weights.", ".layer0.weight")
    booster = {"level": level, "hidden": radial_widths(source, "edge_booster.weight")}
    return model_config(source, layers, booster=booster)


def _booster(source: Source, config: MultiACEConfig) -> Parameters:
    name = "edge_booster"
    first, last = source.weight(f"{name}.x_init.lin1.weight").T, source.weight(f"{name}.x_init.lin2.weight").T
    parameters = {
        "pair_input": _centre_first(first) * len(first) ** 0.5,
        "pair_norm.weight": source.weight(f"{name}.x_init.normalization.weight"),
        "pair_norm.bias": source.weight(f"{name}.x_init.normalization.bias"),
        "pair_output": last * len(last) ** 0.5,
        **perceptron_parameters("radial", perceptron(source, f"{name}.weight")),
    }
    for level in range(config.booster.level if config.booster else 0):
        radial = perceptron(source, f"{name}.edge_boost_tps_weights.{level}")
        pair = _pair_perceptron(source, f"{name}.edge_boost_tps_weights_2.{level}")
        parameters |= perceptron_parameters(f"level_radials.{level}", radial)
        parameters |= perceptron_parameters(f"level_pairs.{level}.mlp", pair)
    return {f"edges.booster.{key}": array for key, array in parameters.items()}


def _layer(source: Source, config: MultiACEConfig, index: int, layer: Layer) -> Parameters:
    channels, basis = config.num_channels, f"abases.{index}"
    features, hidden = dict.fromkeys(layer.features, channels), dict.fromkeys(layer.irreps, channels)
    skip = element_maps(source.weight(f"{basis}.skip_tp.weight"), features, hidden, np.eye(len(config.elements)))
    product, pooled = f"pmbs.{index}", dict.fromkeys(Irreps.spherical_harmonics(config.l_max), channels)
    parameters = {
        **(_radial(source, basis, config, layer) if index else {}),
        **linear_parameters("residual", [skip.get(irrep) for irrep in layer.irreps]),
        **product_parameters(source, product, layer),
        **perceptron_parameters("readout.mlp", readout_maps(source, index, channels)),
    }
    for position, factor in enumerate(FACTORS[: source.setting("correlation")]):
        maps = linear_maps(source.weight(f"{product}.{factor}.weight"), pooled, pooled)
        parameters |= linear_parameters(f"product_basis.factors.{position}", list(maps.values()))
    mixing = linear_maps(source.weight(f"{product}.linear.weight"), hidden, hidden)
    return parameters | linear_parameters("product_basis.mixing", list(mixing.values()))


def _radial(source: Source, name: str, config: MultiACEConfig, layer: Layer) -> Parameters:
    descriptor = layer.atomic_basis.descriptor
    published, ours = convolution_paths(layer.features, config.l_max, descriptor.output), paths_of(descriptor)
    networks = {
        "mlp": perceptron(source, f"{name}.conv_tp_weights"),
        "pair_mlp.mlp": _pair_perceptron(source, f"{name}.conv_tp_weights_2"),
    }
    parameters = {}
    for key, maps in networks.items():
        maps[-1] = arrange_radial(maps[-1], published, ours, channels=config.num_channels, old_signs=source.old_signs)
        parameters |= perceptron_parameters(f"atomic_basis.radial.{key}", maps)
    return parameters


def _pair_perceptron(source: Source, prefix: str) -> list[Array]:
    first, *others = perceptron(source, prefix)
    return [_centre_first(first), *others]


def _centre_first(rows: Array) -> Array:
    """Rows of [neighbour, centre] elements in the order [centre, neighbour]."""
    return np.roll(rows, len(rows) // 2, axis=0)
