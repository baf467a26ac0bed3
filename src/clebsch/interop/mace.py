"""MACE (Batatia et al., arXiv 2206.07697) as published in ACEsuit/mace."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch

from clebsch.interop.coupling import product_parameters
from clebsch.interop.e3nn import convolution_paths, linear_maps, multiplicities, num_channels
from clebsch.interop.lineage import (
    UNUSED,
    empty_potential,
    interaction_parameters,
    model_config,
    radial_widths,
    readout_choice,
    readout_maps,
    shared_parameters,
)
from clebsch.interop.parameters import Parameters, fill, linear_parameters, perceptron_parameters
from clebsch.interop.published import Array, Source
from clebsch.models import MultiACEConfig, Potential
from clebsch.models.layer import Layer
from clebsch.o3 import Irreps

# Whether an interaction has a residual; without one its message passes a map of the element.
INTERACTIONS = {"RealAgnosticInteractionBlock": False, "RealAgnosticResidualInteractionBlock": True}

EXPECTED = {
    "gate": "silu",
    "radial_type": "bessel",
    "distance_transform": None,
    "pair_repulsion": None,
    "apply_cutoff": True,
    "edge_irreps": None,
    "embedding_specs": None,
    "use_so3": None,
    "use_agnostic_product": None,
    "use_edge_irreps_first": None,
    "use_embedding_readout": None,
    "use_last_readout_only": None,
}


def from_mace(state: Mapping[str, torch.Tensor | Array], hyper: Mapping[str, Any], *, e3nn_version: str) -> Potential:
    """Read a ScaleShiftMACE or MACE of mace-torch as a float64 potential with the same energies, forces and stress.

    Read otherwise than written:

    * The 4-65 couplings per irrep and order are projected onto the 3-14 independent ones: with equal factors the others
      are linear combinations of them. ``U_matrix_*`` are used where the state has them, else computed.
    * The factor 1/sqrt(elements) of embedding and maps per element is multiplied in.
    * The constant of SiLU, a Monte-Carlo number in e3nn, is carried over into the next linear map.
    * The readout of one head is read; E0, scale and shift are those of the model.

    Args:
        state: ``model.state_dict()``.
        hyper: ``atomic_numbers``, ``hidden_irreps``, ``max_ell``, ``correlation``, ``avg_num_neighbors``,
            ``interaction_cls`` and ``interaction_cls_first``, by their names in the code; others that are given are
            checked for what cannot be read.
        e3nn_version: version of e3nn of the training, "0.4.4" unless the pin of mace-torch was overridden.

    Raises:
        ConfigError: a setting is missing or cannot be expressed.
        CheckpointError: a weight is missing, left over or of the wrong shape.
    """
    source = Source("MACE", state, hyper, e3nn_version)
    config = _config(source)
    potential, parameters = empty_potential(source, config), shared_parameters(source, config)
    return fill(source, potential, parameters, partial(_layer, source, config), UNUSED)


def _config(source: Source) -> MultiACEConfig:
    source.expect(EXPECTED)
    hidden = multiplicities(source.setting("hidden_irreps"))
    last = source.count("interactions.", ".linear.weight") - 1
    layers = []
    for index in range(last + 1):
        name = source.choice("interaction_cls" if index else "interaction_cls_first", INTERACTIONS)
        widths = radial_widths(source, f"interactions.{index}.conv_tp_weights")
        layer = {
            "hidden_irreps": str(Irreps(hidden)) if index < last else "0e",
            "radial": {"kind": "mlp", "hidden": widths},
            "element_message": not INTERACTIONS[name],
            "correlation": source.setting("correlation"),
            "residual": "element" if INTERACTIONS[name] else "none",
        }
        layers.append(layer | readout_choice(source, index, num_channels(hidden)))
    return model_config(source, layers)


def _layer(source: Source, config: MultiACEConfig, index: int, layer: Layer) -> Parameters:
    reached = layer.atomic_basis.descriptor.output
    paths = convolution_paths(layer.features, config.l_max, reached)
    paths.sort(key=lambda path: path[2])  # mace-torch sorts the paths by output before it cuts the radial weights
    hidden = dict.fromkeys(layer.irreps, config.num_channels)
    mixing = linear_maps(source.weight(f"products.{index}.linear.weight"), hidden, hidden)
    outputs = layer.irreps if layer.residual else reached
    return {
        **interaction_parameters(source, config, index, layer, published=paths, outputs=outputs),
        **product_parameters(source, f"products.{index}", layer),
        **linear_parameters("product_basis.mixing", list(mixing.values())),
        **perceptron_parameters("readout.mlp", readout_maps(source, index, config.num_channels)),
    }
