"""The reference backend: plain torch, the definition that every other backend is held to."""

from __future__ import annotations

from clebsch.ops.interface import Backend
from clebsch.ops.reference.convolution import Convolution
from clebsch.ops.reference.harmonics import SphericalHarmonics
from clebsch.ops.reference.linear import Linear
from clebsch.ops.reference.product_basis import ProductBasis

REFERENCE = Backend("reference", SphericalHarmonics, Convolution, ProductBasis, Linear)

__all__ = ["REFERENCE", "Convolution", "Linear", "ProductBasis", "SphericalHarmonics"]
