"""Constants that stay in float64 whatever dtype the network around them has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn


class Float64Constants(nn.Module):
    """Module whose own buffers follow a change of device but not of dtype.

    Energies of isolated atoms reach -10^5 eV, where float32 resolves 8 meV; ``potential.float()`` must not round them.
    """

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> Float64Constants:
        exact = dict(self.named_buffers(recurse=False, remove_duplicate=False))
        super()._apply(fn, recurse)
        for name, value in exact.items():
            setattr(self, name, value.to(self.get_buffer(name).device))
        return self
