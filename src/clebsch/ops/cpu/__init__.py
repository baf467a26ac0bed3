"""The CPU backend: vector code emitted for each model, compiled for this processor and kept on disk."""

from __future__ import annotations

from clebsch.ops.cpu import convolution, harmonics, linear, product_basis  # noqa: F401 - they implement the operators
from clebsch.ops.interface import Backend
from clebsch.ops.operators import Convolution, Linear, ProductBasis, SphericalHarmonics

CPU = Backend("cpu", SphericalHarmonics, Convolution, ProductBasis, Linear)

__all__ = ["CPU"]
