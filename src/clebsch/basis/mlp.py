"""Perceptrons with unit-variance activations; weights of unit variance, scaled in the forward pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "silu": functional.silu,
    "tanh": torch.tanh,
    "abs": torch.abs,
    "sigmoid": torch.sigmoid,
}


def activation_scale(name: str) -> float:
    r"""The factor c with :math:`E_{z \sim N(0, 1)}[(c\, f(z))^2] = 1`, by Gauss–Hermite quadrature."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(200)
    values = ACTIVATIONS[name](torch.from_numpy(nodes)).numpy()
    return float((weights @ values**2 / weights.sum()) ** -0.5)


ACTIVATION_SCALES = {name: activation_scale(name) for name in ACTIVATIONS}


def activate(name: str, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """The activation ``name`` scaled to unit second moment on unit-variance input."""
    return ACTIVATION_SCALES[name] * ACTIVATIONS[name](x)


_SHAPES_ALONE: ContextVar[bool] = ContextVar("shapes_alone", default=False)


@contextmanager
def shapes_alone() -> Iterator[None]:
    """Within the block, modules are made with weights that have a shape and take no memory, whatever they ask for."""
    token = _SHAPES_ALONE.set(True)
    try:
        yield
    finally:
        _SHAPES_ALONE.reset(token)


def normal(
    shape: Sequence[int], dtype: torch.dtype, generator: torch.Generator | None, divisor: int = 1
) -> nn.Parameter:
    """A parameter of independent standard normal entries over ``divisor``, drawn in float64 so that dtypes start alike.

    Within `shapes_alone` it has no entries.
    """
    if _SHAPES_ALONE.get():
        return nn.Parameter(torch.empty(*shape, dtype=dtype, device="meta"))
    return nn.Parameter(torch.randn(*shape, dtype=torch.float64, generator=generator).to(dtype) / divisor)


class MLP(nn.Module):
    r"""Perceptron :math:`x_{t+1} = c\,\mathrm{SiLU}(x_t W_t / \sqrt{n_t})`, the last layer linear.

    Without biases, f(0) = 0.

    Args:
        sizes: widths n_t from input to output, at least two.
        dtype: of the weights.
        generator: source of the initial weights.
        bias: whether every map but the first adds a bias, at first zero.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        dtype: torch.dtype,
        generator: torch.Generator | None = None,
        *,
        bias: bool = False,
    ) -> None:
        super().__init__()
        self.weights = nn.ParameterList([normal(shape, dtype, generator) for shape in pairwise(sizes)])
        self.biases = nn.ParameterList()
        for size in sizes[2:] if bias else ():
            self.biases.append(nn.Parameter(torch.zeros(size, dtype=dtype)))

    def forward(self, x: Float[Tensor, "*batch inputs"]) -> Float[Tensor, "*batch outputs"]:
        """[..., sizes[0]] to [..., sizes[-1]]."""
        return self.output(self.hidden(x))

    def hidden(self, x: Float[Tensor, "*batch inputs"]) -> Float[Tensor, "*batch width"]:
        """All but the last layer: [..., sizes[0]] to [..., sizes[-2]]."""
        for index, weight in enumerate(list(self.weights)[:-1]):
            x = x @ (weight / weight.shape[0] ** 0.5)
            x = activate("silu", x + self.biases[index - 1] if index and len(self.biases) else x)
        return x

    def output(self, x: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch outputs"]:
        """The last layer, which is linear: [..., sizes[-2]] to [..., sizes[-1]]."""
        weight = self.weights[-1]
        x = x @ (weight / weight.shape[0] ** 0.5)
        return x + self.biases[-1] if len(self.biases) else x
