"""Functions of the interatomic distance: radial bases, cutoffs, radial models, the edge booster."""

from __future__ import annotations

from clebsch.basis.booster import BoosterConfig, EdgeBooster
from clebsch.basis.cutoff import CutoffConfig, PolynomialCutoff, SmoothCutoff, cutoff_function
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
    "BasisFunctions",
    "Bessel",
    "BoosterConfig",
    "Chebyshev",
    "CutoffConfig",
    "EdgeBooster",
    "ExpBernstein",
    "Gaussian",
    "PolynomialCutoff",
    "RadialBasis",
    "RadialBasisConfig",
    "RadialConfig",
    "RadialModel",
    "SmoothCutoff",
    "SplineGrid",
    "cutoff_function",
]
