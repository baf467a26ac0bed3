"""Representations of O(3): irreps, coupling coefficients, rotations and spherical harmonics (numpy, float64)."""

from clebsch.o3.clebsch_gordan import clebsch_gordan
from clebsch.o3.coupling import Coupling, distinct_coupling, symmetric_coupling
from clebsch.o3.irreps import Irrep, Irreps
from clebsch.o3.spherical_harmonics import recursion_factors, spherical_harmonics
from clebsch.o3.wigner import irreps_rotation, random_rotation, wigner_d

__all__ = [
    "Coupling",
    "Irrep",
    "Irreps",
    "clebsch_gordan",
    "distinct_coupling",
    "irreps_rotation",
    "random_rotation",
    "recursion_factors",
    "spherical_harmonics",
    "symmetric_coupling",
    "wigner_d",
]
