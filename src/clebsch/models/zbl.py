"""Ziegler–Biersack–Littmark screened nuclear repulsion, switched off at the core radius."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from ase.data import atomic_numbers
from jaxtyping import Float, Float64
from pydantic import Field
from torch import Tensor

from clebsch.basis import PolynomialCutoff, cutoff_function
from clebsch.config import StrictConfig
from clebsch.models.core import CoreRadii
from clebsch.models.float64_constants import Float64Constants
from clebsch.ops import Edges

COULOMB = 14.399645478425668  # e^2 / (4 pi eps0) in eV Å
BOHR = 0.529177210903  # Å
SCREENING = 0.8854  # of the Thomas-Fermi screening length
COEFFICIENTS = (0.1818, 0.5099, 0.2802, 0.02817)
EXPONENTS = (3.2, 0.9423, 0.4028, 0.2016)


class ZBLConstants(StrictConfig):
    r"""Constants of the repulsion; the defaults are those of Ziegler, Biersack and Littmark, codes have others.

    Attributes:
        coulomb: :math:`e^2 / 4 \pi \epsilon_0` in eV Å.
        length: screening length of two atoms with Z = 0.5^{1 / exponent} in Å, 0.8854 Bohr radii.
        exponent: of the atomic numbers in the screening length.
        coefficients: c of the screening function.
        p: power of the polynomial cutoff.
    """

    coulomb: float = Field(default=COULOMB, gt=0, allow_inf_nan=False)
    length: float = Field(default=SCREENING * BOHR, gt=0, allow_inf_nan=False)
    exponent: float = Field(default=0.23, gt=0, allow_inf_nan=False)
    coefficients: tuple[float, float, float, float] = COEFFICIENTS
    p: int = Field(default=6, ge=2, le=256)


class ZBL(Float64Constants):
    r"""Repulsion of short distances, zero from the core radius R of the pair on.

    .. math:: E_i = \frac12 \sum_j \frac{e^2}{4 \pi \epsilon_0} \frac{Z_i Z_j}{r_{ij}} \phi(r_{ij} / a_{ij})
              f_c(r_{ij} / R_{ij}), \qquad a_{ij} = \frac{0.8854\, a_0}{Z_i^{0.23} + Z_j^{0.23}}

    unless other constants are given, with :math:`\phi(x) = \sum_n c_n e^{-\gamma_n x}` the universal screening function
    (Ziegler, Biersack, Littmark, The Stopping and Range of Ions in Matter, 1985).

    Args:
        elements: chemical symbols, in the order of the element index.
        core: the radii R; they never lie beyond the cutoff of the neighbour list.
        constants: of the repulsion.
    """

    numbers: Tensor

    def __init__(self, elements: Sequence[str], core: CoreRadii, constants: ZBLConstants | None = None) -> None:
        super().__init__()
        self.core, self.constants = core, constants or ZBLConstants()
        self.cutoff = PolynomialCutoff(p=self.constants.p)
        numbers = [atomic_numbers[symbol] for symbol in elements]
        self.register_buffer("numbers", torch.tensor(numbers, dtype=torch.float64), persistent=False)

    def forward(self, vectors: Float[Tensor, "edges 3"], edges: Edges) -> Float64[Tensor, " targets"]:
        """Edge vectors in Å to the repulsion energy of every target in eV, in float64."""
        r = torch.linalg.vector_norm(vectors.double(), dim=-1)
        charge = self.numbers[edges.species]
        charge_i, charge_j = charge[edges.centers], charge[edges.neighbors]
        constants = self.constants
        x = r * (charge_i**constants.exponent + charge_j**constants.exponent) / constants.length
        terms = zip(constants.coefficients, EXPONENTS, strict=True)
        screening = torch.stack([factor * torch.exp(-rate * x) for factor, rate in terms]).sum(0)
        switch = cutoff_function(self.cutoff, r / self.core.of(edges), 1.0)
        energy = 0.5 * constants.coulomb * charge_i * charge_j / r * screening * switch
        return energy.new_zeros(edges.num_targets).index_add(0, edges.centers, energy)
