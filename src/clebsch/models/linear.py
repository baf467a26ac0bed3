"""Equivariant linear maps: one channel-mixing matrix per irrep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, pairwise

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from clebsch.basis.mlp import normal
from clebsch.errors import ClebschError
from clebsch.o3 import Irreps
from clebsch.ops.linear import Block, RowMixing, mix_rows
from clebsch.ops.orders import ElementGroups, group_by_element, remember


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
        self.components = sum(irrep.dim for irrep in irreps_out)
        self.layout = _Layout(
            _places(irreps_in),
            _places(irreps_out),
            tuple(self.sources),
            tuple(widths[found] ** -0.5 for found in self.sources if found is not None),
        )

    def forward(
        self, x: Tensor | Sequence[Float[Tensor, "_ atoms _"]], species: Int64[Tensor, " atoms"] | None = None
    ) -> Float[Tensor, "components atoms channels"]:
        """Map every irrep.

        Args:
            x: [components, atoms, K], or one [2l + 1, atoms, K_l] per input irrep.
            species: element index of every atom; needed where there is one map per element.

        Raises:
            ClebschError: there is one map per element, but no species are given.
        """
        parts = [x] if isinstance(x, Tensor) else list(x)
        atoms = parts[0].shape[1]
        groups = (None, None) if self.num_elements is None else _group(species, self.num_elements)
        mixing = _row_mixing(self.layout, isinstance(x, Tensor), atoms, *groups)
        rows = [part.reshape(part.shape[0] * atoms, part.shape[2]) for part in parts]
        mixed = mix_rows(rows, list(self.weights.values()), mixing)
        return mixed.view(self.components, atoms, self.num_channels)


@dataclass(frozen=True)
class _Layout:
    """First component and dimension of every input irrep and of every output irrep, and the sources of the latter."""

    inputs: tuple[tuple[int, int], ...]
    outputs: tuple[tuple[int, int], ...]
    sources: tuple[int | None, ...]
    scales: tuple[float, ...]


def _group(species: Tensor | None, num_elements: int) -> ElementGroups:
    if species is None:
        raise ClebschError("species: expected the element index of every atom, got None; the map differs by element")
    return group_by_element(species, num_elements)


@remember
def _row_mixing(layout: _Layout, packed: bool, atoms: int, order: Tensor | None, start: Tensor | None) -> RowMixing:
    """Rows (component, atom) of every irrep, with one map per element those of every irrep and element."""
    bounds = [0, atoms] if start is None else start.tolist()
    counts = [end - begin for begin, end in pairwise(bounds)]
    blocks: list[Block] = []
    weight = 0
    for output, source in enumerate(layout.sources):
        if source is None:
            continue
        for element in range(len(counts)):
            piece = element + (source * len(counts) if packed else 0)
            number = None if start is None else element
            blocks.append(Block(0 if packed else source, piece, output * len(counts) + element, weight, number))
        weight += 1
    sizes_in, sizes_out = (
        [[dim * count for count in counts] for _, dim in irreps] for irreps in (layout.inputs, layout.outputs)
    )
    pieces_in = [list(chain.from_iterable(sizes_in))] if packed else sizes_in
    pieces_out = list(chain.from_iterable(sizes_out))
    if order is None:
        return RowMixing(blocks, layout.scales, pieces_in, pieces_out)
    inputs = [layout.inputs] if packed else [[(0, dim)] for _, dim in layout.inputs]
    orders_in = [_row_order(irreps, order, bounds) for irreps in inputs]
    return RowMixing(blocks, layout.scales, pieces_in, pieces_out, orders_in, _row_order(layout.outputs, order, bounds))


def _row_order(irreps: Sequence[tuple[int, int]], order: Tensor, bounds: Sequence[int]) -> Tensor:
    """Rows sorted by irrep, element, component and atom."""
    rows = []
    for first, dim in irreps:
        components = torch.arange(first, first + dim, device=order.device)[:, None] * len(order)
        rows += [(components + order[begin:end]).flatten() for begin, end in pairwise(bounds)]
    return torch.cat(rows)


def _places(irreps: Irreps) -> tuple[tuple[int, int], ...]:
    return tuple((part.start, part.stop - part.start) for part in irreps.slices())
