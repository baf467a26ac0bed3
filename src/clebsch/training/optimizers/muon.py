"""Muon: steps whose matrices are orthogonal, for the channel-mixing weights; Adam for all other weights."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from clebsch.models.linear import IrrepsLinear
from clebsch.training.optimizers.settings import Decay, Moments, trainable_parameters

SMALLEST_SIDE = 8  # of a matrix worth orthogonalising; narrower ones are left to Adam
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
RMS = 0.2  # of the entries of a step at lr 1, that of a typical Adam step


class Muon(Moments):
    """Muon, with Adam for the weights that are no channel-mixing matrices.

    Attributes:
        momentum: of the matrices.
    """

    kind: Literal["muon"] = "muon"
    momentum: Decay = 0.95

    def build(self, model: nn.Module) -> torch.optim.Optimizer:
        """Return the optimiser of the trainable parameters of ``model``."""
        parameters = list(trainable_parameters(model).values())
        matrices = mixing_matrices(model)
        chosen = {id(parameter) for parameter in matrices}
        others = [parameter for parameter in parameters if id(parameter) not in chosen]
        return OrthogonalSteps(matrices, others, lr=self.lr, momentum=self.momentum, **self.moments(parameters))


class OrthogonalSteps(torch.optim.Optimizer):
    r"""Momentum whose matrices are replaced by the nearest orthogonal ones (Jordan et al., 2024; arXiv 2502.16982).

    .. math:: M \leftarrow \mu M + (1 - \mu)\, G, \qquad
              W \leftarrow W - 0.2\, \eta \sqrt{\max(m, n)}\; \mathrm{ortho}(\mu M + (1 - \mu) G)

    with ortho(U S Vᵀ) ≈ U Vᵀ by Newton–Schulz iterations, all matrices of one shape at once. The factor gives the
    entries of a step the size that Adam's have, so that one learning rate η serves both kinds of weights.

    Args:
        matrices: weights [..., m, n] that mix channels; leading dimensions count matrices.
        others: all other weights, trained by Adam.
        lr: η.
        momentum: μ.
        iterations: of Newton and Schulz.
        adam: further arguments of ``torch.optim.Adam``.
    """

    def __init__(
        self,
        matrices: Sequence[nn.Parameter],
        others: Sequence[nn.Parameter],
        *,
        lr: float,
        momentum: float = 0.95,
        iterations: int = 5,
        **adam: Any,
    ) -> None:
        groups: list[dict[str, Any]] = [{"params": list(matrices)}, {"params": list(others)}]
        super().__init__([group for group in groups if group["params"]], {"lr": lr})
        self.momentum, self.iterations = momentum, iterations
        self._matrices = list(matrices)
        # It works on this optimiser's group and state: one learning rate, one state to save.
        self._adam = torch.optim.Adam([groups[1]], lr=lr, **adam) if others else None
        if self._adam is not None:
            self._adam.state = self.state

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Update all weights."""
        value = None if closure is None else closure()
        if self._adam is not None:
            self._adam.step()
        alike: dict[torch.Size, list[nn.Parameter]] = defaultdict(list)
        for weight in self._matrices:
            if weight.grad is not None:
                alike[weight.shape[-2:]].append(weight)
        for shape, weights in alike.items():
            self._step_matrices(weights, self.param_groups[0]["lr"] * RMS * math.sqrt(max(shape)))
        return value

    def _step_matrices(self, weights: list[nn.Parameter], size: float) -> None:
        """Move ``weights``, all [..., m, n] with the same m and n."""
        pairs = [(weight.grad, self._momentum(weight)) for weight in weights if weight.grad is not None]
        for gradient, momentum in pairs:
            momentum.lerp_(gradient, 1 - self.momentum)
        gradients, momenta = (torch.cat([x.reshape(-1, *x.shape[-2:]) for x in each]) for each in zip(*pairs))
        counts = [math.prod(weight.shape[:-2]) for weight in weights]
        steps = orthogonalize(gradients.lerp(momenta, self.momentum), self.iterations)
        # The matrix of an element that no atom of the batch has rests: its old momentum would move it at full size.
        steps *= gradients.abs().amax((-2, -1), keepdim=True) > 0
        for weight, step in zip(weights, steps.split(counts), strict=True):
            weight.add_(step.view_as(weight), alpha=-size)

    def _momentum(self, weight: nn.Parameter) -> Tensor:
        state = self.state[weight]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(weight)
        return state["momentum"]


def orthogonalize(matrices: Tensor, iterations: int = 5) -> Tensor:
    """Return U Vᵀ, roughly (singular values of 0.7 to 1.2), of matrices U S Vᵀ in [count, m, n]."""
    a, b, c = COEFFICIENTS
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.mT if tall else matrices
    x = x / (torch.linalg.matrix_norm(x, keepdim=True) + torch.finfo(x.dtype).tiny)
    for _ in range(iterations):
        square = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(square, square, square, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x


def mixing_matrices(model: nn.Module) -> list[nn.Parameter]:
    """Return the trainable weights of linear maps that are matrices of at least eight rows and columns."""
    weights = [w for module in model.modules() if isinstance(module, IrrepsLinear) for w in module.parameters()]
    return [w for w in weights if w.requires_grad and min(w.shape[-2:]) >= SMALLEST_SIDE]
