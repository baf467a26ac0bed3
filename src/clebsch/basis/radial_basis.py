"""Radial bases: a handful of functions of the distance, times the cutoff."""

from __future__ import annotations

import math
from typing import Literal

import torch
from jaxtyping import Float
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional

from clebsch.basis.cutoff import CutoffConfig, cutoff_function
from clebsch.config import StrictConfig


class RadialBasisConfig(StrictConfig):
    """Choice of the radial basis.

    Attributes:
        kind: "bessel" (DimeNet), "chebyshev" (ACE, of an exponentially scaled distance), "gaussian" (SchNet) or
            "exp_bernstein" (SpookyNet).
        num: number of functions.
        trainable: whether frequencies (bessel) or the decay (exp_bernstein) are trained; an error for the others.
        decay: the n-th function of "bessel" or "chebyshev" is divided by n to this power (and all are multiplied with
            one number that keeps their mean square); above 0, radial functions that are learned are smooth first.
        cutoff: the cutoff every function is multiplied with.
    """

    kind: Literal["bessel", "chebyshev", "gaussian", "exp_bernstein"] = "bessel"
    num: int = Field(default=8, ge=1)
    trainable: bool = False
    decay: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    cutoff: CutoffConfig = CutoffConfig()

    @model_validator(mode="after")
    def _can_be_trained(self) -> RadialBasisConfig:
        if self.trainable and self.kind not in ("bessel", "exp_bernstein"):
            raise ValueError(
                f"the radial basis '{self.kind}' has nothing to train; set trainable to false or choose bessel or "
                "exp_bernstein"
            )
        if self.decay and self.kind not in ("bessel", "chebyshev"):
            raise ValueError(
                f"the functions of the radial basis '{self.kind}' are equally smooth; set decay to 0 or choose bessel "
                "or chebyshev"
            )
        return self


class RadialBasis(nn.Module):
    r"""Radial basis times cutoff, :math:`b_n(r) f_c(r)`.

    * bessel: :math:`\sqrt{2 / r_{max}} \sin(n \pi r / r_{max}) / r`, n from 1 (arXiv 2003.03123, eq. 7);
    * chebyshev: :math:`T_n(x)`, :math:`x = 1 - 2 (e^{-\lambda (r / r_{max} - 1)} - 1) / (e^\lambda - 1)`, n from 0
      (Drautz, Phys. Rev. B 99, 014104, eq. 24);
    * gaussian: :math:`\exp(-(r - \mu_n)^2 / 2 \sigma^2)`, centres evenly from 0 to r_max, width the spacing
      (arXiv 1706.08566);
    * exp_bernstein: :math:`\binom{N}{n} x^{N-n} (1 - x)^n`, :math:`x = e^{-\alpha r}`, n from 0 to N = num - 1,
      :math:`\alpha` the softplus of the parameter (SpookyNet, arXiv 2105.00304).

    With a ``decay`` p the n-th function of the first two, counted from 1, is multiplied with
    :math:`n^{-p} / \sqrt{\langle n^{-2p} \rangle}`.

    Args:
        config: the choice.
        r_max: cutoff radius in Å.
        dtype: of parameters and constants.
    """

    DECAY = 2.0  # of the Chebyshev argument: resolves short distances finer than long ones
    ALPHA = 0.5  # 1/Å, start of the exponential-Bernstein decay, as published

    constants: Tensor
    weights: Tensor
    log_binomial: Tensor

    def __init__(self, config: RadialBasisConfig, r_max: float, dtype: torch.dtype) -> None:
        super().__init__()
        self.config, self.r_max = config, r_max
        initial = self._initial().to(dtype)
        if config.trainable:
            self.constants = nn.Parameter(initial)
        else:
            self.register_buffer("constants", initial, persistent=False)
        if config.decay:
            weights = torch.arange(1, config.num + 1, dtype=torch.float64) ** -config.decay
            self.register_buffer("weights", (weights / weights.square().mean().sqrt()).to(dtype), persistent=False)
        if config.kind == "exp_bernstein":
            self.register_buffer("log_binomial", _log_binomial(config.num - 1).to(dtype), persistent=False)

    def forward(self, r: Float[Tensor, " edges"]) -> Float[Tensor, "edges num_basis"]:
        """Distances in Å to basis values."""
        return self.functions(r) * self.envelope(r)[:, None]

    def envelope(self, r: Float[Tensor, " edges"]) -> Float[Tensor, " edges"]:
        """The cutoff function of distances in Å."""
        return cutoff_function(self.config.cutoff, r, self.r_max)

    def functions(self, r: Float[Tensor, " edges"]) -> Float[Tensor, "edges num_basis"]:
        """Distances in Å to basis values without the cutoff."""
        values = self._functions(r[:, None])
        return values * self.weights if self.config.decay else values

    def _functions(self, column: Float[Tensor, "edges 1"]) -> Float[Tensor, "edges num_basis"]:
        if self.config.kind == "bessel":
            return math.sqrt(2 / self.r_max) * torch.sin(self.constants * column) / column
        if self.config.kind == "chebyshev":
            return self._chebyshev(column)
        if self.config.kind == "gaussian":
            width = self.r_max / max(self.config.num - 1, 1)
            return torch.exp(-0.5 * ((column - self.constants) / width) ** 2)
        return self._exp_bernstein(column)

    def _initial(self) -> Tensor:
        """Frequencies (bessel), centres (gaussian), inverse softplus of the decay (exp_bernstein), or degrees."""
        num = self.config.num
        if self.config.kind == "bessel":
            return math.pi / self.r_max * torch.arange(1, num + 1, dtype=torch.float64)
        if self.config.kind == "gaussian":
            return torch.linspace(0, self.r_max, num, dtype=torch.float64)
        if self.config.kind == "exp_bernstein":
            return torch.tensor([math.log(math.expm1(self.ALPHA))], dtype=torch.float64)
        return torch.arange(num, dtype=torch.float64)

    def _chebyshev(self, r: Tensor) -> Tensor:
        scaled = torch.expm1(-self.DECAY * (r / self.r_max - 1)) / math.expm1(self.DECAY)
        x = 1 - 2 * scaled
        values = [torch.ones_like(x), x]
        while len(values) < self.config.num:
            values.append(2 * x * values[-1] - values[-2])
        return torch.cat(values[: self.config.num], dim=-1)

    def _exp_bernstein(self, r: Tensor) -> Tensor:
        alpha = functional.softplus(self.constants)
        index = torch.arange(self.config.num, dtype=r.dtype, device=r.device)
        log_rest = torch.log(-torch.expm1(-alpha * r))
        return torch.exp(self.log_binomial - (self.config.num - 1 - index) * alpha * r + index * log_rest)


def _log_binomial(degree: int) -> Tensor:
    """Logarithms of the binomial coefficients (degree over n), n = 0 … degree."""
    return torch.tensor([math.log(math.comb(degree, index)) for index in range(degree + 1)], dtype=torch.float64)
