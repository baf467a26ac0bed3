"""What a backend has to provide."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from clebsch.ops.descriptors import ConvolutionDescriptor, LinearDescriptor, ProductBasisDescriptor


@dataclass(frozen=True)
class Backend:
    """One implementation of the four operations of a Multi-ACE model.

    Every factory returns a parameter-free module whose call is differentiable to any order in all its
    floating-point arguments. Backends agree in arguments, layouts, values and derivatives with ``reference``; those
    made of kernels share the modules of `clebsch.ops.operators` and differ in the devices they are implemented for.

    Attributes:
        name: the name users ask for.
        spherical_harmonics: ``l_max, dtype -> module(vectors [edges, 3]) -> [edges, (l_max + 1)**2]``.
        convolution: ``descriptor, dtype -> module(features [components, sources, channels] or None,
            harmonics [edges, (l_max + 1)**2], radial weights [edges, paths, channels] or a RadialTable, edges)
            -> one [2l + 1, targets, multiplicity * channels] per output irrep``.
        product_basis: ``descriptor, dtype -> module(factors: 1 or nu tensors [components, atoms, channels],
            weights [elements, paths of all blocks, channels], elements) -> [components, atoms, channels]``.
        linear: ``descriptor, dtype -> module(x [components, atoms, channels] or one tensor per irrep, weights, elements
            or None) -> [components, atoms, channels]``.
    """

    name: str
    spherical_harmonics: Callable[[int, torch.dtype], nn.Module]
    convolution: Callable[[ConvolutionDescriptor, torch.dtype], nn.Module]
    product_basis: Callable[[ProductBasisDescriptor, torch.dtype], nn.Module]
    linear: Callable[[LinearDescriptor, torch.dtype], nn.Module]
