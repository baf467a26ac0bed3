"""Atoms closer than any of the training data: the network sees no shorter distance, nuclei repel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float64
from torch import Tensor

from clebsch.basis import atomic_radii
from clebsch.errors import ConfigError
from clebsch.models.float64_constants import Float64Constants
from clebsch.ops import Edges

Radii = Mapping[str, float]


class CoreRadii(Float64Constants):
    r"""The distance R of two elements below which nuclei repel, and the map that keeps a network out of their cores.

    .. math:: r' = a \Big[1 - w \big(\tfrac12 - t^3 + \tfrac12 t^4\big)\Big] \;\text{for}\; r < a = 0.9\, R,
              \qquad t = \mathrm{clip}\Big(\frac{r / a - 1 + w}{w}, 0, 1\Big), \qquad w = 0.1

    and r' = r elsewhere: twice continuously differentiable, and constant, 0.95 a, below 0.9 a. A repulsion that begins
    at R is therefore there before the network is held. The idea is that of the inner cutoff of ACE (Bochkarev et al.,
    Phys. Rev. Materials 6, 013804).

    Args:
        elements: chemical symbols, in the order of the element index.
        r_max: cutoff of the neighbour list in Å.
        radii: R in Å of pairs such as "C-H", in any order; by default, and for pairs that are not named, the sum of
            the radii of both atoms.
        atoms: these radii in Å by element; by default, and for elements that are not named, the covalent radii, r_max /
            2 at most.

    Raises:
        ConfigError: a pair is not one of two known elements, is named twice, or its R is not within (0, r_max).
    """

    HELD = 0.9
    WIDTH = 0.1

    radii: Tensor

    def __init__(
        self, elements: Sequence[str], r_max: float, radii: Radii | None = None, *, atoms: Radii | None = None
    ) -> None:
        super().__init__()
        of_atoms = torch.from_numpy(atomic_radii(elements, atoms or {})).clamp(max=r_max / 2)
        table = of_atoms[:, None] + of_atoms[None, :]
        for (i, j), radius in check_radii(elements, r_max, radii or {}).items():
            table[i, j] = table[j, i] = radius
        self.register_buffer("radii", table.flatten(), persistent=False)

    def of(self, edges: Edges) -> Float64[Tensor, " edges"]:
        """Core radius R of every edge in Å."""
        return self.radii.index_select(0, edges.pairs())

    def keep_out(self, vectors: Float64[Tensor, "edges 3"], edges: Edges) -> Float64[Tensor, "edges 3"]:
        """Edge vectors r_ij in Å, none of them zero, to vectors of the same direction and the length r'."""
        r = torch.linalg.vector_norm(vectors, dim=-1)
        radius = self.HELD * self.of(edges)
        t = ((r / radius - 1 + self.WIDTH) / self.WIDTH).clamp(0, 1)
        seen = torch.where(r < radius, radius * (1 - self.WIDTH * (0.5 - t**3 + 0.5 * t**4)), r)
        return vectors * (seen / r)[:, None]


def check_radii(elements: Sequence[str], r_max: float, radii: Radii) -> dict[tuple[int, int], float]:
    """Return R by the indices of both elements; raises ConfigError for a pair or an R that makes no sense."""
    found: dict[tuple[int, int], float] = {}
    for pair, radius in radii.items():
        symbols = pair.split("-")
        if len(symbols) != 2 or not set(symbols) <= set(elements):
            raise ConfigError(f"core: '{pair}' is no pair of {', '.join(elements)}; write two of them as 'C-H'.")
        first, second = sorted(elements.index(symbol) for symbol in symbols)
        if (first, second) in found:
            raise ConfigError(f"core: '{pair}' is there twice, remove one.")
        if not 0 < radius < r_max:
            raise ConfigError(
                f"core: '{pair}' has the radius {radius}; expected one above 0 and below r_max, {r_max} Å."
            )
        found[first, second] = radius
    return found
