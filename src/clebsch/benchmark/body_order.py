"""How much of a molecule's energy its pairs, triples and quadruples carry."""

from __future__ import annotations

from itertools import combinations
from math import comb

import numpy as np

from clebsch.data import Configuration
from clebsch.errors import ConfigError
from clebsch.models import Potential

BATCH = 256


def body_order_terms(potential: Potential, configuration: Configuration, highest: int = 4) -> list[float]:
    r"""Return the sums of the n-body energies of a molecule for n = 1 … ``highest``, and last all of higher order, eV.

    .. math:: V_n = \sum_{m=1}^{n} (-1)^{n-m} \binom{N-m}{n-m} S_m, \qquad S_m = \sum_{|I| = m} E(I)

    with E(I) the energy of the atoms I alone, at their places.

    Args:
        potential: the potential.
        configuration: a molecule of N atoms without periodic directions.
        highest: largest number of atoms of a fragment; the cost grows as N^highest.

    Raises:
        ConfigError: the configuration is periodic, or ``highest`` is not below the number of atoms.
    """
    size = configuration.num_atoms
    if configuration.pbc.any():
        raise ConfigError("A body-order decomposition needs a molecule; this configuration is periodic.")
    if not 1 <= highest < size:
        raise ConfigError(f"highest: expected 1 … {size - 1} for {size} atoms, got {highest}.")
    sums = [_sum_of_fragments(potential, configuration, order) for order in range(1, highest + 1)]
    terms = [
        sum((-1) ** (n - m) * comb(size - m, n - m) * sums[m - 1] for m in range(1, n + 1))
        for n in range(1, highest + 1)
    ]
    whole = _energies(potential, configuration, [tuple(range(size))])
    return [*terms, float(whole[0] - sum(terms))]


def _sum_of_fragments(potential: Potential, configuration: Configuration, order: int) -> float:
    fragments = list(combinations(range(configuration.num_atoms), order))
    parts = [fragments[start : start + BATCH] for start in range(0, len(fragments), BATCH)]
    return float(sum(_energies(potential, configuration, part).sum() for part in parts))


def _energies(potential: Potential, configuration: Configuration, fragments: list[tuple[int, ...]]) -> np.ndarray:
    chosen = map(np.array, fragments)
    parts = (Configuration(configuration.numbers[atoms], configuration.positions[atoms]) for atoms in chosen)
    return potential(potential.batch(parts), forces=False).energy.cpu().numpy()
