"""Operators that PyTorch knows by name, with little to do per call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from clebsch.ops.needs import needed_gradients

Argument = Tensor | Sequence[Tensor] | None
# (texts, arguments, gradients of the outputs, which tensors need one, by argument) -> gradients of the arguments
Backward = Callable[[tuple[str, ...], list[Any], list[Any], list[list[bool]]], Sequence[Any]]

_library = torch.library.Library("clebsch", "DEF")


def register(
    schema: str, kernel: Callable[..., Any], fake: Callable[..., Any], backward: Backward
) -> Callable[..., Any]:
    """Define the operator ``clebsch::…`` and return a function that calls it.

    The function is an operator of ``torch.library``: it works on fake tensors, so that programs with it can be traced,
    and is differentiable. On plain tensors it goes straight to the kernel: PyTorch's own path takes as long as a small
    kernel runs.

    Args:
        schema: name and signature; texts come first, then tensors, optional tensors and lists of tensors. It returns a
            tensor or a list of tensors.
        kernel: what computes it.
        fake: what makes empty results of the right shape.
        backward: what computes the gradients, of operators as well; called with the texts, the arguments, the
            gradients of the outputs (None for zero) and, for every argument, which of its tensors need a gradient.
    """
    name = schema.split("(")[0]
    _library.define(schema)
    packet = getattr(torch.ops.clebsch, name).default

    class Function(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, texts: tuple[str, ...], lengths: tuple[int | None, ...], *flat: Any) -> Any:
            ctx.texts, ctx.lengths = texts, lengths
            ctx.set_materialize_grads(False)
            ctx.save_for_backward(*flat)
            arguments = _nested(flat, lengths)
            if all(type(x) in _PLAIN for x in flat):
                found = kernel(*texts, *arguments)
            else:
                with torch._C._AutoDispatchBelowAutograd():
                    found = packet(*texts, *arguments)
            return found if isinstance(found, Tensor) else tuple(found)

        @staticmethod
        def backward(ctx: Any, *grads: Any) -> Any:
            flat = ctx.saved_tensors
            used = needed_gradients(ctx, [isinstance(x, Tensor) for x in flat])
            needed = [part if isinstance(part, list) else [part] for part in _nested(used, ctx.lengths)]
            if all(grad is None for grad in grads) or not any(used):
                return (None, None, *[None] * len(flat))
            found = backward(ctx.texts, _nested(flat, ctx.lengths), list(grads), needed)
            return (None, None, *_flat(found, ctx.lengths))

    def call(*arguments: Any) -> Any:
        count = sum(isinstance(argument, str) for argument in arguments)
        rest = arguments[count:]
        lengths = tuple(len(x) if isinstance(x, (list, tuple)) else None for x in rest)
        found = Function.apply(arguments[:count], lengths, *_flat(rest, lengths))
        return list(found) if isinstance(found, tuple) else found

    _library.impl(name, kernel, "CPU")
    _library.impl(name, call, "Autograd")
    torch.library.register_fake(f"clebsch::{name}", fake, lib=_library)

    def operator(*arguments: Any) -> Any:
        return packet(*arguments) if torch.compiler.is_compiling() else call(*arguments)

    return operator


_PLAIN = (Tensor, torch.nn.Parameter, type(None))


def _nested(flat: Sequence[Any], lengths: Sequence[int | None]) -> list[Any]:
    """Flat values by argument, those of a list together."""
    result, place = [], 0
    for length in lengths:
        if length is None:
            result.append(flat[place])
            place += 1
        else:
            result.append(list(flat[place : place + length]))
            place += length
    return result


def _flat(nested: Sequence[Any], lengths: Sequence[int | None]) -> list[Any]:
    """The inverse; None for a list stands for a list of None."""
    flat: list[Any] = []
    for value, length in zip(nested, lengths, strict=True):
        if length is None:
            flat.append(value)
        else:
            flat += [None] * length if value is None else value
    return flat
