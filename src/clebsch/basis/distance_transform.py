"""Transformed distances: what the radial basis is a function of in place of r, by the sizes of both atoms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

import numpy as np
import torch
from ase.data import atomic_numbers, covalent_radii
from jaxtyping import Float, Int64
from pydantic import Field
from torch import Tensor, nn

from clebsch.config import StrictConfig


class AgnesiTransform(StrictConfig):
    r""":math:`t = [1 + a x^q / (1 + x^{q - p})]^{-1}`, :math:`x = 2 r / (R_i + R_j)` (doi 10.1063/5.0158783, eq. 14).

    R are covalent radii; t falls from 1 at r = 0 to 0, fastest where atoms are bound.

    Attributes:
        a: strength.
        q: power of large distances.
        p: power of short distances, above q.
        radii: R in Å by element; those that are not named have the covalent radii of ASE.
    """

    kind: Literal["agnesi"] = "agnesi"
    a: float = Field(default=1.0805, gt=0, allow_inf_nan=False)
    q: float = Field(default=0.9183, gt=0, allow_inf_nan=False)
    p: float = Field(default=4.5791, gt=0, allow_inf_nan=False)
    radii: dict[str, float] = {}

    def of(self, r: Float[Tensor, "*shape"], size: Float[Tensor, "*_"]) -> Float[Tensor, "*shape"]:
        """Distances r and sums of both radii in Å to t; written so that r = 0 is no exception."""
        x = 2 * r / size
        return 1 / (1 + self.a * x**self.p / (1 + x ** (self.p - self.q)))


class SoftTransform(StrictConfig):
    r""":math:`t = r_0 + (r - r_0)\, \tfrac12 [1 + \tanh(\alpha (r - m) / (r_1 - r_0))]` in Å, as in ACEsuit/mace.

    :math:`r_0 = \tfrac34 R,\; r_1 = \tfrac43 R,\; m = (r_0 + r_1) / 2`, R the sum of both covalent radii: distances
    below r_0 are hardly told apart, those above r_1 are left as they are.

    Attributes:
        alpha: steepness.
        radii: covalent radii in Å by element; those that are not named are ASE's.
    """

    kind: Literal["soft"] = "soft"
    alpha: float = Field(default=4.0, gt=0, allow_inf_nan=False)
    radii: dict[str, float] = {}

    def of(self, r: Float[Tensor, "*shape"], size: Float[Tensor, "*_"]) -> Float[Tensor, "*shape"]:
        """Distances r and sums of both radii in Å to t in Å."""
        low, high = 0.75 * size, 4 / 3 * size
        rise = torch.tanh(self.alpha * (r - 0.5 * (low + high)) / (high - low))
        return low + (r - low) * 0.5 * (1 + rise)


DistanceTransformConfig = Annotated[AgnesiTransform | SoftTransform, Field(discriminator="kind")]


class DistanceTransform(nn.Module):
    """The transform of the edges of a model; pairs of elements with the same sum of radii are one class.

    Args:
        config: the choice.
        elements: chemical symbols, in the order of the element index.
        dtype: of the arithmetic.

    Attributes:
        sizes: sums of both radii in Å, one per class.
        classes: class of every pair z_i * Z + z_j.
    """

    sizes: Tensor
    classes: Tensor

    def __init__(self, config: AgnesiTransform | SoftTransform, elements: Sequence[str], dtype: torch.dtype) -> None:
        super().__init__()
        self.config = config
        radii = atomic_radii(elements, config.radii)
        sizes, classes = np.unique((radii[:, None] + radii).reshape(-1), return_inverse=True)
        self.register_buffer("sizes", torch.tensor(sizes, dtype=dtype), persistent=False)
        self.register_buffer("classes", torch.from_numpy(classes.reshape(-1)).long(), persistent=False)

    def forward(self, r: Float[Tensor, " edges"], pairs: Int64[Tensor, " edges"]) -> Float[Tensor, " edges"]:
        """Distances in Å and pairs z_i * Z + z_j to transformed distances."""
        return self.config.of(r, self.sizes.index_select(0, self.classes.index_select(0, pairs)))

    def on_nodes(self, r: Float[Tensor, " nodes"]) -> Float[Tensor, "classes nodes"]:
        """Some distances in Å to the transformed distances of every class."""
        return self.config.of(r[None, :].expand(len(self.sizes), -1), self.sizes[:, None])


def atomic_radii(elements: Sequence[str], given: Mapping[str, float]) -> Float[np.ndarray, " elements"]:
    """Radii in Å of ``elements``: those ``given``, else the covalent radii of ASE."""
    return np.array([given.get(symbol, covalent_radii[atomic_numbers[symbol]]) for symbol in elements], dtype=float)
