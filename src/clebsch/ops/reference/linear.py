"""Equivariant linear maps in plain torch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from clebsch.ops.descriptors import LinearDescriptor
from clebsch.ops.edges import ElementGroups


class Linear(nn.Module):
    r"""The map of :class:`~clebsch.ops.LinearDescriptor`, :math:`y_l = x_l W_l / \sqrt{K_l}`.

    Args:
        descriptor: irreps and channels.
        dtype: of the arithmetic.
    """

    def __init__(self, descriptor: LinearDescriptor, dtype: torch.dtype) -> None:
        super().__init__()
        self.descriptor = descriptor
        self.components = descriptor.irreps_in.slices()
        scales = iter(descriptor.scales)
        self.targets = [  # dimension and source of every output irrep, and the factor of its matrix
            (irrep.dim, source, 0.0 if source is None else next(scales))
            for irrep, source in zip(descriptor.irreps_out, descriptor.sources, strict=True)
        ]

    def forward(
        self,
        x: Tensor | Sequence[Float[Tensor, "_ atoms _"]],
        weights: Sequence[Float[Tensor, "*elements _ channels"]],
        elements: ElementGroups | None,
    ) -> Float[Tensor, "components atoms channels"]:
        """Map every irrep.

        Args:
            x: [components, atoms, K], or one [2l + 1, atoms, K_l] per input irrep.
            weights: one [K_l, channels] per output irrep with a match in the input, or [elements, K_l, channels].
            elements: the atoms by element where there is one map per element, else None.
        """
        parts = [x[part] for part in self.components] if isinstance(x, Tensor) else list(x)
        mapped, number = [], 0
        for dim, source, scale in self.targets:
            if source is None:
                mapped.append(parts[0].new_zeros(dim, parts[0].shape[1], self.descriptor.channels))
                continue
            part, weight = parts[source], weights[number]
            if elements is not None:  # channels of every element side by side, zero but for that of the atom
                chosen = functional.one_hot(elements.species, weight.shape[0]).to(part.dtype)
                part, weight = (part[:, :, None, :] * chosen[:, :, None]).flatten(2), weight.flatten(0, 1)
            mapped.append(part @ weight * scale)
            number += 1
        return torch.cat(mapped)
