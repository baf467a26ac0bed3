"""Equivariant linear maps: one channel-mixing matrix per irrep."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from clebsch.basis.mlp import normal
from clebsch.errors import ClebschError
from clebsch.o3 import Irreps
from clebsch.ops import Backend, ElementGroups, LinearDescriptor


class IrrepsLinear(nn.Module):
    r"""Mix the channels of equal irreps, :math:`y_{l} = x_{l} W_{l} / \sqrt{K_l}`.

    Args:
        irreps_in: irreps of the input, each once.
        channels_in: channels K_l of every input irrep, or one number for all of them.
        irreps_out: irreps of the result; one without a match in the input comes out zero; repeats get maps of their
            own.
        num_channels: channels of every irrep of the result.
        num_elements: None for one map for all atoms, else one map per element.
        backend: kernels.
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
        backend: Backend,
        dtype: torch.dtype,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        widths = [channels_in] * len(irreps_in) if isinstance(channels_in, int) else channels_in
        by_element = num_elements is not None
        self.backend = backend
        self.descriptor = LinearDescriptor(irreps_in, tuple(widths), irreps_out, num_channels, by_element)
        self.map = backend.linear(self.descriptor, dtype)
        self.weights = nn.ParameterDict()
        for index, found in enumerate(self.descriptor.sources):
            if found is not None:
                shape = (widths[found], num_channels)
                shape = shape if num_elements is None else (num_elements, *shape)
                self.weights[str(index)] = normal(shape, dtype, generator)

    def forward(
        self, x: Tensor | Sequence[Float[Tensor, "_ atoms _"]], elements: ElementGroups | None = None
    ) -> Float[Tensor, "components atoms channels"]:
        """Map every irrep.

        Args:
            x: [components, atoms, K], or one [2l + 1, atoms, K_l] per input irrep.
            elements: the atoms by element; needed where there is one map per element.

        Raises:
            ClebschError: there is one map per element, but no elements are given.
        """
        if self.descriptor.by_element and elements is None:
            raise ClebschError("elements: expected the atoms by element, got None; the map differs by element")
        return self.map(x, list(self.weights.values()), elements if self.descriptor.by_element else None)

    def after(self, first: IrrepsLinear) -> IrrepsLinear:
        r"""Return ``first`` and this map as one, with weights :math:`W^{(1)}_l W_l / \sqrt{K_l}`.

        Args:
            first: a map to the irreps that this one takes, of the same irreps.
        """
        mine, its = self.descriptor, first.descriptor
        assert its.irreps_in == its.irreps_out == mine.irreps_in and not its.by_element
        weights = list(self.weights.values())
        both = IrrepsLinear(
            its.irreps_in,
            its.channels_in,
            mine.irreps_out,
            mine.channels,
            num_elements=weights[0].shape[0] if mine.by_element else None,
            backend=self.backend,
            dtype=weights[0].dtype,
            generator=torch.Generator(),  # PyTorch's own is not touched: the weights that it draws are replaced
        )
        found = (source for source in mine.sources if source is not None)
        for target, source, weight, scale in zip(both.weights.values(), found, weights, mine.scales, strict=True):
            target.data = first.weights[str(source)].detach() @ weight.detach() * scale
        return both
