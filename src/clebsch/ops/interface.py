"""What a backend has to provide."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from clebsch.ops.descriptors import ConvolutionDescriptor, ProductBasisDescriptor


@dataclass(frozen=True)
class Backend:
    """One implementation of the three operations of a Multi-ACE model.

    Every factory returns a parameter-free module whose call is differentiable to any order in all its
    floating-point arguments. Backends agree in arguments, layouts, values and derivatives with ``reference``.

    Attributes:
        name: the name users ask for.
        spherical_harmonics: ``l_max, dtype -> module(vectors [edges, 3]) -> [edges, (l_max + 1)**2]``.
        convolution: ``descriptor, dtype -> module(features [components, atoms, channels] or None,
            harmonics [edges, (l_max + 1)**2], weights [edges, paths, channels], centers [edges],
            neighbors [edges], num_atoms) -> one [2l + 1, atoms, multiplicity * channels] per output irrep``.
        product_basis: ``descriptor, dtype -> module(factors: 1 or nu tensors [components, atoms, channels],
            weights: one [elements, paths, channels] per block, species [atoms]) -> [components, atoms, channels]``.
    """

    name: str
    spherical_harmonics: Callable[[int, torch.dtype], nn.Module]
    convolution: Callable[[ConvolutionDescriptor, torch.dtype], nn.Module]
    product_basis: Callable[[ProductBasisDescriptor, torch.dtype], nn.Module]
