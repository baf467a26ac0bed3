"""Ziegler–Biersack–Littmark screened nuclear repulsion, switched off at the core radius."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from ase.data import atomic_numbers
from jaxtyping import Float, Float64
from torch import Tensor

from clebsch.basis import PolynomialCutoff, cutoff_function
from clebsch.models.core import CoreRadii
from clebsch.models.float64_constants import Float64Constants
from clebsch.ops import Edges

COULOMB = 14.399645478425668  # e^2 / (4 pi eps0) in eV Å
BOHR = 0.529177210903  # Å
SCREENING = 0.8854  # of the Thomas-Fermi screening length
COEFFICIENTS = (0.1818, 0.5099, 0.2802, 0.02817)
EXPONENTS = (3.2, 0.9423, 0.4028, 0.2016)


class ZBL(Float64Constants):
    r"""Repulsion of short distances, zero from the core radius R of the pair on.

    .. math:: E_i = \frac12 \sum_j \frac{e^2}{4 \pi \epsilon_0} \frac{Z_i Z_j}{r_{ij}} \phi(r_{ij} / a_{ij})
              f_c(r_{ij} / R_{ij}), \qquad a_{ij} = \frac{0.8854\, a_0}{Z_i^{0.23} + Z_j^{0.23}}

    with :math:`\phi(x) = \sum_n c_n e^{-\gamma_n x}` the universal screening function
    (Ziegler, Biersack, Littmark, The Stopping and Range of Ions in Matter, 1985).

    Args:
        elements: chemical symbols, in the order of the element index.
        core: the radii R; they never lie beyond the cutoff of the neighbour list.
    """

    CUTOFF = PolynomialCutoff(p=6)

    numbers: Tensor

    def __init__(self, elements: Sequence[str], core: CoreRadii) -> None:
        super().__init__()
        self.core = core
        numbers = [atomic_numbers[symbol] for symbol in elements]
        self.register_buffer("numbers", torch.tensor(numbers, dtype=torch.float64), persistent=False)

    def forward(self, vectors: Float[Tensor, "edges 3"], edges: Edges) -> Float64[Tensor, " targets"]:
        """Edge vectors in Å to the repulsion energy of every target in eV, in float64."""
        r = torch.linalg.vector_norm(vectors.double(), dim=-1)
        charge = self.numbers[edges.species]
        charge_i, charge_j = charge[edges.centers], charge[edges.neighbors]
        x = r * (charge_i**0.23 + charge_j**0.23) / (SCREENING * BOHR)
        terms = zip(COEFFICIENTS, EXPONENTS, strict=True)
        screening = torch.stack([factor * torch.exp(-rate * x) for factor, rate in terms]).sum(0)
        switch = cutoff_function(self.CUTOFF, r / self.core.of(edges), 1.0)
        energy = 0.5 * COULOMB * charge_i * charge_j / r * screening * switch
        return energy.new_zeros(edges.num_targets).index_add(0, edges.centers, energy)
