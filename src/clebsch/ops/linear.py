"""Channel-mixing matrices of blocks of rows, one matrix product per block, without copies in between."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from clebsch.ops.needs import needed_gradients


@dataclass(frozen=True)
class Block:
    """Rows that share a matrix: result piece ``out`` += scale * (piece ``piece`` of x[source]) @ weights[weight].

    Attributes:
        source: which of the inputs.
        piece: which piece of its rows.
        out: which piece of the rows of the result.
        weight: which of the weights.
        element: which matrix of it, where there is one per element.
    """

    source: int
    piece: int
    out: int
    weight: int
    element: int | None = None


class RowMixing:
    """What is mixed with what: inputs and result are cut into pieces of rows, blocks say which pieces belong together.

    Args:
        blocks: the blocks.
        scales: factor of every weight.
        pieces_in: numbers of rows of the pieces of every input.
        pieces_out: those of the result.
        orders_in: rows of every input in the order of the pieces, or None where they are in order.
        order_out: likewise of the result.
    """

    def __init__(
        self,
        blocks: Sequence[Block],
        scales: Sequence[float],
        pieces_in: Sequence[Sequence[int]],
        pieces_out: Sequence[int],
        orders_in: Sequence[Tensor] | None = None,
        order_out: Tensor | None = None,
    ) -> None:
        self.blocks, self.scales = tuple(blocks), tuple(scales)
        self.pieces_in, self.pieces_out = [list(pieces) for pieces in pieces_in], list(pieces_out)
        self.orders_in = None if orders_in is None else [(order, torch.argsort(order)) for order in orders_in]
        self.order_out = None if order_out is None else (order_out, torch.argsort(order_out))
        seen_out: set[int] = set()
        seen_in: set[tuple[int, int]] = set()
        self.betas = []  # 1 where a piece of the result, or of the gradient by x, has been written before
        for block in self.blocks:
            self.betas.append((int(block.out in seen_out), int((block.source, block.piece) in seen_in)))
            seen_out.add(block.out)
            seen_in.add((block.source, block.piece))
        self.unwritten_out = [piece for piece in range(len(self.pieces_out)) if piece not in seen_out]
        every = [(source, piece) for source, pieces in enumerate(self.pieces_in) for piece in range(len(pieces))]
        self.unwritten_in = [place for place in every if place not in seen_in]

    @property
    def rows_out(self) -> int:
        """Rows of the result."""
        return sum(self.pieces_out)

    def value(self, x: Sequence[Tensor], weights: Sequence[Tensor], channels: int) -> Tensor:
        """x W."""
        pieces, matrices = self._cut_inputs(x), self._matrices(weights)
        result = x[0].new_empty(self.rows_out, channels)
        targets = result.split(self.pieces_out)
        for block, matrix, (beta, _) in zip(self.blocks, matrices, self.betas, strict=True):
            target, scale = targets[block.out], self.scales[block.weight]
            torch.addmm(target, pieces[block.source][block.piece], matrix, beta=beta, alpha=scale, out=target)
        for piece in self.unwritten_out:
            targets[piece].zero_()
        return result if self.order_out is None else result.index_select(0, self.order_out[1])

    def transposed(self, g: Tensor, weights: Sequence[Tensor], like: Sequence[Tensor]) -> list[Tensor]:
        """The gradient by x, g Wᵀ, in the shapes of ``like``."""
        pieces, matrices = self._cut_result(g), self._matrices(weights)
        results = [x.new_empty(x.shape) for x in like]
        targets = [result.split(sizes) for result, sizes in zip(results, self.pieces_in, strict=True)]
        for block, matrix, (_, beta) in zip(self.blocks, matrices, self.betas, strict=True):
            target, scale = targets[block.source][block.piece], self.scales[block.weight]
            torch.addmm(target, pieces[block.out], matrix.t(), beta=beta, alpha=scale, out=target)
        for source, piece in self.unwritten_in:
            targets[source][piece].zero_()
        if self.orders_in is None:
            return results
        return [result.index_select(0, order[1]) for result, order in zip(results, self.orders_in, strict=True)]

    def weights(self, x: Sequence[Tensor], g: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
        """The gradient by the weights, xᵀ g."""
        pieces, upstream = self._cut_inputs(x), self._cut_result(g)
        found = [weight.new_empty(weight.shape) for weight in like]
        for block, target in zip(self.blocks, self._matrices(found), strict=True):
            source, scale = pieces[block.source][block.piece].t(), self.scales[block.weight]
            torch.addmm(target, source, upstream[block.out], beta=0, alpha=scale, out=target)
        return found

    def _cut_inputs(self, x: Sequence[Tensor]) -> list[tuple[Tensor, ...]]:
        if self.orders_in is not None:
            x = [part.index_select(0, order[0]) for part, order in zip(x, self.orders_in, strict=True)]
        return [part.split(sizes) for part, sizes in zip(x, self.pieces_in, strict=True)]

    def _cut_result(self, g: Tensor) -> tuple[Tensor, ...]:
        return (g if self.order_out is None else g.index_select(0, self.order_out[0])).split(self.pieces_out)

    def _matrices(self, weights: Sequence[Tensor]) -> list[Tensor]:
        """The matrix of every block."""
        if self.blocks and self.blocks[0].element is None:
            return [weights[block.weight] for block in self.blocks]
        by_element = [weight.unbind() for weight in weights]
        return [by_element[block.weight][block.element or 0] for block in self.blocks]


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
        needed = needed_gradients(ctx, [True] * len(ctx.saved_tensors))
        by_x, by_weights = [None] * len(x), [None] * len(weights)
        if g is not None and any(needed[:count]):
            by_x = _Transposed.apply(ctx.mixing, count, g, *x, *weights)
        if g is not None and any(needed[count:]):
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
        needed = needed_gradients(ctx, [True] * len(ctx.saved_tensors))
        by_g, by_weights = None, [None] * len(weights)
        if any(c is not None for c in grads):
            dots = [torch.zeros_like(a) if c is None else c for a, c in zip(x, grads, strict=True)]
            if needed[0]:
                by_g = _Value.apply(ctx.mixing, count, *dots, *weights)
            if any(needed[1 + count :]):
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
        needed = needed_gradients(ctx, [True] * len(ctx.saved_tensors))
        by_g, by_x = None, [None] * count
        if any(c is not None for c in grads):
            dots = [torch.zeros_like(a) if c is None else c for a, c in zip(weights, grads, strict=True)]
            if needed[0]:
                by_g = _Value.apply(ctx.mixing, count, *x, *dots)
            if any(needed[1 : 1 + count]):
                by_x = _Transposed.apply(ctx.mixing, count, g, *x, *dots)
        return (None, None, by_g, *by_x, *[None] * len(weights))  # type: ignore[return-value]
