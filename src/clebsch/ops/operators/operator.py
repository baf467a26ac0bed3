"""An operation as PyTorch knows it: schema, shapes and derivative once, kernels by device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from clebsch.errors import BackendError

# (constants, operands, gradients of the results, which tensors need one, by operand) -> gradients of the operands
Derivative = Callable[[tuple[str, ...], list[Any], list[Any], list[list[bool]]], Sequence[Any]]

_library = torch.library.Library("clebsch", "DEF")
# Private, and only for speed: without them every call takes PyTorch's own path, and every gradient is computed.
_will_execute = getattr(torch._C, "_will_engine_execute_node", None)
_num_modes = getattr(torch._C, "_len_torch_dispatch_stack", None)
_PLAIN = frozenset((Tensor, torch.nn.Parameter, type(None)))


class Operator:
    """One operation: ``clebsch::name`` of PyTorch, differentiable by a rule made of operators.

    On plain tensors a call goes straight to the kernel of their device, as PyTorch's own path takes as long as a small
    kernel runs. While a program is traced, and on fake tensors, it takes that path, so that the program holds it.

    Args:
        schema: name and signature: constants (texts) first, then operands, each a tensor, an optional tensor or a list
            of tensors. It returns a tensor or a list of tensors.
        shapes: like a kernel, but returns empty tensors of the right shape.
        derivative: the gradients of all operands, from the constants, the operands, the gradients of the results (None
            for zero) and, for every operand, which of its tensors need one.
    """

    def __init__(self, schema: str, shapes: Callable[..., Any], derivative: Derivative) -> None:
        self.name = schema.split("(")[0]
        self.num_constants = schema.split(") ->")[0].count("str ")
        self.kernels: dict[str, Callable[..., Any]] = {}
        _library.define(schema)
        self.traced = getattr(torch.ops.clebsch, self.name).default
        self.derivative = derivative
        self._function = _direct_function(self)
        torch.library.register_fake(f"clebsch::{self.name}", shapes, lib=_library)
        torch.library.register_autograd(
            f"clebsch::{self.name}", self._backward_traced, setup_context=self._keep, lib=_library
        )

    def __call__(self, *arguments: Any) -> Any:
        if torch.compiler.is_compiling() or _num_modes is None or _num_modes():
            return self.traced(*arguments)
        flat: list[Any] = []
        for operand in arguments[self.num_constants :]:
            if isinstance(operand, (list, tuple)):
                flat += operand
            else:
                flat.append(operand)
        if not _PLAIN.issuperset(map(type, flat)):
            return self.traced(*arguments)
        if torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in flat):
            operands = arguments[self.num_constants :]
            lengths = tuple([len(x) if isinstance(x, (list, tuple)) else None for x in operands])
            found = self._function.apply(arguments[: self.num_constants], lengths, *flat)
            return list(found) if isinstance(found, tuple) else found
        return self.kernel_for(flat)(*arguments)

    def kernel_for(self, tensors: Sequence[Any]) -> Callable[..., Any]:
        """The kernel of the device of plain tensors.

        Raises:
            BackendError: there is no kernel for the device, or the tensors are on several devices.
        """
        devices = {x.device for x in tensors if x is not None}
        kernel = self.kernels.get(next(iter(devices)).type) if len(devices) == 1 else None
        if kernel is None and {device.type for device in devices} == {"meta"}:
            return self.traced
        if kernel is None:
            raise _no_kernel(self, devices)
        return kernel

    def _keep(self, ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        operands = inputs[self.num_constants :]
        ctx.constants = inputs[: self.num_constants]
        ctx.lengths = tuple(len(x) if isinstance(x, (list, tuple)) else None for x in operands)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*_flat(operands, ctx.lengths))

    def _backward_traced(self, ctx: Any, *grads: Any) -> Any:
        needs = ctx.needs_input_grad[self.num_constants :]
        required = [list(x) if isinstance(x, (list, tuple)) else [bool(x)] for x in needs]
        grads = tuple(grads[0]) if len(grads) == 1 and isinstance(grads[0], (list, tuple)) else grads
        operands = _nested(ctx.saved_tensors, ctx.lengths)
        if all(grad is None for grad in grads) or not any(any(part) for part in required):
            return (None,) * (self.num_constants + len(operands))
        found = self.derivative(ctx.constants, operands, list(grads), required)
        filled = [
            [None] * length if value is None and length is not None else value
            for value, length in zip(found, ctx.lengths, strict=True)
        ]
        return (*[None] * self.num_constants, *filled)


def implement(operator: Operator, device: str, kernel: Callable[..., Any]) -> None:
    """Let ``kernel``, called with constants and operands, compute ``operator`` on tensors of a kind of device.

    All that a backend says: derivatives and tracing are the operator's.

    Args:
        operator: the operation.
        device: "cpu", "cuda", …
        kernel: returns a tensor or a list of tensors; its operands may be strided.
    """
    operator.kernels[device] = kernel
    _library.impl(operator.name, kernel, device.upper())


def required_gradients(ctx: Any, is_tensor: Sequence[bool]) -> list[bool]:
    """Whether the gradient of every input is used by the backward pass that is running.

    ``needs_input_grad`` only says which inputs could have one: in ``torch.autograd.grad(energy, positions)`` it asks
    for those of the weights too, which are then thrown away.

    Args:
        ctx: context of the function, in its backward.
        is_tensor: whether each of its inputs is a tensor.
    """
    edges = iter(ctx.next_functions)
    return [tensor and _is_used(next(edges)[0]) for tensor in is_tensor]


def _is_used(node: Any) -> bool:
    if node is None or _will_execute is None:
        return node is not None
    try:
        return _will_execute(node)
    except RuntimeError:  # raised for a leaf that torch.autograd.grad has been asked for
        return True


def _direct_function(operator: Operator) -> type[torch.autograd.Function]:
    """The operation on plain tensors, with as little around it as possible."""

    class Direct(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, constants: tuple[str, ...], lengths: tuple[int | None, ...], *flat: Any) -> Any:
            ctx.constants, ctx.lengths = constants, lengths
            ctx.set_materialize_grads(False)
            ctx.save_for_backward(*flat)
            found = operator.kernel_for(flat)(*constants, *_nested(flat, lengths))
            return found if isinstance(found, Tensor) else tuple(found)

        @staticmethod
        def backward(ctx: Any, *grads: Any) -> Any:
            flat = ctx.saved_tensors
            used = required_gradients(ctx, [isinstance(x, Tensor) for x in flat])
            if all(grad is None for grad in grads) or not any(used):
                return (None, None, *[None] * len(flat))
            required = [part if isinstance(part, list) else [part] for part in _nested(used, ctx.lengths)]
            found = operator.derivative(ctx.constants, _nested(flat, ctx.lengths), list(grads), required)
            return (None, None, *_flat(found, ctx.lengths))

    return Direct


def _no_kernel(operator: Operator, devices: set[torch.device]) -> BackendError:
    where = ", ".join(sorted(map(str, devices)))
    known = ", ".join(sorted(operator.kernels)) or "no device"
    if len(devices) > 1:
        return BackendError(f"{operator.name}: its tensors are on several devices, {where}; move all of them to one.")
    return BackendError(
        f"{operator.name}: there are kernels for {known}, but its tensors are on {where}. Move potential and batch "
        "there, or make the potential with backend='reference', which runs on every device."
    )


def _nested(flat: Sequence[Any], lengths: Sequence[int | None]) -> list[Any]:
    """Flat values by operand, those of a list together."""
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
