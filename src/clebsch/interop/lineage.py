"""What BOTNet, MACE and PACE share: their codes grew out of one another and kept names and conventions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from clebsch.basis import Bessel, Gaussian, PolynomialCutoff
from clebsch.config import parse_config
from clebsch.errors import CheckpointError
from clebsch.interop.e3nn import (
    Path,
    element_maps,
    linear_maps,
    multiplicities,
    num_channels,
    perceptron,
    with_activation,
)
from clebsch.interop.parameters import (
    Parameters,
    arrange_radial,
    arrange_rows,
    bessel_config,
    linear_parameters,
    paths_of,
    per_element,
    perceptron_parameters,
)
from clebsch.interop.published import Array, Source
from clebsch.models import MultiACEConfig, Potential, PotentialConfig
from clebsch.models.layer import Layer
from clebsch.o3 import Irrep

# Constants of the radial embedding that follow from r_max.
UNUSED = (r"radial_embedding\.bessel_fn\.(prefactor|r_max)", "atomic_numbers", "r_max", "num_interactions")


def r_max_of(source: Source) -> float:
    """Cutoff radius in Å."""
    return float(source.weight("radial_embedding.cutoff_fn.r_max", 1)[0])


def radial_basis(source: Source) -> Bessel | Gaussian:
    """Functions times the polynomial cutoff; trainable where Bessel frequencies are no longer n pi / r_max.

    Raises:
        ConfigError: other functions.
        CheckpointError: the centres of Gaussians are not evenly from 0 to r_max.
    """
    name, r_max = "radial_embedding.bessel_fn", r_max_of(source)
    p = int(source.weight("radial_embedding.cutoff_fn.p", 1)[0])
    if source.optional("radial_type", "bessel") == "bessel":
        return bessel_config(source.weight(f"{name}.bessel_weights", -1), r_max, p)
    source.choice("radial_type", ["bessel", "gaussian"])
    centres = source.weight(f"{name}.gaussian_weights", -1)
    if not np.allclose(centres, np.linspace(0, r_max, len(centres)), rtol=1e-6, atol=1e-6):
        raise CheckpointError(f"{source.code}: '{name}.gaussian_weights' were trained; only even centres can be read.")
    return Gaussian(num=len(centres), cutoff=PolynomialCutoff(p=p))


def model_config(source: Source, layers: Sequence[dict[str, Any]], **others: Any) -> MultiACEConfig:
    """The configuration of a model with these ``layers``.

    Raises:
        ConfigError: a setting is missing or has a value that no model can have.
    """
    content = {
        "elements": source.elements(),
        "r_max": r_max_of(source),
        "l_max": source.setting("max_ell"),
        "num_channels": num_channels(multiplicities(source.setting("hidden_irreps"))),
        "avg_num_neighbors": source.setting("avg_num_neighbors"),
        "radial_basis": radial_basis(source),
        "layers": tuple(layers),
    }
    return parse_config(MultiACEConfig, {**content, **others}, f"The {source.code} model")


def shared_parameters(source: Source, config: MultiACEConfig) -> Parameters:
    """Embedding of the elements and, where trained, the Bessel frequencies."""
    count = len(source.all_elements())
    embedding = source.weight("node_embedding.linear.weight", count, config.num_channels) / count**0.5
    parameters = {"embedding": embedding[source.kept]}
    if config.radial_basis.trained():
        parameters["edges.radial_basis.constants"] = source.weight("radial_embedding.bessel_fn.bessel_weights", -1)
    return parameters


def empty_potential(source: Source, config: MultiACEConfig) -> Potential:
    """Potential with the published E0, scale and shift, its model still random (BOTNet, PACE)."""
    return Potential(
        PotentialConfig(model=config),
        e0=per_element(source, "atomic_energies_fn.atomic_energies", config.elements, default=0.0),
        scale=per_element(source, "scale_shift.scale", config.elements, default=1.0),
        shift=per_element(source, "scale_shift.shift", config.elements, default=0.0),
        dtype=torch.float64,
    )


def readout_choice(source: Source, index: int, channels: int) -> dict[str, Any]:
    """The configuration of one readout."""
    maps = readout_maps(source, index, channels)
    return {"readout": "linear"} if len(maps) == 1 else {"readout": "mlp", "readout_hidden": maps[0].shape[1]}


def readout_maps(source: Source, index: int, channels: int) -> list[Array]:
    """Effective maps of one readout between plain SiLUs: one for a linear readout, two for a perceptron."""
    name = f"readouts.{index}"
    if f"{name}.linear.weight" in source:
        return [source.weight(f"{name}.linear.weight", channels, 1) / channels**0.5]
    first = source.weight(f"{name}.linear_1.weight", channels, -1)
    second = source.weight(f"{name}.linear_2.weight", first.shape[1], 1)
    return with_activation([first / channels**0.5, second / len(second) ** 0.5])


def interaction_parameters(
    source: Source,
    config: MultiACEConfig,
    index: int,
    layer: Layer,
    *,
    published: Sequence[Path],
    outputs: Sequence[Irrep],
) -> Parameters:
    """Atomic basis and residual of one layer of BOTNet or MACE.

    Args:
        source: the weights.
        config: our model.
        index: of the layer.
        layer: ours.
        published: paths of the convolution in the order of the radial columns.
        outputs: irreps that the published layer returns.
    """
    name, basis, channels = f"interactions.{index}", layer.atomic_basis, config.num_channels
    sent, ours = sent_channels(config, layer), paths_of(basis.descriptor)
    radial = perceptron(source, f"{name}.conv_tp_weights")
    radial[-1] = arrange_radial(radial[-1], published, ours, channels=sent, old_signs=source.old_signs)
    rows = {irrep: sent * count for irrep, count in sorted(Counter(path[2] for path in published).items())}
    reached = dict.fromkeys(rows, channels)
    mixing = arrange_rows(linear_maps(source.weight(f"{name}.linear.weight"), rows, reached), published, ours, sent)
    skip = element_maps(
        source.weight(f"{name}.skip_tp.weight"),
        dict.fromkeys(layer.features, channels) if layer.residual else reached,
        dict.fromkeys(outputs, channels),
        np.eye(len(source.all_elements()))[source.kept],
    )
    skip_module = "residual" if layer.residual else "atomic_basis.element_mixing"
    skip_irreps = layer.residual.descriptor.irreps_out if layer.residual else basis.irreps
    return {
        **up_parameters(source, config, index, layer),
        **perceptron_parameters("atomic_basis.radial.mlp", radial),
        **linear_parameters("atomic_basis.mixing", [mixing.get(irrep) for irrep in basis.mixed]),
        **linear_parameters(skip_module, [skip.get(irrep) for irrep in skip_irreps]),
    }


def sent_channels(config: MultiACEConfig, layer: Layer) -> int:
    """Channels of the features that are sent along the edges."""
    return layer.atomic_basis.layer.edge_channels or config.num_channels


def up_parameters(source: Source, config: MultiACEConfig, index: int, layer: Layer) -> Parameters:
    """The map of the features before they are sent along the edges."""
    features = dict.fromkeys(layer.features, config.num_channels)
    sent = dict.fromkeys(layer.features, sent_channels(config, layer))
    maps = linear_maps(source.weight(f"interactions.{index}.linear_up.weight"), features, sent)
    return linear_parameters("atomic_basis.linear_up", [maps.get(irrep) for irrep in layer.features])


def radial_widths(source: Source, prefix: str) -> tuple[int, ...]:
    """Widths of the hidden layers of a FullyConnectedNet."""
    return tuple(matrix.shape[1] for matrix in perceptron(source, prefix)[:-1])
