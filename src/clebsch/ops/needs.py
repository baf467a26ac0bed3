"""Which gradients the autograd engine is going to use."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

_will_execute = getattr(torch._C, "_will_engine_execute_node", None)


def needed_gradients(ctx: Any, places: Sequence[bool]) -> list[bool]:
    """Whether the gradient of every input is used by the backward pass that is running.

    ``needs_input_grad`` only says which inputs could have one: in ``torch.autograd.grad(energy, positions)`` it asks
    for those of the weights too, which are then thrown away.

    Args:
        ctx: context of the operator, in its backward.
        places: whether each of its inputs is a tensor.
    """
    edges = iter(ctx.next_functions)
    return [place and _is_used(next(edges)[0]) for place in places]


def _is_used(node: Any) -> bool:
    if node is None or _will_execute is None:
        return node is not None
    try:
        return _will_execute(node)
    except RuntimeError:  # raised for a leaf that torch.autograd.grad has been asked for
        return True
