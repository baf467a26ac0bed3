"""What every radial basis has: a number of functions, a cutoff, and constants, some of which may be trained."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float, Float64
from pydantic import Field
from torch import Tensor, nn

from clebsch.basis.cutoff import CutoffConfig, PolynomialCutoff, cutoff_function
from clebsch.config import StrictConfig


class BasisFunctions(StrictConfig):
    """Choice of a radial basis; every kind is a subclass with its options and its functions.

    Attributes:
        kind: name of the kind.
        num: number of functions.
        cutoff: the cutoff every function is multiplied with.
    """

    kind: str
    num: int = Field(default=8, ge=1, le=512)
    cutoff: CutoffConfig = PolynomialCutoff()

    def constants(self, r_max: float) -> dict[str, Tensor]:
        """Tensors that the functions are made of, by name, in float64."""
        raise NotImplementedError

    def trained(self) -> tuple[str, ...]:
        """Names of the constants that are parameters of the model."""
        return ()

    def functions(
        self, r: Float[Tensor, "distances 1"], r_max: float, constants: Mapping[str, Tensor]
    ) -> Float[Tensor, "distances num"]:
        """Distances in Å to the values of the functions without the cutoff."""
        raise NotImplementedError


def damping(num: int, decay: float) -> Float64[Tensor, " num"]:
    r"""Factors :math:`n^{-p} / \sqrt{\langle n^{-2p} \rangle}`, n from 1, of functions that oscillate ever faster."""
    weights = torch.arange(1, num + 1, dtype=torch.float64) ** -decay
    return weights / weights.square().mean().sqrt()


class RadialBasis(nn.Module):
    r"""Radial basis times cutoff, :math:`b_n(r) f_c(r)`.

    Args:
        config: the choice.
        r_max: cutoff radius in Å.
        dtype: of parameters and constants.
    """

    def __init__(self, config: BasisFunctions, r_max: float, dtype: torch.dtype) -> None:
        super().__init__()
        self.config, self.r_max = config, r_max
        constants = {name: values.to(dtype) for name, values in config.constants(r_max).items()}
        self.names = tuple(constants)
        for name, values in constants.items():
            if name in config.trained():
                self.register_parameter(name, nn.Parameter(values))
            else:
                self.register_buffer(name, values, persistent=False)

    def forward(self, r: Float[Tensor, " edges"]) -> Float[Tensor, "edges num_basis"]:
        """Distances in Å to basis values."""
        return self.functions(r) * self.envelope(r)[:, None]

    def envelope(self, r: Float[Tensor, " edges"]) -> Float[Tensor, " edges"]:
        """The cutoff function of distances in Å."""
        return cutoff_function(self.config.cutoff, r, self.r_max)

    def functions(self, r: Float[Tensor, " edges"]) -> Float[Tensor, "edges num_basis"]:
        """Distances in Å to basis values without the cutoff."""
        return self.config.functions(r[:, None], self.r_max, {name: getattr(self, name) for name in self.names})
