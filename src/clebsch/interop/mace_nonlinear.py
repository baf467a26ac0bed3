"""The non-linear interaction of MACE (MH-1, OMOL): radial networks of the elements, densities, and gates."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from clebsch.basis.mlp import activation_scale
from clebsch.interop.e3nn import ACTIVATION_SCALE, Path, linear_maps
from clebsch.interop.lineage import sent_channels, up_parameters
from clebsch.interop.parameters import Parameters, arrange_radial, arrange_rows, linear_parameters, paths_of
from clebsch.interop.published import Array, Source
from clebsch.models import MultiACEConfig
from clebsch.models.layer import Layer
from clebsch.o3 import Irrep, Irreps


def element_widths(source: Source, prefix: str) -> tuple[int, ...]:
    """Widths of the hidden layers of a RadialMLP: linear maps with biases, layer norms and SiLU in between."""
    return tuple(source.weight(f"{prefix}.net.{3 * index}.weight").shape[0] for index in range(_depth(source, prefix)))


def _depth(source: Source, prefix: str) -> int:
    """Number of hidden layers."""
    depth = 0
    while f"{prefix}.net.{3 * depth + 1}.weight" in source:
        depth += 1
    return depth


def element_parameters(
    source: Source, index: int, network: str, name: str, num_basis: int
) -> tuple[Parameters, list[Array]]:
    """A RadialMLP as an ElementMLP but for its last map and bias, which are returned as [inputs, width], [1, width].

    The embeddings of the elements, concatenated to the radial basis, become biases of the first layer.
    """
    prefix, every = f"interactions.{index}", len(source.all_elements())
    net = f"{prefix}.{network}.net"
    first, depth = source.weight(f"{net}.0.weight").T, _depth(source, f"{prefix}.{network}")
    found = {f"{name}.input": first[:num_basis] * num_basis**0.5}
    rest = first[num_basis:]
    halves = {
        "neighbors": ("source_embedding", rest[: len(rest) // 2]),
        "centers": ("target_embedding", rest[len(rest) // 2 :]),
    }
    for key, (embedding, rows) in halves.items():
        weight = source.weight(f"{prefix}.{embedding}.weight", every, len(rows)) / every**0.5
        found[f"{name}.{key}"] = weight[source.kept] @ rows
    found[f"{name}.centers"] = found[f"{name}.centers"] + source.weight(f"{net}.0.bias")
    for layer in range(depth):
        for part in ("weight", "bias"):
            found[f"{name}.norms.{layer}.{part}"] = source.weight(f"{net}.{3 * layer + 1}.{part}")
    maps = [source.weight(f"{net}.{3 * layer}.weight").T for layer in range(1, depth + 1)]
    biases = [source.weight(f"{net}.{3 * layer}.bias") for layer in range(1, depth + 1)]
    for layer, (weight, bias) in enumerate(zip(maps[:-1], biases[:-1], strict=True)):
        found[f"{name}.weights.{layer}"] = weight * len(weight) ** 0.5
        found[f"{name}.biases.{layer}"] = bias
    return found, [maps[-1], biases[-1][None]]


def last_parameters(name: str, depth: int, weight: Array, bias: Array) -> Parameters:
    """The last map of an ElementMLP of ``depth`` hidden layers."""
    return {
        f"{name}.weights.{depth - 1}": weight.reshape(len(weight), -1) * len(weight) ** 0.5,
        f"{name}.biases.{depth - 1}": bias.reshape(-1),
    }


def nonlinear_parameters(
    source: Source, config: MultiACEConfig, index: int, layer: Layer, *, published: Sequence[Path]
) -> Parameters:
    """Atomic basis up to its gate, and residual, of one layer.

    Args:
        source: the weights.
        config: our model.
        index: of the layer.
        layer: ours.
        published: paths of the convolution in the order of the radial columns.
    """
    name, basis, channels = f"interactions.{index}", layer.atomic_basis, config.num_channels
    sent, ours = sent_channels(config, layer), paths_of(basis.descriptor)
    num_basis = config.radial_basis.num
    parameters, last = element_parameters(
        source, index, "conv_tp_weights", "atomic_basis.radial.element_mlp", num_basis
    )
    arranged = [arrange_radial(part, published, ours, channels=sent, old_signs=source.old_signs) for part in last]
    parameters |= last_parameters("atomic_basis.radial.element_mlp", len(basis.layer.radial.hidden), *arranged)
    density, last = element_parameters(source, index, "density_fn", "atomic_basis.density.network", num_basis)
    assert basis.layer.density is not None
    density |= last_parameters("atomic_basis.density.network", len(basis.layer.density.hidden), *last)
    for key in ("alpha", "beta"):
        density[f"atomic_basis.density.{key}"] = source.weight(f"{name}.{key}").reshape(())
    rows = {irrep: sent * count for irrep, count in sorted(Counter(path[2] for path in published).items())}
    maps = linear_maps(source.weight(f"{name}.linear_1.weight"), rows, _gate_channels(basis.irreps, channels))
    mixing = _columns(arrange_rows(maps, published, ours, sent), basis.irreps)
    skip = linear_maps(
        source.weight(f"{name}.skip_tp.weight"),
        dict.fromkeys(layer.features, channels),
        dict.fromkeys(layer.irreps, channels),
    )
    return {
        **up_parameters(source, config, index, layer),
        **parameters,
        **density,
        **linear_parameters("atomic_basis.mixing", mixing),
        **linear_parameters("residual", [skip.get(irrep) for irrep in layer.irreps]),
    }


def gate_parameters(source: Source, index: int, layer: Layer, channels: int, sent: Mapping[Irrep, int]) -> Parameters:
    """The gate of the atomic basis; the ratio of its activations' constants goes into the map behind it.

    Args:
        source: the weights.
        index: of the layer.
        layer: ours.
        channels: of the atomic basis.
        sent: irreps that the code sends along the edges, some of which may be zero.
    """
    name, irreps = f"interactions.{index}", layer.atomic_basis.irreps
    residual = linear_maps(source.weight(f"{name}.linear_res.weight"), sent, _gate_channels(irreps, channels))
    same = dict.fromkeys(irreps, channels)
    mixing = linear_maps(source.weight(f"{name}.linear_2.weight"), same, same)
    ratios = {kind: ACTIVATION_SCALE[kind] / activation_scale(kind) for kind in ("silu", "sigmoid")}
    scaled = [mixing[irrep] * ratios["sigmoid" if irrep.l else "silu"] for irrep in irreps]
    return {
        **linear_parameters(
            "atomic_basis.gate.residual",
            _columns({irrep: residual[irrep] for irrep in layer.features if irrep in residual}, irreps),
        ),
        **linear_parameters("atomic_basis.gate.mixing", scaled),
    }


def _gate_channels(irreps: Irreps, channels: int) -> dict[Irrep, int]:
    """Multiplicities that the published gate takes: a scalar more per channel of every irrep that is gated."""
    gates = sum(irrep.l > 0 for irrep in irreps)
    return {irrep: channels * (1 if irrep.l else 1 + gates) for irrep in irreps}


def _columns(maps: Mapping[Irrep, Array], irreps: Irreps) -> list[Array | None]:
    """Maps into the published input of the gate as those into ours: the gates, then the irreps."""
    scalars = maps.get(Irrep(0, 1))
    gates = sum(irrep.l > 0 for irrep in irreps)
    parts = [None] * (1 + gates) if scalars is None else np.split(scalars, 1 + gates, axis=1)
    return [*parts[1:], *(maps.get(irrep) if irrep.l else parts[0] for irrep in irreps)]
