"""Functions of the interatomic distance: radial bases, cutoffs, radial models, the edge booster."""

from __future__ import annotations

from clebsch.basis.booster import BoosterConfig, EdgeBooster
from clebsch.basis.cutoff import CutoffConfig, cutoff_function
from clebsch.basis.radial_basis import RadialBasis, RadialBasisConfig
from clebsch.basis.radial_model import RadialConfig, RadialModel
from clebsch.basis.spline import SplineGrid

__all__ = [
    "BoosterConfig",
    "CutoffConfig",
    "EdgeBooster",
    "RadialBasis",
    "RadialBasisConfig",
    "RadialConfig",
    "RadialModel",
    "SplineGrid",
    "cutoff_function",
]
