"""Floating-point operations of a forward pass, counted from descriptors and shapes.

A multiply–add counts as two. The counts are those of the sparse algebra; a backend that carries dense zeros does more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from clebsch.basis import EdgeBooster, RadialModel
from clebsch.basis.mlp import MLP
from clebsch.models import MultiACEConfig
from clebsch.models.edge_embedding import EdgeEmbedding
from clebsch.models.layer import Layer
from clebsch.models.linear import IrrepsLinear
from clebsch.models.one_particle_basis import AtomicBasis
from clebsch.models.product_basis import ProductBasisLayer
from clebsch.o3 import clebsch_gordan
from clebsch.ops import ConvolutionDescriptor, ProductBasisDescriptor


@dataclass(frozen=True)
class Cost:
    """Operations of one forward pass per edge and, edges apart, per atom."""

    per_edge: float
    per_atom: float


def shared_cost(edges: EdgeEmbedding, config: MultiACEConfig) -> Cost:
    """Cost of harmonics (recursion), radial basis and booster."""
    harmonics = 6 * (config.l_max + 1) ** 2
    if config.spline_intervals is not None:
        return Cost(harmonics + 20, 0)
    basis = 6 * config.radial_basis.num
    return Cost(harmonics + basis + (_booster(edges.booster) if edges.booster is not None else 0), 0)


def layer_cost(layer: Layer, config: MultiACEConfig) -> Cost:
    """Cost of one layer."""
    channels = config.num_channels
    atoms = _atomic_basis_per_atom(layer.atomic_basis)
    if layer.product_basis is not None:
        atoms += _product(layer.product_basis, channels)
    if layer.residual is not None:
        atoms += _linear(layer.residual)
    if layer.readout.mlp is not None:
        atoms += _mlp(layer.readout.mlp)
    edges = convolution_flops(convolution_of(layer), channels, features=layer.atomic_basis.layer.node_features)
    if config.spline_intervals is not None:
        edges += 8 * len(convolution_of(layer).paths) * channels  # four control points per weight
    elif layer.atomic_basis.radial is not None:
        edges += _radial(layer.atomic_basis.radial)
    return Cost(edges, atoms)


def convolution_of(layer: Layer) -> ConvolutionDescriptor:
    """What the convolution of ``layer`` computes, asked of the reference backend's module."""
    convolution: Any = layer.atomic_basis.convolution
    return convolution.descriptor


def convolution_flops(descriptor: ConvolutionDescriptor, channels: int, *, features: bool) -> int:
    """Per edge: the couplings' non-zeros times harmonics (once) and features, times radial weights, summed."""
    total = 0
    for path in descriptor.paths:
        l1, l3 = descriptor.features[path.feature].l, descriptor.output[path.output].l
        coupling = clebsch_gordan(l1, path.l2, l3)
        matrix = int(np.any(coupling != 0, axis=1).sum())  # entries (m1, m3) of Σ_m2 C Y_l2m2
        total += 2 * int(np.count_nonzero(coupling))
        total += channels * ((2 * matrix if features else 0) + 2 * (2 * l3 + 1))
    return total


def product_flops(descriptor: ProductBasisDescriptor, channels: int) -> int:
    """Per atom: the distinct monomials of every order, the couplings' non-zeros and the weights."""
    total = 0
    for nu in sorted({block.nu for block in descriptor.blocks}):
        blocks = [block for block in descriptor.blocks if block.nu == nu]
        monomials = np.unique(np.concatenate([block.coupling.monomials for block in blocks]), axis=0)
        prefixes = sum(len(np.unique(monomials[:, :length], axis=0)) for length in range(2, nu + 1))
        couplings = sum(2 * int(np.count_nonzero(block.coupling.coefficients)) for block in blocks)
        weights = sum(2 * block.coupling.coefficients[..., 0].size for block in blocks)
        total += prefixes + couplings + weights
    return channels * total


def _atomic_basis_per_atom(basis: AtomicBasis) -> int:
    linears = [basis.linear_up, basis.mixing, basis.element_mixing]
    if basis.gate is not None:
        linears += [basis.gate.residual, basis.gate.mixing]
    return sum(_linear(linear) for linear in linears if linear is not None)


def _product(product: ProductBasisLayer, channels: int) -> int:
    linears = [factor for factor in product.factors if isinstance(factor, IrrepsLinear)]
    if product.mixing is not None:
        linears.append(product.mixing)
    return product_flops(product.descriptor, channels) + sum(_linear(linear) for linear in linears)


def _linear(linear: IrrepsLinear) -> int:
    """2 K_in K_out per component; of maps per element an atom takes one."""
    shapes = {int(index): weight.shape[-2:] for index, weight in linear.weights.items()}
    irreps = linear.descriptor.irreps_out
    return sum(2 * irreps[index].dim * rows * columns for index, (rows, columns) in shapes.items())


def _mlp(mlp: MLP) -> int:
    return sum(2 * weight.numel() for weight in mlp.weights)


def _radial(radial: RadialModel) -> int:
    paths, channels = radial.shape
    if radial.config.kind == "linear":
        return 2 * radial.num_basis * paths * channels
    if radial.config.kind == "mlp_elements":
        network = radial.element_mlp
        return 2 * network.input.numel() + sum(2 * weight.numel() for weight in network.weights)
    return _mlp(radial.mlp) + (2 * paths * channels if radial.config.kind == "mlp_pair" else 0)


def _booster(booster: EdgeBooster) -> int:
    """The networks of r and, per level, one scalar coupling per path; networks of element pairs are per pair."""
    couplings = 5 * len(booster.paths) * booster.width
    levels = sum(_mlp(radial) + couplings for radial in booster.level_radials if isinstance(radial, MLP))
    return _mlp(booster.radial) + (booster.l_max + 1) * booster.width + levels
