"""Two atoms alone, of which the data say nothing: they repel, or they have one bond."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement

import numpy as np
import torch
from ase.data import atomic_numbers, covalent_radii
from jaxtyping import Float
from torch import Tensor

from clebsch.data import Configuration, Graph, shortest_distances
from clebsch.errors import ConfigError
from clebsch.models.potential import Potential

SHORTEST, SPACING = 0.5, 0.05  # of the distances, Å
EVERY, DRAWN = 5, 4  # steps from one penalty to the next, and demands in it
LONGEST_BOND = 1.15  # in sums of covalent radii
MARGIN = 0.02  # eV/Å at short distances; falls to zero at the cutoff
LARGEST = 20.0  # force between atoms no closer than in the data, or than a bond, eV/Å


@dataclass(frozen=True)
class Demand:
    """That the sum of ``coefficients`` times the forces f at ``distances``, Å, be within the limits, eV/Å."""

    pair: tuple[str, str]
    distances: tuple[float, ...]
    coefficients: tuple[float, ...]
    lowest: float
    highest: float


class DimerPrior:
    r"""Penalty on the force f = -dE/dr between two atoms alone where it would make a well that is no bond.

    .. math:: P = \operatorname{mean}\, \ln(1 + d^2), \qquad d = \max(0,\; m - v,\; v - 20),
              \qquad v = f(r), \; f(r) - f(r + 0.05) \;\text{or}\; -f(r), \qquad m = 0.02\, (1 - r / r_{max})

    Two elements that the training data know as bonded, closer than 1.15 sums of their covalent radii, are to repel
    (v = f) below their shortest distance there, to attract (v = -f) beyond 1.15 sums of radii, and to have a convex
    energy in between: a curve with one minimum, the bond. All others of the data are to repel at all distances. No
    force, nor what it falls by in 0.05 Å of the bond, is to exceed 20 eV/Å where atoms are no closer than in the data,
    or than a bond: a network that has never seen a pair knows no bounds.

    This is an assumption for covalent molecules, not knowledge: their data do not say what two atoms alone do. Nothing
    is asked of elements that are not in the data, and of bonds that do not end within the cutoff.

    Args:
        potential: gives elements and cutoff.
        train: training graphs, for the elements that occur and the shortest distances.
        weight: of the penalty in the loss, (eV/Å)^-2.
        seed: seed of the draws.

    Raises:
        ConfigError: nothing is left to ask, as no bond of these elements ends within the cutoff.
    """

    name = "dimers"
    diagnosis = (
        "The part of two atoms alone has diverged; no step was taken. "
        "Lower optimizer.lr or dimer_weight and start again."
    )

    def __init__(self, potential: Potential, train: Sequence[Graph], weight: float = 1.0, seed: int = 0) -> None:
        self.weight, self.seed = weight, seed
        shortest = shortest_distances(train, potential.elements)
        present = sorted({index for graph in train for index in graph.species.tolist()})
        self.demands = [
            demand
            for pair in combinations_with_replacement([potential.elements[index] for index in present], 2)
            for demand in list_demands(pair, shortest.get("-".join(pair)), potential.r_max)
        ]
        if not self.demands:
            raise ConfigError(
                f"dimer_weight has nothing to ask: bonds of {', '.join(potential.elements)} do not end within r_max = "
                f"{potential.r_max} Å. Enlarge r_max, or leave dimer_weight out."
            )

    def acts(self, step: int) -> bool:
        """Whether it is part of the loss of ``step``: of every fifth."""
        return step % EVERY == 0

    def value(self, potential: Potential, step: int) -> Float[Tensor, ""]:
        """Return P, like d^2 for small d (eV/Å), of the demands that ``seed`` and ``step`` draw; differentiable."""
        order = np.random.default_rng([self.seed, step]).permutation(len(self.demands))
        drawn = [self.demands[index] for index in order[:DRAWN]]
        return shortfall(radial_forces(potential, drawn), drawn).square().log1p().mean()


def radial_forces(potential: Potential, demands: Sequence[Demand]) -> Float[Tensor, " dimers"]:
    """Return f, eV/Å, of the dimers of ``demands``, one after another; differentiable."""
    frames = [dimer(demand.pair, r) for demand in demands for r in demand.distances]
    forces = potential(potential.batch(frames), create_graph=True).forces
    assert forces is not None
    return forces[1::2, 2]


def shortfall(forces: Float[Tensor, " dimers"], demands: Sequence[Demand]) -> Float[Tensor, " demands"]:
    """Return d, eV/Å, of demands whose dimers, one after another, have the forces f."""
    coefficients = forces.new_tensor([c for demand in demands for c in demand.coefficients])
    owners = [index for index, demand in enumerate(demands) for _ in demand.distances]
    lowest = forces.new_tensor([demand.lowest for demand in demands])
    highest = forces.new_tensor([demand.highest for demand in demands])
    values = torch.zeros_like(lowest).index_add(0, torch.tensor(owners, device=forces.device), coefficients * forces)
    return (lowest - values).clamp(min=0) + (values - highest).clamp(min=0)


def list_demands(pair: tuple[str, str], shortest: float | None, r_max: float) -> Iterator[Demand]:
    """Yield what is asked of two elements up to ``r_max``, given their ``shortest`` distance in the data; all in Å."""
    bond = sum(covalent_radii[atomic_numbers[symbol]] for symbol in pair)
    longest = LONGEST_BOND * bond
    bonded = shortest is not None and shortest < longest
    if bonded and longest >= r_max:
        return
    for r in np.arange(SHORTEST, r_max, SPACING).tolist():
        lowest = MARGIN * (1 - r / r_max)
        highest = LARGEST if r > (shortest or bond) else math.inf
        if not bonded or r < shortest:
            yield Demand(pair, (r,), (1.0,), lowest, highest)
        elif r > longest:
            yield Demand(pair, (r,), (-1.0,), lowest, highest)
        else:
            yield Demand(pair, (r, r + SPACING), (1.0, -1.0), lowest, highest)


def dimer(pair: tuple[str, str], r: float) -> Configuration:
    """Return two atoms alone, the second one ``r`` Å above the first."""
    numbers = np.array([atomic_numbers[symbol] for symbol in pair])
    return Configuration(numbers, np.array([[0.0, 0.0, 0.0], [0.0, 0.0, r]]), origin=f"{'-'.join(pair)} at {r:.2f} Å")
