"""MACE (Batatia et al., arXiv 2206.07697) as published in ACEsuit/mace."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch

from clebsch.interop.coupling import product_parameters
from clebsch.interop.e3nn import convolution_paths, linear_maps, multiplicities, num_channels
from clebsch.interop.lineage import UNUSED, interaction_parameters, model_config, radial_widths, shared_parameters
from clebsch.interop.mace_distances import distance_transform, repulsion
from clebsch.interop.mace_nonlinear import element_widths, gate_parameters, nonlinear_parameters
from clebsch.interop.mace_readout import Head, fixed_embedding, readout_choice, readout_parameters
from clebsch.interop.parameters import Parameters, fill, linear_parameters
from clebsch.interop.published import Array, Source
from clebsch.models import MultiACEConfig, Potential, PotentialConfig
from clebsch.models.layer import Layer
from clebsch.o3 import Irrep, Irreps


class Interaction(NamedTuple):
    """What an interaction of the code has: a residual (else its message passes a map of the element), a density, …"""

    residual: bool
    density: bool = False
    nonlinear: bool = False


INTERACTIONS = {
    "RealAgnosticInteractionBlock": Interaction(residual=False),
    "RealAgnosticResidualInteractionBlock": Interaction(residual=True),
    "RealAgnosticDensityInteractionBlock": Interaction(residual=False, density=True),
    "RealAgnosticDensityResidualInteractionBlock": Interaction(residual=True, density=True),
    "RealAgnosticResidualNonLinearInteractionBlock": Interaction(residual=True, density=True, nonlinear=True),
}

EXPECTED = {"gate": "silu", "use_so3": None, "keep_last_layer_irreps": None}

# Constants that follow from the settings, and factors that the code multiplies with 1.
CONSTANTS = (*UNUSED, r"interactions\.\d+\.avg_num_neighbors", r"radial_embedding\.distance_transform\.covalent_radii")


def from_mace(
    state: Mapping[str, torch.Tensor | Array],
    hyper: Mapping[str, Any],
    *,
    e3nn_version: str,
    head: str | None = None,
    elements: Sequence[str] | None = None,
    inputs: Mapping[str, float] | None = None,
) -> Potential:
    """Read a ScaleShiftMACE or MACE of mace-torch as a float64 potential with the same energies, forces and stress.

    Read otherwise than written:

    * The 4-65 couplings per irrep and order are projected onto the 3-14 independent ones: with equal factors the others
      are linear combinations of them. ``U_matrix_*`` are used where the state has them, else computed.
    * The factor 1/sqrt(elements) of embedding and maps per element is multiplied in.
    * The constants of SiLU and sigmoid, Monte-Carlo numbers in e3nn, are carried over into the next linear map.
    * Embeddings of elements in non-linear interactions become biases of the first radial layer.
    * Products that are the same for all elements are repeated for every element.
    * One head is read; a charge, a spin and the like become part of the embedding.

    Args:
        state: ``model.state_dict()``.
        hyper: ``atomic_numbers``, ``hidden_irreps``, ``max_ell``, ``correlation``, ``avg_num_neighbors``,
            ``interaction_cls`` and ``interaction_cls_first``, by their names in the code, and those of ``heads``,
            ``radial_type``, ``distance_transform``, ``pair_repulsion``, ``apply_cutoff``, ``edge_irreps``,
            ``use_edge_irreps_first``, ``use_last_readout_only`` and ``embedding_specs`` that are not the defaults.
        e3nn_version: version of e3nn of the training, "0.4.4" unless the pin of mace-torch was overridden.
        head: which head is read; needed where there are several.
        elements: which elements are read; all without.
        inputs: values of the embedded inputs, such as {"total_charge": 0, "total_spin": 1}.

    Raises:
        ConfigError: a setting is missing or cannot be expressed.
        CheckpointError: a weight is missing, left over or of the wrong shape.
    """
    source = Source("MACE", state, hyper, e3nn_version)
    source.count("products.", ".linear.weight")
    if elements is not None:
        source.restrict(elements)
    chosen = Head.of(source, head)
    config = _config(source, chosen)
    parameters = shared_parameters(source, config)
    parameters["embedding"], shift = fixed_embedding(source, chosen, parameters["embedding"], inputs or {})
    terms = repulsion(source, chosen.scale, config.r_max)
    potential = Potential(
        PotentialConfig(model=config, terms=terms),
        e0=dict(zip(config.elements, (chosen.e0 + shift).tolist(), strict=True)),
        scale=chosen.scale,
        shift=chosen.shift,
        dtype=torch.float64,
    )
    return fill(source, potential, parameters, partial(_layer, source, config, chosen), CONSTANTS)


def interactions_of(source: Source, count: int) -> list[Interaction]:
    """The interaction of every layer; raises ConfigError for one that cannot be read."""
    first = source.choice("interaction_cls_first", INTERACTIONS)
    later = source.choice("interaction_cls", INTERACTIONS) if count > 1 else first
    return [INTERACTIONS[first if index == 0 else later] for index in range(count)]


def _config(source: Source, head: Head) -> MultiACEConfig:
    source.expect(EXPECTED)
    hidden = multiplicities(source.setting("hidden_irreps"))
    count = source.count("products.", ".linear.weight")
    found = interactions_of(source, count)
    correlations = source.setting("correlation")
    correlations = [correlations] * count if isinstance(correlations, int) else list(correlations)
    layers = []
    for index, kind in enumerate(found):
        layer = {
            "hidden_irreps": str(Irreps(hidden)) if index < count - 1 else "0e",
            "radial": _radial(source, index, kind),
            "element_message": not kind.residual,
            "correlation": correlations[index],
            "residual": "linear" if kind.nonlinear else "element" if kind.residual else "none",
            "basis_gate": kind.nonlinear,
            "edge_channels": edge_channels(source, index, num_channels(hidden)),
        }
        if kind.density:
            widths = element_widths(source, f"interactions.{index}.density_fn") if kind.nonlinear else None
            layer["density"] = {"elements": True, "hidden": widths, "trainable": True} if kind.nonlinear else {}
        layers.append(layer | readout_choice(source, head, index, count, num_channels(hidden)))
    return model_config(
        source,
        layers,
        distance_transform=distance_transform(source),
        neighbor_normalization="none" if any(kind.density for kind in found) else "average",
    )


def _radial(source: Source, index: int, kind: Interaction) -> dict[str, Any]:
    name = f"interactions.{index}.conv_tp_weights"
    bare = source.hyper.get("apply_cutoff", True) in (False, "False")
    if kind.nonlinear:
        source.expect({"apply_cutoff": False} if "apply_cutoff" in source.hyper else {})
        return {"kind": "mlp_elements", "hidden": element_widths(source, name)}
    return {"kind": "mlp", "hidden": radial_widths(source, name), "cutoff": "weights" if bare else "basis"}


def edge_irreps(source: Source, index: int, features: Mapping[Irrep, int]) -> dict[Irrep, int]:
    """Irreps that are sent along the edges, in the order of the code, which may list some that are always zero."""
    given = source.optional("edge_irreps")
    if given is None or (index == 0 and not source.optional("use_edge_irreps_first", False)):
        return dict(features)
    found = multiplicities(given)
    return {Irrep(0, 1): found[Irrep(0, 1)]} if index == 0 else found


def edge_channels(source: Source, index: int, channels: int) -> int | None:
    """Channels along the edges, None where they are those of the features."""
    found = num_channels(edge_irreps(source, index, {Irrep(0, 1): channels}))
    return None if found == channels else found


def _layer(source: Source, config: MultiACEConfig, head: Head, index: int, layer: Layer) -> Parameters:
    kind = interactions_of(source, len(config.layers))[index]
    channels = config.num_channels
    reached = layer.atomic_basis.descriptor.output
    sent = edge_irreps(source, index, dict.fromkeys(layer.features, channels))
    paths = convolution_paths(sent, config.l_max, Irreps.spherical_harmonics(config.l_max))
    paths.sort(key=lambda path: path[2])  # mace-torch sorts the paths by output before it cuts the radial weights
    hidden = dict.fromkeys(layer.irreps, channels)
    mixing = linear_maps(source.weight(f"products.{index}.linear.weight"), hidden, hidden)
    if kind.nonlinear:
        interaction = nonlinear_parameters(source, config, index, layer, published=paths)
        interaction |= gate_parameters(source, index, layer, channels, sent)
    else:
        outputs = layer.irreps if layer.residual else reached
        interaction = interaction_parameters(source, config, index, layer, published=paths, outputs=outputs)
        interaction |= _normalisation(source, config, index, kind, interaction)
    return {
        **interaction,
        **product_parameters(source, f"products.{index}", layer),
        **linear_parameters("product_basis.mixing", list(mixing.values())),
        **readout_parameters(source, head, index, len(config.layers), channels),
    }


def _normalisation(
    source: Source, config: MultiACEConfig, index: int, kind: Interaction, interaction: Parameters
) -> Parameters:
    """The density of a layer; where other layers have one, the average number of neighbours of one that has not."""
    if kind.density:
        weight = source.weight(f"interactions.{index}.density_fn.layer0.weight")
        return {"atomic_basis.density.weight": weight}
    if config.neighbor_normalization == "average":
        return {}
    average = float(source.setting("avg_num_neighbors"))
    return {name: array / average for name, array in interaction.items() if name.startswith("atomic_basis.mixing.")}
