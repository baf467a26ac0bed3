"""PACE's edge booster in its exact reduced form: a multiplicative structure of radial functions."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import cast

import torch
from jaxtyping import Float, Int64
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from clebsch.basis.mlp import MLP, normal
from clebsch.basis.radial_model import PairMLP, one_hot_pairs
from clebsch.config import StrictConfig, Widths
from clebsch.o3 import clebsch_gordan


class BoosterConfig(StrictConfig):
    """Choice of the edge booster.

    Attributes:
        level: how many times the edge features are coupled with the spherical harmonics again.
        hidden: widths of the hidden layers of the radial and pair networks.
    """

    level: int = Field(default=1, ge=0, le=16)
    hidden: Widths = (64, 64, 64)


class EdgeBooster(nn.Module):
    r"""Boosted edge features :math:`B_{k,l}(r; z_i, z_j)`, the coefficients of :math:`Y_{lm}(\hat r)`.

    The published booster starts from :math:`t^{(0)} = x(z_i, z_j) R^{(0)}(r) Y` and couples repeatedly,
    :math:`t^{(n)}_{l_3} = \sum_{l_1 l_2} (R^{(n)} + P^{(n)})_{l_1 l_2 l_3} [t^{(n-1)}_{l_1} \otimes Y_{l_2}]_{l_3}`
    (arXiv 2411.04219, eq. 5-7), R networks of the distance, P of the element pair. All harmonics are of one vector and
    :math:`[Y_{l_1} \otimes Y_{l_2}]_{l_3} = c_{l_1 l_2 l_3} Y_{l_3}`, so only scalars are carried:
    :math:`b^{(n)}_{l_3} = \sum_{l_1 l_2} c_{l_1 l_2 l_3} (R^{(n)} + P^{(n)})_{l_1 l_2 l_3} b^{(n-1)}_{l_1}`,
    c including the normalisation :math:`\sqrt{(2 l_3 + 1) / n_{l_3}}` by the number of paths into l3.
    The streams of all levels are concatenated along the channels.

    Args:
        config: the choice; (level + 1) must divide the channels.
        num_basis: number of radial basis functions.
        num_elements: elements Z.
        l_max: highest degree.
        num_channels: channels K of the result.
        dtype: of the weights.
        generator: source of the initial weights.
    """

    pairs: Tensor
    coupling: Tensor
    left: Tensor

    def __init__(
        self,
        config: BoosterConfig,
        *,
        num_basis: int,
        num_elements: int,
        l_max: int,
        num_channels: int,
        dtype: torch.dtype,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.l_max = l_max
        self.width = width = num_channels // (config.level + 1)
        self.paths = booster_paths(l_max)
        self.register_buffer("pairs", one_hot_pairs(num_elements, dtype), persistent=False)
        self.pair_input = normal((2 * num_elements, width), dtype, generator)
        self.pair_norm = nn.LayerNorm(width, dtype=dtype)
        self.pair_output = normal((width, width), dtype, generator)
        self.radial = MLP((num_basis, *config.hidden, (l_max + 1) * width), dtype, generator)
        sizes = (num_basis, *config.hidden, len(self.paths) * width)
        levels = range(config.level)
        self.level_radials = nn.ModuleList([MLP(sizes, dtype, generator) for _ in levels])
        self.level_pairs = nn.ModuleList(
            [PairMLP(num_elements, config.hidden, sizes[-1], dtype, generator) for _ in levels]
        )
        self.register_buffer("coupling", _coupling(self.paths, l_max).to(dtype), persistent=False)
        self.register_buffer("left", torch.tensor([l1 for l1, _, _ in self.paths]), persistent=False)

    def forward(
        self, basis: Float[Tensor, "edges num_basis"], pairs: Int64[Tensor, " edges"]
    ) -> Float[Tensor, "edges degrees channels"]:
        """Radial basis times cutoff and pairs z_i * Z + z_j to the coefficients of Y_l, l = 0 … l_max."""
        return self._boost(basis, lambda of_pairs: of_pairs.index_select(0, pairs))

    def on_nodes(
        self, basis: Float[Tensor, "*blocks nodes num_basis"]
    ) -> Float[Tensor, "pairs nodes degrees channels"]:
        """Radial basis times cutoff at some distances, one block or one per pair, to the coefficients of all pairs."""
        return self._boost(basis, lambda of_pairs: of_pairs[:, None])

    def _boost(self, basis: Tensor, place: Callable[[Tensor], Tensor]) -> Tensor:
        """All streams; ``place`` puts what belongs to pairs [Z * Z, width] beside what belongs to distances."""
        stream = self.radial(basis).unflatten(-1, (-1, self.width)) * place(self._pair_features()).unsqueeze(-2)
        streams = [stream]
        for radial, pair in zip(self.level_radials, self.level_pairs, strict=True):
            weights = (radial(basis) + place(cast(PairMLP, pair).of_all_pairs())).unflatten(-1, (-1, self.width))
            stream = torch.einsum("pl,...pk->...lk", self.coupling, weights * stream.index_select(-2, self.left))
            streams.append(stream)
        return torch.cat(streams, dim=-1)

    def _pair_features(self) -> Tensor:
        """x(z_i, z_j) of all pairs [Z * Z, width]: linear, layer norm, SiLU, linear."""
        hidden = self.pair_norm(self.pairs @ self.pair_input / self.pairs.shape[1] ** 0.5)
        return functional.silu(hidden) @ self.pair_output / self.width**0.5


def booster_paths(l_max: int) -> list[tuple[int, int, int]]:
    """All (l1, l2, l3) up to l_max whose harmonics of one vector couple: triangle, even sum; ordered by l1, l2, l3."""
    degrees = range(l_max + 1)
    return [
        (l1, l2, l3)
        for l1 in degrees
        for l2 in degrees
        for l3 in range(abs(l1 - l2), min(l1 + l2, l_max) + 1)
        if (l1 + l2 + l3) % 2 == 0
    ]


def harmonic_product(l1: int, l2: int, l3: int) -> float:
    r"""The constant c of :math:`[Y_{l_1} \otimes Y_{l_2}]_{l_3} = c\, Y_{l_3}`, component normalised.

    It is read off at the pole, where only m = 0 lives and :math:`Y_{l0} = \sqrt{2l + 1}`.
    """
    at_pole = clebsch_gordan(l1, l2, l3)[l1, l2, l3]
    return float(at_pole) * math.sqrt((2 * l1 + 1) * (2 * l2 + 1) / (2 * l3 + 1))


def _coupling(paths: list[tuple[int, int, int]], l_max: int) -> Tensor:
    """[paths, l_max + 1]: c_{l1 l2 l3} sqrt(2 l3 + 1) over the root of the number of paths into l3."""
    counts = [sum(path[2] == l3 for path in paths) for l3 in range(l_max + 1)]
    matrix = torch.zeros(len(paths), l_max + 1, dtype=torch.float64)
    for index, (l1, l2, l3) in enumerate(paths):
        matrix[index, l3] = math.sqrt((2 * l3 + 1) / counts[l3]) * harmonic_product(l1, l2, l3)
    return matrix
