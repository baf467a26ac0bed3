"""Channel-mixing matrices of blocks of rows, one matrix product per block, without copies in between."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Block:
    """Rows that share a matrix: result[rows_out] += scale * x[source][rows_in] @ weights[weight].

    Attributes:
        source: which of the inputs.
        rows_in: its rows.
        rows_out: rows of the result.
        weight: which of the weights.
        element: which matrix of it, where there is one per element.
    """

    source: int
    rows_in: slice
    rows_out: slice
    weight: int
    element: int | None = None


@dataclass(frozen=True)
class RowMixing:
    """What is mixed with what.

    Attributes:
        blocks: the blocks.
        scales: factor of every weight.
        rows_out: number of rows of the result.
        orders_in: rows of every input in the order of the blocks, or None where they are in order.
        order_out: likewise of the result.
    """

    blocks: tuple[Block, ...]
    scales: tuple[float, ...]
    rows_out: int
    orders_in: tuple[Tensor, ...] | None = None
    order_out: Tensor | None = None

    def value(self, x: Sequence[Tensor], weights: Sequence[Tensor], channels: int) -> Tensor:
        """x W."""
        x = self._sorted_inputs(x)
        result = x[0].new_empty(self.rows_out, channels)
        filled: set[tuple[int, int]] = set()
        for block in self.blocks:
            self._multiply(
                result, block.rows_out, x[block.source][block.rows_in], self._matrix(weights, block), filled, block
            )
        return self._restored(self._cleared(result, filled), self.order_out)

    def transposed(self, g: Tensor, weights: Sequence[Tensor], like: Sequence[Tensor]) -> list[Tensor]:
        """The gradient by x, g Wᵀ, in the shapes of ``like``."""
        g = self._sorted(g, self.order_out)
        results = [torch.empty(part.shape, dtype=part.dtype, device=part.device) for part in like]
        filled: list[set[tuple[int, int]]] = [set() for _ in like]
        for block in self.blocks:
            matrix, seen = self._matrix(weights, block).t(), filled[block.source]
            self._multiply(results[block.source], block.rows_in, g[block.rows_out], matrix, seen, block)
        orders = self.orders_in or [None] * len(results)
        parts = zip(results, filled, orders, strict=True)
        return [self._restored(self._cleared(result, seen), order) for result, seen, order in parts]

    def weights(self, x: Sequence[Tensor], g: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
        """The gradient by the weights, xᵀ g."""
        x, g = self._sorted_inputs(x), self._sorted(g, self.order_out)
        found = [torch.empty(part.shape, dtype=part.dtype, device=part.device) for part in like]
        for block in self.blocks:
            target = self._matrix(found, block)
            source = x[block.source][block.rows_in].t()
            torch.addmm(target, source, g[block.rows_out], beta=0, alpha=self.scales[block.weight], out=target)
        return found

    def _multiply(
        self, result: Tensor, rows: slice, left: Tensor, right: Tensor, filled: set[tuple[int, int]], block: Block
    ) -> None:
        target, place = result[rows], (rows.start, rows.stop)
        torch.addmm(target, left, right, beta=int(place in filled), alpha=self.scales[block.weight], out=target)
        filled.add(place)

    @staticmethod
    def _matrix(weights: Sequence[Tensor], block: Block) -> Tensor:
        weight = weights[block.weight]
        return weight if block.element is None else weight[block.element]

    def _sorted_inputs(self, x: Sequence[Tensor]) -> Sequence[Tensor]:
        if self.orders_in is None:
            return x
        return [self._sorted(part, order) for part, order in zip(x, self.orders_in, strict=True)]

    @staticmethod
    def _sorted(rows: Tensor, order: Tensor | None) -> Tensor:
        return rows if order is None else rows.index_select(0, order)

    @staticmethod
    def _restored(rows: Tensor, order: Tensor | None) -> Tensor:
        return rows if order is None else torch.empty_like(rows).index_copy_(0, order, rows)

    @staticmethod
    def _cleared(result: Tensor, filled: set[tuple[int, int]]) -> Tensor:
        """Zeros where no block has written."""
        end = 0
        for start, stop in [*sorted(filled), (result.shape[0], result.shape[0])]:
            if start > end:
                result[end:start] = 0
            end = max(end, stop)
        return result


def mix_rows(x: Sequence[Tensor], weights: Sequence[Tensor], mixing: RowMixing) -> Tensor:
    """Return the mixed rows; differentiable to any order in x and weights.

    Args:
        x: inputs [rows, channels_in].
        weights: matrices [channels_in, channels] or [elements, channels_in, channels].
        mixing: what is mixed with what.

    Returns: [mixing.rows_out, channels].
    """
    return _Value.apply(mixing, len(x), *x, *weights)  # type: ignore[return-value]


# The map is linear in x, in the weights and in what comes from above: each derivative is one of three.


class _Value(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, mixing: RowMixing, count: int, *tensors: Tensor) -> Tensor:
        ctx.mixing, ctx.count = mixing, count
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*tensors)
        return mixing.value(tensors[:count], tensors[count:], tensors[-1].shape[-1])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        (g,), count = grads, ctx.count
        x, weights = ctx.saved_tensors[:count], ctx.saved_tensors[count:]
        by_x, by_weights = [None] * len(x), [None] * len(weights)
        if g is not None and any(ctx.needs_input_grad[2 : 2 + count]):
            by_x = _Transposed.apply(ctx.mixing, count, g, *x, *weights)
        if g is not None and any(ctx.needs_input_grad[2 + count :]):
            by_weights = _Weights.apply(ctx.mixing, count, g, *x, *weights)
        return (None, None, *by_x, *by_weights)


class _Transposed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, mixing: RowMixing, count: int, g: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.mixing, ctx.count = mixing, count
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(g, *tensors)
        return tuple(mixing.transposed(g.contiguous(), tensors[count:], tensors[:count]))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        g, *tensors = ctx.saved_tensors
        count = ctx.count
        x, weights = tensors[:count], tensors[count:]
        by_g, by_weights = None, [None] * len(weights)
        if any(c is not None for c in grads):
            dots = [torch.zeros_like(a) if c is None else c for a, c in zip(x, grads, strict=True)]
            if ctx.needs_input_grad[2]:
                by_g = _Value.apply(ctx.mixing, count, *dots, *weights)
            if any(ctx.needs_input_grad[3 + count :]):
                by_weights = _Weights.apply(ctx.mixing, count, g, *dots, *weights)
        return (None, None, by_g, *[None] * count, *by_weights)  # type: ignore[return-value]


class _Weights(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, mixing: RowMixing, count: int, g: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.mixing, ctx.count = mixing, count
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(g, *tensors)
        return tuple(mixing.weights([part.contiguous() for part in tensors[:count]], g.contiguous(), tensors[count:]))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        g, *tensors = ctx.saved_tensors
        count = ctx.count
        x, weights = tensors[:count], tensors[count:]
        by_g, by_x = None, [None] * count
        if any(c is not None for c in grads):
            dots = [torch.zeros_like(a) if c is None else c for a, c in zip(weights, grads, strict=True)]
            if ctx.needs_input_grad[2]:
                by_g = _Value.apply(ctx.mixing, count, *x, *dots)
            if any(ctx.needs_input_grad[3 : 3 + count]):
                by_x = _Transposed.apply(ctx.mixing, count, g, *x, *dots)
        return (None, None, by_g, *by_x, *[None] * len(weights))  # type: ignore[return-value]
