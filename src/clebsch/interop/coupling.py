"""Product bases of MACE and PACE in the couplings of this library.

The published couplings are all trees ((1 ⊗ 2) ⊗ 3) … of the irreps 0e, 1o, …, l_max. With equal factors they are
linearly dependent; their symmetric part lies in the span of our orthogonal couplings: a projection loses nothing.
"""

from __future__ import annotations

from functools import cache
from itertools import permutations

import numpy as np
from jaxtyping import Float

from clebsch.errors import CheckpointError, ConfigError
from clebsch.interop.e3nn import coupling_sign
from clebsch.interop.parameters import Parameters
from clebsch.interop.published import Array, Source
from clebsch.models.layer import Layer
from clebsch.o3 import Coupling, Irrep, Irreps, clebsch_gordan, distinct_coupling, symmetric_coupling
from clebsch.ops import ProductBasisDescriptor, ProductBlock

MAX_CORRELATION = 3  # with four factors the codes leave couplings out


def product_parameters(source: Source, name: str, layer: Layer) -> Parameters:
    r"""Weights of the product basis, :math:`w_p = \sum_\eta w_\eta \langle U_\eta, C_p \rangle / (2L + 1)`.

    Args:
        source: has the weights [elements or 1, eta, channels] of every irrep and order and, where the checkpoint kept
            them, the couplings U themselves, which are then used.
        name: of the published module.
        layer: ours.

    Raises:
        ConfigError: fewer than two or more than three factors.
        CheckpointError: the weights belong to other couplings.
    """
    if layer.product_basis is None or layer.product_basis.descriptor.correlation > MAX_CORRELATION:
        raise ConfigError(f"{source.code}: only a correlation of 2 or 3 can be read; see docs/interop.md.")
    descriptor, parameters = layer.product_basis.descriptor, {}
    for index, block in enumerate(descriptor.blocks):
        part = f"{name}.symmetric_contractions.contractions.{block.output}"
        order = descriptor.correlation - block.nu
        weights = source.weight(f"{part}.weights_max" if order == 0 else f"{part}.weights.{order - 1}")
        overlap = _overlap(source, part, descriptor, block)
        if len(overlap) != weights.shape[1]:
            raise CheckpointError(
                f"{source.code}: the weights of {part} are for {weights.shape[1]} couplings of {block.nu} factors, not "
                f"for e3nn's {len(overlap)}; they belong to reduced couplings. Keep U_matrix_{block.nu} in the state."
            )
        weights = weights if len(weights) == 1 else weights[source.kept]  # one for all elements: agnostic
        weights = np.broadcast_to(weights, (len(source.kept), *weights.shape[1:]))
        parameters[f"product_basis.weights.{index}"] = np.einsum("ep,zek->zpk", overlap, weights)
    return parameters


def _overlap(source: Source, part: str, descriptor: ProductBasisDescriptor, block: ProductBlock) -> Array:
    """<U_eta, C_p> / (2L + 1) as [eta, paths]."""
    output, dim = descriptor.output[block.output], descriptor.features.dim
    given = f"{part}.U_matrix_{block.nu}"
    if given in source:
        tensors = np.moveaxis(source.weight(given, output.dim, *(dim,) * block.nu, -1), -1, 0)
        return _project(tensors, block.coupling, symmetric=not descriptor.distinct)
    return _generated_overlap(descriptor.features, output, block.nu, descriptor.distinct, source.old_signs)


@cache
def _generated_overlap(features: Irreps, output: Irrep, nu: int, distinct: bool, old_signs: bool) -> Array:
    coupling = distinct_coupling(features, output, nu) if distinct else symmetric_coupling(features, output, nu)
    return _project(published_couplings(features, output, nu, old_signs), coupling, symmetric=not distinct)


def _project(tensors: Array, coupling: Coupling, symmetric: bool) -> Array:
    """Overlap of ``tensors`` [eta, 2L + 1, dim, …] with every path, whose squares sum to 2L + 1."""
    paths, components, _ = coupling.coefficients.shape
    dense = np.zeros((paths, *tensors.shape[1:]))
    nu = coupling.monomials.shape[1]
    orders = list(permutations(range(nu))) if symmetric else [tuple(range(nu))]
    for order in orders:
        where = tuple(coupling.monomials[:, list(order)].T)
        dense[(slice(None), slice(None), *where)] += coupling.coefficients / len(orders)
    return tensors.reshape(len(tensors), -1) @ dense.reshape(paths, -1).T / components


def published_couplings(
    features: Irreps, output: Irrep, nu: int, old_signs: bool
) -> Float[Array, "eta components *factors"]:
    """The trees of ``nu`` factors into ``output`` in the published order, each with sum of squares 2L + 1.

    After every factor the trees are sorted by their irrep, odd before even; the sorting is stable.

    Args:
        features: irreps of every factor.
        output: irrep (L, P).
        nu: number of factors.
        old_signs: whether couplings have the signs of e3nn before 0.5.

    Returns: [eta, 2L + 1, dim, …] with one axis of the components of ``features`` per factor.
    """
    unit = np.eye(features.dim)
    trees = [(irrep, unit[components]) for irrep, components in zip(features, features.slices(), strict=True)]
    for used in range(2, nu + 1):
        reach = (nu - used) * features.l_max
        trees = [
            (irrep, _grown(tree, left, features, position, irrep, old_signs))
            for left, tree in trees
            for position, right in enumerate(features)
            for irrep in left * right
            if abs(irrep.l - output.l) <= reach
        ]
        trees.sort(key=lambda tree: tree[0])
    return np.stack([tree for irrep, tree in trees if irrep == output])


def _grown(tree: Array, left: Irrep, features: Irreps, position: int, irrep: Irrep, old_signs: bool) -> Array:
    """Couple ``tree`` [left components, dim, …] with the factor at ``position`` to ``irrep``."""
    right = features[position]
    sign = coupling_sign(left.l, right.l, irrep.l, old_signs)
    coupling = sign * irrep.dim**0.5 * clebsch_gordan(left.l, right.l, irrep.l)
    grown = np.zeros((irrep.dim, *tree.shape[1:], features.dim))
    grown[..., features.slices()[position]] = np.einsum("a...,abc->c...b", tree, coupling)
    return grown
