"""Radial bases: a handful of functions of the distance, times the cutoff; a file for each kind."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from clebsch.basis.radial_basis.bessel import Bessel
from clebsch.basis.radial_basis.chebyshev import Chebyshev
from clebsch.basis.radial_basis.exp_bernstein import ExpBernstein
from clebsch.basis.radial_basis.functions import BasisFunctions, RadialBasis
from clebsch.basis.radial_basis.gaussian import Gaussian
from clebsch.config import DefaultForm

RadialBasisConfig = Annotated[
    Bessel | Chebyshev | Gaussian | ExpBernstein, Field(discriminator="kind"), DefaultForm("bessel")
]

__all__ = ["BasisFunctions", "Bessel", "Chebyshev", "ExpBernstein", "Gaussian", "RadialBasis", "RadialBasisConfig"]
