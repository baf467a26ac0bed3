"""The operations as PyTorch operators: schema, shapes and derivatives, once for all devices.

A backend only implements them: it has one folder of kernels, of which each is handed to `implement` with the kind of
device it is for. Nothing of it knows of derivatives or of tracing.
"""

from __future__ import annotations

from clebsch.ops.operators.convolution import Convolution
from clebsch.ops.operators.harmonics import SphericalHarmonics
from clebsch.ops.operators.linear import Linear
from clebsch.ops.operators.operator import Operator, implement
from clebsch.ops.operators.product_basis import ProductBasis

__all__ = ["Convolution", "Linear", "Operator", "ProductBasis", "SphericalHarmonics", "implement"]
