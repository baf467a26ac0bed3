"""Real spherical harmonics by the recursion over Clebsch–Gordan coefficients."""

from __future__ import annotations

from functools import cache
from math import sqrt

import numpy as np
from jaxtyping import Float

from clebsch.errors import ClebschError
from clebsch.o3.clebsch_gordan import clebsch_gordan


@cache
def recursion_factors(l_max: int) -> tuple[float, ...]:
    """Return a_0, …, a_{l_max-1} of Y_{l+1,c} = a_l Σ_ab C(l, 1, l+1)_abc Y_{l,a} Y_{1,b}.

    a_l is fixed by the value on the polar axis (0, 1, 0), where only m = 0 remains: Y_{l,0} = √(2l+1). The same
    recursion gives the harmonics and, differentiated, all their derivatives.

    Args:
        l_max: largest degree of the recursion's result.
    """
    polar = [clebsch_gordan(l, 1, l + 1)[l, 1, l + 1] for l in range(l_max)]
    return tuple(float(sqrt((2 * l + 3) / (3 * (2 * l + 1))) / polar[l]) for l in range(l_max))


def spherical_harmonics(l_max: int, vectors: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "components n"]:
    """Evaluate real spherical harmonics of the directions of vectors, Σ_m Y_lm² = 2l+1 (component normalisation).

    Y_0 = 1, Y_1 = √3 (x, y, z)/r, Y_{l+1,c} = a_l Σ_ab C(l, 1, l+1)_abc Y_{l,a} Y_{1,b}; e3nn's basis and signs.

    Args:
        l_max: largest degree.
        vectors: [n, 3], any length but zero.

    Returns:
        [(l_max+1)², n]; degree l occupies the components l² to (l+1)².

    Raises:
        ClebschError: l_max is negative, the shape is not [n, 3] or a vector has no direction.
    """
    vectors = np.asarray(vectors, dtype=np.float64)
    if l_max < 0:
        raise ClebschError(f"l_max: expected an integer >= 0, got {l_max}; l_max = 0 is the constant 1 alone")
    if vectors.ndim != 2 or vectors.shape[1] != 3:
        raise ClebschError(f"vectors: expected the shape [n, 3], got {list(vectors.shape)}; pass one vector per row")
    lengths = np.linalg.norm(vectors, axis=1)
    directed = (lengths > 0) & np.isfinite(lengths)
    if not np.all(directed):
        index = int(np.flatnonzero(~directed)[0])
        raise ClebschError(f"vectors: expected non-zero finite vectors, got {vectors[index]} at {index}; drop it")
    degrees = [np.ones((1, len(vectors)))]
    first = sqrt(3) * (vectors / lengths[:, None]).T
    for l, factor in enumerate(recursion_factors(l_max)):
        degrees.append(factor * np.einsum("abc,an,bn->cn", clebsch_gordan(l, 1, l + 1), degrees[l], first))
    return np.concatenate(degrees)
