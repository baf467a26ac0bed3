"""Whether the kernels of a potential compute what the reference backend defines, in values and forces."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from clebsch.errors import BackendError
from clebsch.models.edge_embedding import EdgeEmbedding
from clebsch.models.linear import IrrepsLinear
from clebsch.models.one_particle_basis import AtomicBasis
from clebsch.models.potential import Potential
from clebsch.models.product_basis import ProductBasisLayer
from clebsch.ops import Edges, RadialTable, get_backend

# Largest deviation of one number, relative to the root mean square of all numbers of its tensor.
TOLERANCES = {torch.float64: 1e-11, torch.float32: 1e-4}
MIN_ATOMS = 11  # kernels take rows in groups of several sizes; so few atoms of a few elements fill all of them


@dataclass(frozen=True)
class _Call:
    """How a model calls one of its kernels: which operation, of what descriptor, and with what operands."""

    operation: str
    descriptor: Any
    module: nn.Module
    operands: tuple[Any, ...]

    @property
    def kind(self) -> tuple[Any, ...]:
        """Equal for calls that run the same kernels."""
        return self.operation, self.descriptor, *(_kind(operand) for operand in self.operands)


@torch.inference_mode(False)  # kernels are differentiated, which PyTorch does not do there
def verify_kernels(potential: Potential) -> None:
    r"""Compare every kernel that energies and forces need with its definition, on random operands of order one.

    For a kernel y = f(x) with random x and g, y and :math:`\partial (g \cdot y) / \partial x` by all operands that
    depend on positions, of the dtype of the potential, must be those of the reference backend in float64,
    :math:`|y - y_\mathrm{ref}| \le t\, \mathrm{rms}(y_\mathrm{ref})` for every number, with t = 1e-11 in float64 and
    1e-4 in float32. Weights play no part, so that a channel that they hide is seen like any other.

    Raises:
        BackendError: a number differs by more; the message names the operation.
    """
    if potential.backend == "reference":
        return
    numbers = _Numbers()
    calls = {call.kind: call for call in _calls_of(potential, numbers)}
    tolerance = TOLERANCES[potential.dtype]
    for call in calls.values():
        error = _error_of(call, numbers)
        if not error <= tolerance:  # so that NaN fails
            raise BackendError(
                f"backend '{potential.backend}' computes wrong numbers: {call.operation} of {call.descriptor} is off "
                f"by {error:.1e} of its size in {potential.dtype}, where {tolerance:.0e} is rounding. Remove the "
                "compiled kernels (the folder that CLEBSCH_CACHE names, or ~/.cache/clebsch) so that they are compiled "
                "again; if that does not help, load with backend='reference'. verify=False loads unchecked."
            )


def _error_of(call: _Call, numbers: _Numbers) -> float:
    """The largest deviation of a kernel from its definition in float64, of results and first derivatives."""
    drawn = [_map(operand, lambda x: _leaf(numbers.like(x), x.requires_grad)) for operand in call.operands]
    exact = [_map(operand, lambda x: _leaf(x.double(), x.requires_grad)) for operand in drawn]
    definition = getattr(get_backend("reference"), call.operation)(call.descriptor, torch.float64)
    found = _results(call.module, drawn)
    expected = _results(definition.to(found[0].device), exact)
    weights = [numbers.like(y) for y in found]
    found += _gradients(found, drawn, weights)
    expected += _gradients(expected, exact, [g.double() for g in weights])
    return float(torch.stack([_deviation(y, e) for y, e in zip(found, expected, strict=True)]).max())


class _Numbers:
    """Normal random numbers, always the same few thousand over and over: to draw millions would take too long."""

    def __init__(self) -> None:
        self.numbers = torch.randn(9973, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        self.begin = 0

    def like(self, x: Tensor) -> Tensor:
        """The next ones, in the shape, the dtype and on the device of ``x``."""
        end = self.begin + x.numel()
        found = self.numbers.to(x).repeat(end // len(self.numbers) + 1)[self.begin : end].view(x.shape)
        self.begin = end % len(self.numbers)
        return found


def _calls_of(potential: Potential, numbers: _Numbers) -> list[_Call]:
    """The calls of kernels in one pass over a few atoms, operands that depend on positions marked as such."""
    calls: list[_Call] = []

    def keep(operation: str, descriptor: Any) -> Callable[..., None]:
        return lambda module, operands, _: calls.append(_Call(operation, descriptor, module, operands))

    hooks = [module.register_forward_hook(keep(*what)) for *what, module in _kernels_of(potential.model)]
    vectors, edges = _few_atoms(potential, numbers)
    constants = {name: weight.detach() for name, weight in potential.model.named_parameters()}
    try:
        with torch.enable_grad():
            torch.func.functional_call(potential.model, constants, (vectors.requires_grad_(), edges))
    finally:
        for hook in hooks:
            hook.remove()
    return calls


def _kernels_of(model: nn.Module) -> Iterator[tuple[str, Any, nn.Module]]:
    """Operation, descriptor and module of every kernel of a model."""
    for module in model.modules():
        if isinstance(module, EdgeEmbedding):
            yield "spherical_harmonics", module.config.l_max, module.harmonics
        elif isinstance(module, AtomicBasis):
            yield "convolution", module.descriptor, module.convolution
        elif isinstance(module, ProductBasisLayer):
            yield "product_basis", module.descriptor, module.product
        elif isinstance(module, IrrepsLinear):
            yield "linear", module.descriptor, module.map


def _few_atoms(potential: Potential, numbers: _Numbers) -> tuple[Tensor, Edges]:
    """Edge vectors and edges of a chain of atoms in which every element occurs and numbers of neighbours differ."""
    elements = len(potential.elements)
    species = torch.arange(max(MIN_ATOMS, elements)) % elements
    steps = torch.arange(len(species), dtype=potential.dtype)
    positions = 0.4 * potential.r_max * (steps + 0.1 * numbers.like(steps))
    near = ((positions[:, None] - positions).abs() < potential.r_max).fill_diagonal_(False)
    centers, neighbors = (ends.contiguous() for ends in near.nonzero().T)
    directions = torch.nn.functional.normalize(numbers.like(positions.new_empty(len(centers), 3)))
    vectors = (positions[neighbors] - positions[centers]).abs()[:, None] * directions
    edges = Edges.of(centers, neighbors, species, elements)
    return vectors.to(potential.device), edges.map(lambda x: x.to(potential.device))


@torch.enable_grad()
def _results(module: nn.Module, operands: list[Any]) -> list[Tensor]:
    """The tensors that a kernel returns."""
    found = module(*operands)
    return [found] if isinstance(found, Tensor) else list(found)


def _gradients(results: list[Tensor], operands: list[Any], weights: list[Tensor]) -> Sequence[Tensor]:
    """∂(g·y)/∂x of the results y with weights g, by the operands x that need one; zero where y does not depend on x."""
    inputs = [x for operand in operands for x in _tensors(operand) if x.requires_grad]
    outputs = [y for y in results if y.requires_grad]
    if not (inputs and outputs):
        return [torch.zeros_like(x) for x in inputs]
    given = [g for y, g in zip(results, weights, strict=True) if y.requires_grad]
    return torch.autograd.grad(outputs, inputs, given, allow_unused=True, materialize_grads=True)


def _deviation(found: Tensor, expected: Tensor) -> Tensor:
    """Largest difference over the root mean square of what is expected."""
    found, expected = found.detach(), expected.detach()
    if not expected.numel():
        return expected.new_zeros(())
    size = expected.square().mean().sqrt().clamp(min=torch.finfo(torch.float64).tiny)
    return (found.double() - expected).abs().max() / size


def _leaf(x: Tensor, needs_gradient: bool) -> Tensor:
    return x.detach().requires_grad_(needs_gradient)


def _map(operand: Any, function: Callable[[Tensor], Tensor]) -> Any:
    """An operand with ``function`` of its tensors of real numbers."""
    if isinstance(operand, Tensor):
        return function(operand)
    if isinstance(operand, (list, tuple)):
        return [_map(part, function) for part in operand]
    if isinstance(operand, RadialTable):
        return replace(operand, table=function(operand.table), basis=function(operand.basis))
    return operand


def _tensors(operand: Any) -> list[Tensor]:
    """The tensors of real numbers of an operand."""
    found: list[Tensor] = []
    _map(operand, lambda x: (found.append(x), x)[1])
    return found


def _kind(operand: Any) -> tuple[Any, ...]:
    """Type of an operand, and which of its tensors depend on positions."""
    return type(operand), *(x.requires_grad for x in _tensors(operand))
