"""Effective matrices as parameters of this library, by their names in MultiACE."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import cast

import numpy as np
import torch
from jaxtyping import Float

from clebsch.basis import Bessel, PolynomialCutoff
from clebsch.basis.mlp import activation_scale
from clebsch.errors import CheckpointError
from clebsch.interop.e3nn import Path, coupling_sign
from clebsch.interop.published import Array, Source
from clebsch.models import Potential
from clebsch.models.layer import Layer
from clebsch.o3 import Irrep
from clebsch.ops import ConvolutionDescriptor

Parameters = dict[str, Array]


def linear_parameters(name: str, maps: Sequence[Array | None]) -> Parameters:
    """Parameters of an IrrepsLinear, which divides by the root of its input channels.

    Args:
        name: of the module.
        maps: effective [..., channels_in, channels] of every output irrep; None where there is none.
    """
    return {
        f"{name}.weights.{index}": matrix * matrix.shape[-2] ** 0.5
        for index, matrix in enumerate(maps)
        if matrix is not None
    }


def perceptron_parameters(name: str, matrices: Sequence[Array]) -> Parameters:
    """Parameters of an MLP, which normalises its inputs and activations.

    Args:
        name: of the module.
        matrices: effective [channels_in, ...] of every layer, for plain SiLU between them.
    """
    weights = [matrix.reshape(len(matrix), -1) * len(matrix) ** 0.5 for matrix in matrices]
    weights = weights[:1] + [weight / activation_scale("silu") for weight in weights[1:]]
    return {f"{name}.weights.{index}": weight for index, weight in enumerate(weights)}


def paths_of(descriptor: ConvolutionDescriptor) -> list[Path]:
    """The paths of one of our convolutions in the form of ``convolution_paths``."""
    return [(descriptor.features[path.feature], path.l2, descriptor.output[path.output]) for path in descriptor.paths]


def arrange_radial(
    matrix: Float[Array, "hidden columns"],
    published: Sequence[Path],
    ours: Sequence[Path],
    *,
    channels: int,
    old_signs: bool,
) -> Float[Array, "hidden paths channels"]:
    """Columns of the last radial map in our order of paths and with our signs.

    Args:
        matrix: [hidden, published paths * channels].
        published: paths in the order of the columns.
        ours: paths wanted, a part of the published ones.
        channels: published number of channels.
        old_signs: whether the couplings have the signs of e3nn before 0.5.

    Returns: [hidden, our paths, channels].

    Raises:
        CheckpointError: the matrix has another number of columns.
    """
    if matrix.shape[1] != len(published) * channels:
        raise CheckpointError(
            f"Radial weights have {matrix.shape[1]} columns, but the settings give {len(published)} paths times "
            f"{channels} channels. Pass the settings that the model was built with."
        )
    slices = matrix.reshape(len(matrix), len(published), channels)
    signs = [coupling_sign(feature.l, l2, output.l, old_signs) for feature, l2, output in ours]
    return slices[:, [published.index(path) for path in ours]] * np.array(signs)[:, None]


def arrange_rows(
    maps: Mapping[Irrep, Float[Array, "_ _"]],
    published: Sequence[Path],
    ours: Sequence[Path],
    channels: int,
) -> dict[Irrep, Float[Array, "_ _"]]:
    """Rows of the maps that mix the paths, in our order of paths.

    Args:
        maps: [published paths into the irrep * published channels, channels_out] of every irrep.
        published: all published paths.
        ours: all our paths, a part of the published ones.
        channels: our number of channels; rows of zeros are added for channels that were not published.

    Returns: [our paths into the irrep * channels, channels_out] of every irrep that our paths reach.
    """
    arranged = {}
    for irrep in dict.fromkeys(output for _, _, output in ours):
        order = [path for path in published if path[2] == irrep]
        blocks = maps[irrep].reshape(len(order), -1, maps[irrep].shape[1])
        blocks = blocks[[order.index(path) for path in ours if path[2] == irrep]]
        arranged[irrep] = pad(blocks, channels, axis=1).reshape(-1, blocks.shape[2])
    return arranged


def bessel_config(frequencies: Float[Array, " num"], r_max: float, p: int) -> Bessel:
    """Bessel functions of these ``frequencies`` (1/Å) times the polynomial cutoff of power ``p``."""
    trained = not np.allclose(frequencies * r_max / np.pi, np.arange(1, len(frequencies) + 1), rtol=1e-6, atol=0)
    return Bessel(num=len(frequencies), trainable=trained, cutoff=PolynomialCutoff(p=p))


def per_element(source: Source, name: str, elements: Sequence[str], default: float) -> dict[str, float]:
    """One number per element from a weight that has one, or one for all, or is not there."""
    values = source.weight(name).reshape(-1) if name in source else np.array([default])
    if len(values) not in (1, len(elements)):
        raise CheckpointError(
            f"{source.code}: {name} has {len(values)} numbers for {len(elements)} elements; only models with one head "
            "can be read. Extract one head first."
        )
    return dict(zip(elements, np.broadcast_to(values, len(elements)).tolist(), strict=True))


def pad(array: Array, size: int, axis: int = -1) -> Array:
    """``array`` with zeros appended along ``axis`` up to ``size``."""
    missing = list(array.shape)
    missing[axis] = size - missing[axis]
    return np.concatenate([array, np.zeros(missing)], axis=axis)


def fill(
    source: Source,
    potential: Potential,
    parameters: Parameters,
    of_layer: Callable[[int, Layer], Parameters],
    unused: Sequence[str],
) -> Potential:
    """Put everything into the model of ``potential`` and return it.

    Args:
        source: the weights, all of which must have been read in the end.
        potential: with a random model.
        parameters: of the model outside its layers.
        of_layer: parameters of a layer, without the name of the layer.
        unused: patterns of the names that are rightly not read.

    Raises:
        CheckpointError: a parameter is missing, a weight is left over, or a shape does not fit.
    """
    for index, layer in enumerate(cast("Iterable[Layer]", potential.model.layers)):
        parameters = parameters | {f"layers.{index}.{name}": array for name, array in of_layer(index, layer).items()}
    source.finish(unused)
    tensors = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in parameters.items()}
    try:
        potential.model.load_state_dict(tensors)
    except RuntimeError as error:
        raise CheckpointError(
            f"{source.code}: the weights do not fit the model that the settings describe: {error}. "
            "Pass the settings that the model was built with."
        ) from None
    return potential
