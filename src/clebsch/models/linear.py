"""Equivariant linear maps: one channel-mixing matrix per irrep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from clebsch.basis.mlp import normal
from clebsch.errors import ClebschError
from clebsch.o3 import Irreps


class IrrepsLinear(nn.Module):
    r"""Mix the channels of equal irreps, :math:`y_{l} = x_{l} W_{l} / \sqrt{K_l}`.

    Args:
        irreps_in: irreps of the input, each once.
        channels_in: channels K_l of every input irrep, or one number for all of them.
        irreps_out: irreps of the result; one without a match in the input comes out zero; repeats get maps of their
            own.
        num_channels: channels of every irrep of the result.
        num_elements: None for one map for all atoms, else one map per element.
        dtype: of the weights.
        generator: source of the initial weights.
    """

    def __init__(
        self,
        irreps_in: Irreps,
        channels_in: Sequence[int] | int,
        irreps_out: Irreps,
        num_channels: int,
        *,
        num_elements: int | None = None,
        dtype: torch.dtype,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.irreps_out, self.num_channels, self.num_elements = irreps_out, num_channels, num_elements
        widths = [channels_in] * len(irreps_in) if isinstance(channels_in, int) else channels_in
        source = {irrep: index for index, irrep in enumerate(irreps_in)}
        self.sources = [source.get(irrep) for irrep in irreps_out]
        self.weights = nn.ParameterDict()
        for index, found in enumerate(self.sources):
            if found is not None:
                shape = (widths[found], num_channels)
                shape = shape if num_elements is None else (num_elements, *shape)
                self.weights[str(index)] = normal(shape, dtype, generator)

    def forward(
        self, x: Sequence[Float[Tensor, "_ atoms _"]], species: Int64[Tensor, " atoms"] | None = None
    ) -> Float[Tensor, "components atoms channels"]:
        """Map every irrep.

        Args:
            x: one [2l + 1, atoms, K_l] per input irrep.
            species: element index of every atom; needed where there is one map per element.

        Raises:
            ClebschError: there is one map per element, but no species are given.
        """
        groups = None if self.num_elements is None else _group(species, self.num_elements)
        parts = []
        for index, source in enumerate(self.sources):
            if source is None:
                parts.append(x[0].new_zeros(self.irreps_out[index].dim, x[0].shape[1], self.num_channels))
                continue
            weight = self.weights[str(index)]
            weight = weight / weight.shape[-2] ** 0.5
            parts.append(x[source] @ weight if groups is None else _mix_by_element(x[source], weight, groups))
        return torch.cat(parts)


@dataclass(frozen=True)
class _ElementGroups:
    """Atoms sorted by element: ``order`` [atoms] sorts, ``inverse`` [atoms] puts back, ``counts`` per element."""

    order: Tensor
    inverse: Tensor
    counts: list[int]


def _group(species: Tensor | None, num_elements: int) -> _ElementGroups:
    if species is None:
        raise ClebschError("species: expected the element index of every atom, got None; the map differs by element")
    order = torch.argsort(species, stable=True)
    return _ElementGroups(order, torch.argsort(order), torch.bincount(species, minlength=num_elements).tolist())


def _mix_by_element(x: Tensor, weight: Tensor, groups: _ElementGroups) -> Tensor:
    """Apply to every atom of x [2l + 1, atoms, K] the matrix of its element: one matrix product per element."""
    parts = x.index_select(1, groups.order).split(groups.counts, dim=1)
    mixed = [part @ matrix for part, matrix in zip(parts, weight.unbind(), strict=True)]
    return torch.cat(mixed, dim=1).index_select(1, groups.inverse)


def split_irreps(features: Float[Tensor, "components atoms channels"], irreps: Irreps) -> list[Tensor]:
    """One [2l + 1, atoms, channels] per irrep."""
    return [features[components] for components in irreps.slices()]
