"""The convolution of the CPU backend against the reference, to third derivatives."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch

from clebsch.errors import ClebschError
from clebsch.o3 import Irreps
from clebsch.ops import ConvolutionDescriptor, Edges, RadialTable, get_backend

TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5}
CASES = {
    "scalars": ("0e", 3, "0e+1o+2e+3o", "linear", 16),
    "vectors": ("0e+1o", 2, "0e+1o+2e", "linear", 6),
    "summed": ("0e+1o", 3, "0e+1o+2e+3o", "sum", 16),
    "both parities": ("0e+0o+1o+1e", 1, "0e+0o+1e+1o", "linear", 5),
}


def edges_of(centers: torch.Tensor, neighbors: torch.Tensor, atoms: int) -> Edges:
    """Edges between ``atoms`` atoms of one element."""
    return Edges.of(centers, neighbors, torch.zeros(atoms, dtype=torch.long), 1)


class Problem:
    """Random operands of one convolution, with graphs of their own for each backend."""

    def __init__(self, case: str, dtype: torch.dtype, *, table: bool, atoms: int = 7, edges: int = 40) -> None:
        features, l_max, targets, mixing, channels = CASES[case]
        self.dtype, self.table = dtype, table
        self.generator = torch.Generator().manual_seed(0)
        self.descriptor = ConvolutionDescriptor(Irreps(features), l_max, Irreps(targets), mixing)  # type: ignore[arg-type]
        paths, components = len(self.descriptor.paths), sum(irrep.dim for irrep in Irreps(features))
        # The last two atoms have no neighbours, the last one is nobody's neighbour.
        centers = torch.sort(torch.randint(0, atoms - 2, (edges,), generator=self.generator))[0]
        self.edges = edges_of(centers, torch.randint(0, atoms - 1, (edges,), generator=self.generator), atoms)
        self.index = torch.randint(0, 17, (edges,), generator=self.generator)
        self.h, self.Y = self.random(components, atoms, channels), self.random(edges, (l_max + 1) ** 2)
        self.radial = [self.random(20, paths, channels), self.random(edges, 4)] if table else [
            self.random(edges, paths, channels)
        ]  # fmt: skip

    def random(self, *shape: int) -> torch.Tensor:
        drawn = torch.randn(*shape, generator=self.generator, dtype=torch.float64)
        return drawn.to(self.dtype).requires_grad_()

    @property
    def operands(self) -> list[torch.Tensor]:
        return [self.h, self.Y, *self.radial]

    def call(self, backend: str, operands: Sequence[torch.Tensor]) -> tuple[torch.Tensor, ...]:
        h, Y, *radial = operands
        weights = RadialTable(radial[0], self.index, radial[1]) if self.table else radial[0]
        convolution = get_backend(backend).convolution(self.descriptor, self.dtype)
        return convolution(h, Y, weights, self.edges)

    def derivatives(self, backend: str, order: int) -> list[torch.Tensor]:
        """Value and all derivatives up to an order, each along fixed directions."""
        outputs = list(self.call(backend, self.operands))
        upstream = [wave(output).requires_grad_() for output in outputs]
        found, inputs = list(outputs), [*self.operands, *upstream]
        gradients = torch.autograd.grad(outputs, self.operands, upstream, create_graph=True)
        found += gradients
        for _ in range(order - 1):
            directions = [wave(gradient) for gradient in gradients]
            gradients = torch.autograd.grad(
                gradients, inputs, directions, create_graph=True, allow_unused=True, materialize_grads=True
            )
            found += gradients
        return found


def wave(like: torch.Tensor) -> torch.Tensor:
    """Numbers of size one in a shape."""
    return torch.cos(torch.arange(like.numel(), dtype=like.dtype)).view(like.shape)


def error(found: Sequence[torch.Tensor], expected: Sequence[torch.Tensor]) -> float:
    """Largest difference, relative to the largest value of each tensor."""
    pairs = [(a.detach(), b.detach()) for a, b in zip(found, expected, strict=True) if a.numel()]
    return max(float((a - b).abs().max() / b.abs().max().clamp(min=1e-30)) for a, b in pairs)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("table", [False, True], ids=["edges", "table"])
@pytest.mark.parametrize("case", CASES)
def test_agrees_with_the_reference_to_second_derivatives(case: str, table: bool, dtype: torch.dtype):
    problem = Problem(case, dtype, table=table)
    assert error(problem.derivatives("cpu", 2), problem.derivatives("reference", 2)) < TOLERANCE[dtype]


@pytest.mark.parametrize("table", [False, True], ids=["edges", "table"])
def test_third_derivatives(table: bool):
    problem = Problem("vectors", torch.float64, table=table)
    assert error(problem.derivatives("cpu", 3), problem.derivatives("reference", 3)) < 1e-12


def test_torch_agrees_about_the_derivatives():
    problem = Problem("scalars", torch.float64, table=True, atoms=4, edges=3)

    def call(*operands: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return problem.call("cpu", operands)

    assert torch.autograd.gradcheck(call, problem.operands, fast_mode=True, check_undefined_grad=False)
    assert torch.autograd.gradgradcheck(call, problem.operands, fast_mode=True, check_undefined_grad=False)


def test_edges_of_a_center_in_any_order_and_strided_operands():
    problem = Problem("vectors", torch.float64, table=True)
    expected = problem.call("cpu", problem.operands)
    centers, neighbors = problem.edges.centers, problem.edges.neighbors
    order = torch.randperm(len(centers), generator=problem.generator)
    order = order[torch.argsort(centers[order], stable=True)]
    h = problem.h.detach().transpose(0, 2).contiguous().transpose(0, 2)
    assert not h.is_contiguous()
    weights = RadialTable(problem.radial[0], problem.index[order], problem.radial[1][order])
    convolution = get_backend("cpu").convolution(problem.descriptor, torch.float64)
    found = convolution(h, problem.Y[order], weights, edges_of(centers[order], neighbors[order], h.shape[1]))
    assert error(found, expected) < 1e-14


@pytest.mark.parametrize("atoms", [0, 1, 3])
def test_no_edges(atoms: int):
    problem = Problem("vectors", torch.float64, table=False, atoms=3)
    nothing = torch.zeros(0, dtype=torch.long)
    convolution = get_backend("cpu").convolution(problem.descriptor, torch.float64)
    found = convolution(problem.h[:, :atoms], problem.Y[:0], problem.radial[0][:0], edges_of(nothing, nothing, atoms))
    assert [part.shape[1] for part in found] == [atoms] * 3 and not any(part.any() for part in found)


def test_more_atoms_than_16_bits_count():
    atoms = 2**16 + 3
    problem = Problem("scalars", torch.float32, table=False)
    paths = len(problem.descriptor.paths)
    centers, h = torch.tensor([0, atoms - 1]), torch.zeros(1, atoms, 16)
    h[0, atoms - 2], weights = 1.0, torch.ones(2, paths, 16)
    convolution = get_backend("cpu").convolution(problem.descriptor, torch.float32)
    found = convolution(h, torch.ones(2, 16), weights, edges_of(centers, torch.tensor([0, atoms - 2]), atoms))
    assert all(part[:, atoms - 1].all() and not part[:, : atoms - 1].any() for part in found)


def test_result_does_not_depend_on_when_and_hardly_on_threads():
    problem, before = Problem("vectors", torch.float64, table=True, edges=4000), torch.get_num_threads()
    try:
        found = {}
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            first, second = (problem.derivatives("cpu", 2) for _ in range(2))
            assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
            found[threads] = first
    finally:
        torch.set_num_threads(before)
    assert error(found[2], found[1]) < 1e-13 and error(found[3], found[1]) < 1e-13


def test_no_features_for_more_than_scalars():
    problem = Problem("vectors", torch.float64, table=False)
    convolution = get_backend("cpu").convolution(problem.descriptor, torch.float64)
    with pytest.raises(ClebschError, match=r"features: expected a tensor with the irreps '0e\+1o', got None"):
        convolution(None, problem.Y, problem.radial[0], problem.edges)


def test_without_features():
    problem = Problem("scalars", torch.float64, table=True)
    ones = torch.ones_like(problem.h)
    expected = problem.call("cpu", [ones, *problem.operands[1:]])
    weights = RadialTable(problem.radial[0], problem.index, problem.radial[1])
    convolution = get_backend("cpu").convolution(problem.descriptor, torch.float64)
    found = convolution(None, problem.Y, weights, problem.edges)
    assert error(found, expected) < 1e-14
