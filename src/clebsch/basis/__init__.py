"""Functions of the interatomic distance: radial bases, cutoffs, radial models, the edge booster."""

from __future__ import annotations

from clebsch.basis.booster import BoosterConfig, EdgeBooster
from clebsch.basis.cutoff import CutoffConfig, PolynomialCutoff, SmoothCutoff, cutoff_function
from clebsch.basis.distance_transform import (
    AgnesiTransform,
    DistanceTransform,
    DistanceTransformConfig,
    SoftTransform,
    atomic_radii,
)
from clebsch.basis.element_mlp import ElementMLP
from clebsch.basis.radial_basis import (
    BasisFunctions,
    Bessel,
    Chebyshev,
    ExpBernstein,
    Gaussian,
    RadialBasis,
    RadialBasisConfig,
)
from clebsch.basis.radial_model import RadialConfig, RadialModel
from clebsch.basis.spline import SplineGrid

__all__ = [
    "AgnesiTransform",
    "BasisFunctions",
    "Bessel",
    "BoosterConfig",
    "Chebyshev",
    "CutoffConfig",
    "DistanceTransform",
    "DistanceTransformConfig",
    "EdgeBooster",
    "ElementMLP",
    "ExpBernstein",
    "Gaussian",
    "PolynomialCutoff",
    "RadialBasis",
    "RadialBasisConfig",
    "RadialConfig",
    "RadialModel",
    "SmoothCutoff",
    "SoftTransform",
    "SplineGrid",
    "atomic_radii",
    "cutoff_function",
]
