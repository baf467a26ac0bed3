"""The CPU backend: vector code emitted for each model, compiled for this processor and kept on disk."""

from __future__ import annotations

from clebsch.ops.cpu.convolution import Convolution
from clebsch.ops.cpu.harmonics import SphericalHarmonics
from clebsch.ops.cpu.product_basis import ProductBasis
from clebsch.ops.interface import Backend

CPU = Backend(name="cpu", spherical_harmonics=SphericalHarmonics, convolution=Convolution, product_basis=ProductBasis)

__all__ = ["CPU", "Convolution", "ProductBasis", "SphericalHarmonics"]
