"""A network of the distance and of both elements, with biases and layer norms."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional

from clebsch.basis.mlp import normal


class ElementMLP(nn.Module):
    r"""Perceptron whose first layer has biases of the two elements, as in MACE's non-linear interactions.

    .. math:: x_0 = b(r) W_0 / \sqrt{N} + u_{z_i} + v_{z_j}, \qquad
              x_{t+1} = \mathrm{SiLU}(\mathrm{LN}(x_t))\, W_{t+1} / \sqrt{n_t} + c_{t+1}

    with N basis functions and the layer norms LN (arXiv 1607.06450).

    Args:
        num_basis: number of radial basis functions.
        num_elements: elements Z.
        hidden: widths n_t of the hidden layers, at least one.
        width: output width.
        dtype: of the weights.
        generator: source of the initial weights.
    """

    def __init__(
        self,
        num_basis: int,
        num_elements: int,
        hidden: Sequence[int],
        width: int,
        dtype: torch.dtype,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.num_elements = num_elements
        self.input = normal((num_basis, hidden[0]), dtype, generator)
        self.centers = normal((num_elements, hidden[0]), dtype, generator)
        self.neighbors = normal((num_elements, hidden[0]), dtype, generator)
        self.norms = nn.ModuleList([nn.LayerNorm(size, dtype=dtype) for size in hidden])
        sizes = (*hidden, width)
        self.weights = nn.ParameterList([normal(shape, dtype, generator) for shape in pairwise(sizes)])
        self.biases = nn.ParameterList([nn.Parameter(torch.zeros(size, dtype=dtype)) for size in sizes[1:]])

    def forward(
        self, basis: Float[Tensor, "edges num_basis"], pairs: Int64[Tensor, " edges"]
    ) -> Float[Tensor, "edges width"]:
        """Radial basis and pairs z_i * Z + z_j of edges to the output."""
        centers = self.centers.index_select(0, torch.div(pairs, self.num_elements, rounding_mode="floor"))
        neighbors = self.neighbors.index_select(0, pairs.remainder(self.num_elements))
        return self._output(self._hidden(self._first(basis) + centers + neighbors)) + self.biases[-1]

    def on_nodes(
        self,
        basis: Float[Tensor, "*blocks nodes num_basis"],
        envelope: Float[Tensor, " nodes"],
        interpolate: Callable[[Tensor], Tensor] = lambda values: values,
    ) -> Float[Tensor, "pairs rows width"]:
        """The output of all pairs at some distances times ``envelope``, ``interpolate`` applied to it.

        Args:
            basis: radial basis, one block or one per pair.
            envelope: cutoff at the distances.
            interpolate: a linear map of the distances, applied where it is cheap.
        """
        elements = (self.centers[:, None] + self.neighbors).flatten(0, 1)[:, None]
        hidden = self._hidden(self._first(basis) + elements)
        cut = envelope[:, None]
        return self._output(interpolate(hidden * cut)) + interpolate(cut) * self.biases[-1]

    def _first(self, basis: Tensor) -> Tensor:
        return basis @ self.input / self.input.shape[0] ** 0.5

    def _hidden(self, x: Tensor) -> Tensor:
        """The sum of the first layer to what the last, linear layer takes."""
        *inner, last = self.norms
        for norm, weight, bias in zip(inner, self.weights, self.biases, strict=False):
            x = functional.silu(norm(x)) @ weight / weight.shape[0] ** 0.5 + bias
        return functional.silu(last(x))

    def _output(self, x: Tensor) -> Tensor:
        weight = self.weights[-1]
        return x @ (weight / weight.shape[0] ** 0.5)
