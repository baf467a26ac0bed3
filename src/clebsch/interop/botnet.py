"""BOTNet (Batatia et al., arXiv 2205.06643) as published in gncs/botnet."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch

from clebsch.interop.e3nn import convolution_paths, multiplicities, num_channels
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
from clebsch.interop.parameters import Parameters, fill, perceptron_parameters
from clebsch.interop.published import Array, Source
from clebsch.models import MultiACEConfig, Potential
from clebsch.models.layer import Layer
from clebsch.o3 import Irrep, Irreps


def from_botnet(state: Mapping[str, torch.Tensor | Array], hyper: Mapping[str, Any], *, e3nn_version: str) -> Potential:
    """Read a (ScaleShift)NonLinearBodyOrderedModel as a float64 potential with the same energies, forces and stress.

    Read otherwise than written:

    * Only the scalars of the last layer reach an energy; the paths of its other irreps are dropped.
    * Couplings of an odd l1 + l2 + l3 may have the other sign in e3nn before 0.5; it goes into the radial weights.
    * The paths of the radial weights are put in the order of this library.
    * The factor 1/sqrt(elements) of embedding and maps per element is multiplied in, and the constant of SiLU, a
      Monte-Carlo number in e3nn, is carried over into the next linear map.

    Args:
        state: ``model.state_dict()``.
        hyper: ``atomic_numbers`` (of the table of elements), ``hidden_irreps``, ``max_ell``, ``avg_num_neighbors``,
            ``interaction_cls`` and ``interaction_cls_first``, by their names in the code.
        e3nn_version: version of e3nn of the training; the code asks for "0.4.4".

    Raises:
        ConfigError: a setting is missing or cannot be expressed.
        CheckpointError: a weight is missing, left over or of the wrong shape.
    """
    source = Source("BOTNet", state, hyper, e3nn_version)
    hidden = multiplicities(source.setting("hidden_irreps"))
    config = _config(source, Irreps(sorted(hidden)), num_channels(hidden))
    potential, parameters = empty_potential(source, config), shared_parameters(source, config)
    return fill(source, potential, parameters, partial(_layer, source, config, list(hidden)), UNUSED)


def _config(source: Source, hidden: Irreps, channels: int) -> MultiACEConfig:
    source.expect({"gate": "silu"})
    source.choice("interaction_cls_first", ["AgnosticNonlinearInteractionBlock"])
    source.choice("interaction_cls", ["AgnosticResidualNonlinearInteractionBlock"])
    last = source.count("interactions.", ".linear.weight") - 1
    layers = []
    for index in range(last + 1):
        widths = radial_widths(source, f"interactions.{index}.conv_tp_weights")
        layer = {
            "hidden_irreps": str(hidden) if index < last else "0e",
            "radial": {"kind": "mlp", "hidden": widths},
            "element_message": index == 0,
            "residual": "element" if index else "none",
        }
        layers.append(layer | readout_choice(source, index, channels))
    return model_config(source, layers)


def _layer(source: Source, config: MultiACEConfig, hidden: list[Irrep], index: int, layer: Layer) -> Parameters:
    published = convolution_paths(layer.features, config.l_max, hidden)
    outputs = [output for _, _, output in published]
    return {
        **interaction_parameters(source, config, index, layer, published=published, outputs=outputs),
        **perceptron_parameters("readout.mlp", readout_maps(source, index, config.num_channels)),
    }
