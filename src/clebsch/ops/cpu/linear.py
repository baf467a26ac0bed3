"""Channel-mixing matrices of blocks of rows, one matrix product per block, without copies in between."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate, chain, pairwise

import torch
from torch import Tensor

from clebsch.ops.operators import linear as operators
from clebsch.ops.operators.linear import descriptor_of, empty_inputs, empty_weights
from clebsch.ops.operators.operator import implement

Pieces = tuple[tuple[int, ...], ...]
Rows = Sequence[Tensor | None]  # rows_in, places_in, rows_out, places_out, start; None without maps per element


@dataclass(frozen=True)
class Block:
    """Rows that share a matrix: result piece ``out`` += scale * (piece ``piece`` of x[source]) @ weights[weight].

    Attributes:
        source: which of the inputs.
        piece: which piece of its rows.
        out: which piece of the rows of the result.
        weight: which of the weights.
        element: which matrix of it, where there is one per element.
        scale: factor.
        again: 1 where an earlier block has written the piece of the result.
        again_in: likewise of the piece of the gradient by x.
    """

    source: int
    piece: int
    out: int
    weight: int
    element: int | None
    scale: float
    again: int
    again_in: int


@dataclass(frozen=True)
class RowMixing:
    """What is mixed with what: inputs and result are cut into pieces of rows, blocks say which pieces belong together.

    Attributes:
        blocks: the blocks.
        pieces_in: numbers of rows of the pieces of every input.
        pieces_out: those of the result.
        unwritten_in: source and piece of inputs that no block reads.
        unwritten_out: pieces of the result that no block writes.
    """

    blocks: tuple[Block, ...]
    pieces_in: Pieces
    pieces_out: tuple[int, ...]
    unwritten_in: tuple[tuple[int, int], ...]
    unwritten_out: tuple[int, ...]


@lru_cache(maxsize=1024)
def row_mixing(key: str, form: str, bounds: tuple[int, ...]) -> RowMixing:
    """Return the blocks of a map.

    Args:
        key: of its descriptor.
        form: "packed" or "parts".
        bounds: first atom of every element among the atoms by element, and the number of atoms.
    """
    descriptor, packed = descriptor_of(key), form == "packed"
    counts = [end - begin for begin, end in pairwise(bounds)]
    blocks: list[Block] = []
    seen_out: set[int] = set()
    seen_in: set[tuple[int, int]] = set()
    weight = 0
    for output, source in enumerate(descriptor.sources):
        if source is None:
            continue
        for element in range(len(counts)):
            place = (0, element + source * len(counts)) if packed else (source, element)
            out = output * len(counts) + element
            number, scale = element if descriptor.by_element else None, descriptor.scales[weight]
            blocks.append(Block(*place, out, weight, number, scale, int(out in seen_out), int(place in seen_in)))
            seen_out.add(out)
            seen_in.add(place)
        weight += 1
    sizes = [tuple(dim * count for count in counts) for _, dim in descriptor.places_in]
    pieces_in = (tuple(chain.from_iterable(sizes)),) if packed else tuple(sizes)
    pieces_out = tuple(dim * count for _, dim in descriptor.places_out for count in counts)
    every = [(source, piece) for source, pieces in enumerate(pieces_in) for piece in range(len(pieces))]
    return RowMixing(
        tuple(blocks),
        pieces_in,
        pieces_out,
        tuple(place for place in every if place not in seen_in),
        tuple(piece for piece in range(len(pieces_out)) if piece not in seen_out),
    )


def _value(key: str, form: str, x: list[Tensor], W: list[Tensor], *rows: Tensor | None) -> Tensor:
    descriptor, atoms = descriptor_of(key), x[0].shape[1]
    mixing = _mixing(key, form, atoms, rows)
    pieces, matrices = _cut_inputs(mixing, x, rows[0]), _matrices(mixing, W)
    result = x[0].new_empty(descriptor.components * atoms, descriptor.channels)
    targets = _cut(result, mixing.pieces_out)
    for block, matrix in zip(mixing.blocks, matrices):
        target, piece = targets[block.out], pieces[block.source][block.piece]
        torch.addmm(target, piece, matrix, beta=block.again, alpha=block.scale, out=target)
    for piece in mixing.unwritten_out:
        targets[piece].zero_()
    if rows[3] is not None:
        result = result.index_select(0, rows[3])
    return result.view(descriptor.components, atoms, descriptor.channels)


def _transposed(key: str, form: str, g: Tensor, W: list[Tensor], *rows: Tensor | None) -> list[Tensor]:
    """G Wᵀ."""
    mixing = _mixing(key, form, g.shape[1], rows)
    pieces, matrices = _cut_result(mixing, g, rows[2]), _matrices(mixing, W)
    results = empty_inputs(key, form, g)
    flat = [result.view(-1, result.shape[2]) for result in results]
    targets = [_cut(result, sizes) for result, sizes in zip(flat, mixing.pieces_in)]
    for block, matrix in zip(mixing.blocks, matrices):
        target, scale = targets[block.source][block.piece], block.scale
        torch.addmm(target, pieces[block.out], matrix.t(), beta=block.again_in, alpha=scale, out=target)
    for source, piece in mixing.unwritten_in:
        targets[source][piece].zero_()
    if rows[1] is None:
        return results
    places = _by_part(rows[1], flat)
    return [part.index_select(0, own).view(x.shape) for part, own, x in zip(flat, places, results, strict=True)]


def _weights(key: str, form: str, x: list[Tensor], g: Tensor, *rows: Tensor | None) -> list[Tensor]:
    """xᵀ G."""
    mixing = _mixing(key, form, g.shape[1], rows)
    pieces, upstream = _cut_inputs(mixing, x, rows[0]), _cut_result(mixing, g, rows[2])
    found = empty_weights(key, g, rows[4])
    for block, target in zip(mixing.blocks, _matrices(mixing, found)):
        source = pieces[block.source][block.piece].t()
        torch.addmm(target, source, upstream[block.out], beta=0, alpha=block.scale, out=target)
    return found


def _mixing(key: str, form: str, atoms: int, rows: Rows) -> RowMixing:
    start = rows[4]
    return row_mixing(key, form, (0, atoms) if start is None else tuple(start.tolist()))


def _cut_inputs(mixing: RowMixing, x: Sequence[Tensor], rows: Tensor | None) -> list[Sequence[Tensor]]:
    flat = [part.reshape(-1, part.shape[2]) for part in x]
    if rows is not None:
        flat = [part.index_select(0, own) for part, own in zip(flat, _by_part(rows, flat), strict=True)]
    return [_cut(part, sizes) for part, sizes in zip(flat, mixing.pieces_in)]


def _by_part(rows: Tensor, parts: Sequence[Tensor]) -> list[Tensor]:
    """Rows of every part, from those of all parts one after another, which stay within their part."""
    sizes = [part.shape[0] for part in parts]
    first = accumulate(sizes, initial=0)
    return [own - begin if begin else own for own, begin in zip(rows.split(sizes), first)]


def _cut_result(mixing: RowMixing, g: Tensor, rows: Tensor | None) -> Sequence[Tensor]:
    flat = g.reshape(-1, g.shape[2])
    return _cut(flat if rows is None else flat.index_select(0, rows), mixing.pieces_out)


def _cut(rows: Tensor, sizes: Sequence[int]) -> Sequence[Tensor]:
    return (rows,) if len(sizes) == 1 else torch.split_with_sizes(rows, sizes)


def _matrices(mixing: RowMixing, weights: Sequence[Tensor]) -> list[Tensor]:
    """The matrix of every block."""
    if mixing.blocks and mixing.blocks[0].element is None:
        return [weights[block.weight] for block in mixing.blocks]
    by_element = [weight.unbind() for weight in weights]
    return [by_element[block.weight][block.element or 0] for block in mixing.blocks]


implement(operators.linear, "cpu", _value)
implement(operators.linear_transposed, "cpu", _transposed)
implement(operators.linear_weights, "cpu", _weights)
