"""Conventions of e3nn that published weights depend on: flat weights, normalisations, signs, order of paths.

Every function returns *effective* matrices: with all normalisations multiplied in, so that y = x W. The module
``parameters`` divides by the normalisations of this library.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from jaxtyping import Float

from clebsch.errors import CheckpointError, ConfigError
from clebsch.interop.published import Array, Source
from clebsch.o3 import Irrep, Irreps

# The factors c with mean((c f(z))^2) = 1 of e3nn are Monte-Carlo means over a million seeded normal numbers, so the
# published models contain these numbers and not the integrals (which are 1.67653, 1.59254 and 1.84616).
ACTIVATION_SCALE = {"silu": 1.6791767923989418, "tanh": 1.5937334472592695, "sigmoid": 1.8467055342154763}

# Triples of degrees, in any order, whose real coupling tensor has the other sign in e3nn before 0.5; all sums are odd.
CHANGED_SIGNS = frozenset(
    {
        (1, 2, 2), (1, 3, 3), (1, 4, 4), (1, 5, 5), (1, 6, 6),
        (3, 4, 6), (4, 4, 5), (4, 5, 6), (5, 5, 5), (5, 6, 6),
    }
)  # fmt: skip
CHECKED_DEGREE = 6


def coupling_sign(l1: int, l2: int, l3: int, old_signs: bool) -> float:
    """Sign of the published coupling l1 ⊗ l2 → l3 relative to that of this library (e3nn 0.5 and later).

    Raises:
        ConfigError: old signs of a degree above 6, which nobody has compared.
    """
    if not old_signs or (l1 + l2 + l3) % 2 == 0:
        return 1.0
    if max(l1, l2, l3) > CHECKED_DEGREE:
        raise ConfigError(
            f"e3nn_version: signs from before 0.5 are known up to degree {CHECKED_DEGREE}, got ({l1}, {l2}, {l3}). "
            "Keep the U_matrix_* in the state, which have their signs."
        )
    return -1.0 if tuple(sorted((l1, l2, l3))) in CHANGED_SIGNS else 1.0


def multiplicities(irreps: object) -> dict[Irrep, int]:
    """Read "8x0e+8x1o", or an e3nn object that prints like that, as {0e: 8, 1o: 8}.

    Raises:
        ConfigError: an irrep occurs twice.
    """
    found: dict[Irrep, int] = {}
    for entry in str(irreps).replace(" ", "").split("+"):
        multiplicity, _, name = entry.rpartition("x")
        irrep = Irrep.parse(name)
        if irrep in found:
            raise ConfigError(f"irreps '{irreps}' list {irrep} twice; only irreps that occur once can be read.")
        found[irrep] = int(multiplicity or 1)
    return found


def num_channels(hidden: Mapping[Irrep, int]) -> int:
    """The one multiplicity of all irreps.

    Raises:
        ConfigError: there are several; this library has the same number of channels everywhere.
    """
    counts = set(hidden.values())
    if len(counts) > 1:
        shown = "+".join(f"{count}x{irrep}" for irrep, count in hidden.items())
        raise ConfigError(f"irreps '{shown}' have different multiplicities; only equal ones can be read.")
    return counts.pop()


def linear_maps(
    flat: Float[Array, "..."], inputs: Mapping[Irrep, int], outputs: Mapping[Irrep, int]
) -> dict[Irrep, Float[Array, "_ _"]]:
    r"""Effective maps of a linear layer, :math:`W_{uw} / \sqrt{F}` with F the multiplicity of the input.

    Args:
        flat: the weights, row-major [mul_in, mul_out] of every irrep in the order of the input.
        inputs: multiplicity of every input irrep.
        outputs: multiplicity of every output irrep.

    Returns: [mul_in, mul_out] of every irrep that both sides have.
    """
    maps = _split(flat, {irrep: (inputs[irrep], outputs[irrep]) for irrep in inputs if irrep in outputs})
    return {irrep: weight / inputs[irrep] ** 0.5 for irrep, weight in maps.items()}


def element_maps(
    flat: Float[Array, "..."],
    inputs: Mapping[Irrep, int],
    outputs: Mapping[Irrep, int],
    attributes: Float[Array, "elements V"],
) -> dict[Irrep, Float[Array, "elements _ _"]]:
    r"""Effective maps per element of a tensor product with scalar attributes, :math:`W_{uvw} a_{zv} / \sqrt{F V}`.

    Args:
        flat: the weights, row-major [mul_in, V, mul_out] of every irrep in the order of the input.
        inputs: multiplicity F of every input irrep.
        outputs: multiplicity of every output irrep.
        attributes: [elements, V], for one-hot elements the unit matrix.

    Returns: [elements, mul_in, mul_out] of every irrep that both sides have.
    """
    width = attributes.shape[1]
    maps = _split(flat, {irrep: (inputs[irrep], width, outputs[irrep]) for irrep in inputs if irrep in outputs})
    return {
        irrep: np.einsum("uvw,zv->zuw", weight, attributes) / (inputs[irrep] * width) ** 0.5
        for irrep, weight in maps.items()
    }


def perceptron(source: Source, prefix: str) -> list[Float[Array, "_ _"]]:
    """Effective matrices of a FullyConnectedNet between plain SiLUs: the constant of SiLU goes into the next map."""
    count = source.count(f"{prefix}.layer", ".weight")
    weights = [source.weight(f"{prefix}.layer{index}.weight") for index in range(count)]
    return with_activation([weight / weight.shape[0] ** 0.5 for weight in weights])


def with_activation(matrices: list[Array], activation: str = "silu") -> list[Array]:
    """The maps between normalised activations as maps between plain ones."""
    return matrices[:1] + [ACTIVATION_SCALE[activation] * matrix for matrix in matrices[1:]]


Path = tuple[Irrep, int, Irrep]
"""A path of a convolution: features ⊗ Y_l2 → output; published convolutions have each at most once."""


def convolution_paths(features: Iterable[Irrep], l_max: int, targets: Iterable[Irrep]) -> list[Path]:
    """All paths into the targets in the order in which the codes enumerate them: features, l2, output."""
    wanted = set(targets)
    harmonics = Irreps.spherical_harmonics(l_max)
    return [
        (feature, harmonic.l, output)
        for feature in features
        for harmonic in harmonics
        for output in feature * harmonic
        if output in wanted
    ]


def _split(flat: Array, shapes: Mapping[Irrep, tuple[int, ...]]) -> dict[Irrep, Array]:
    sizes = [int(np.prod(shape)) for shape in shapes.values()]
    if sum(sizes) != flat.size:
        shown = ", ".join(f"{irrep} {list(shape)}" for irrep, shape in shapes.items())
        raise CheckpointError(
            f"A weight has {flat.size} entries, but the settings give {sum(sizes)} ({shown}). "
            "Pass the settings that the model was built with."
        )
    parts = np.split(flat.reshape(-1), np.cumsum(sizes)[:-1])
    return {irrep: part.reshape(shape) for (irrep, shape), part in zip(shapes.items(), parts, strict=True)}
