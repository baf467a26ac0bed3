"""The product basis of the CPU backend against the reference, to third derivatives."""

from __future__ import annotations

import pytest
import torch

from clebsch.o3 import Irreps
from clebsch.ops import ElementGroups, ProductBasisDescriptor, get_backend

TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5}
CASES = {  # features, output, correlation, distinct, channels
    "mace": ("0e+1o+2e", "0e+1o", 3, False, 16),
    "pace": ("0e+1o", "0e+1o+2e", 3, True, 8),
    "other parity": ("0e+1o", "0e+1o+1e", 2, False, 6),
    "four factors": ("0e+1o", "0e", 4, False, 8),
    "four distinct factors": ("0e+1o", "1o", 4, True, 3),
    "one factor": ("0e+1o", "0e+1o", 1, False, 5),
    "what nothing couples to": ("0e", "0e+1o", 2, False, 4),
}


class Problem:
    """Random operands of one product basis; element 1 of three has no atom."""

    def __init__(self, case: str, dtype: torch.dtype, atoms: int = 7) -> None:
        features, output, correlation, distinct, channels = CASES[case]
        self.descriptor = ProductBasisDescriptor(Irreps(features), Irreps(output), correlation, distinct)
        self.dtype, generator = dtype, torch.Generator().manual_seed(0)

        def random(*shape: int) -> torch.Tensor:
            return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()

        dim = sum(irrep.dim for irrep in Irreps(features))
        self.x = [random(dim, atoms, channels) for _ in range(correlation if distinct else 1)]
        self.w = random(3, sum(block.coupling.num_paths for block in self.descriptor.blocks), channels)
        self.G = random(sum(irrep.dim for irrep in Irreps(output)), atoms, channels)
        self.elements = ElementGroups.of(torch.tensor([0, 2, 0, 0, 2, 0, 0])[:atoms], 3)

    def call(self, backend: str) -> torch.Tensor:
        return get_backend(backend).product_basis(self.descriptor, self.dtype)(self.x, self.w, self.elements)

    def derivatives(self, backend: str, order: int) -> list[torch.Tensor]:
        """Value and all derivatives up to an order, each along fixed directions."""
        value = self.call(backend)
        options = {"create_graph": True, "allow_unused": True, "materialize_grads": True}
        gradients = torch.autograd.grad(value, [*self.x, self.w], self.G, **options)  # type: ignore[arg-type]
        found = [value, *gradients]
        for _ in range(order - 1):
            directions = [torch.sin(torch.arange(g.numel(), dtype=self.dtype)).view(g.shape) for g in gradients]
            gradients = torch.autograd.grad(gradients, [*self.x, self.w, self.G], directions, **options)  # type: ignore[arg-type]
            found += gradients
        return found


def error(found: list[torch.Tensor], expected: list[torch.Tensor]) -> float:
    """Largest difference, relative to the largest value of each tensor."""
    pairs = [(a.detach(), b.detach()) for a, b in zip(found, expected, strict=True) if a.numel()]
    return max(float((a - b).abs().max() / b.abs().max().clamp(min=1e-30)) for a, b in pairs)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("case", CASES)
def test_agrees_with_the_reference_to_second_derivatives(case: str, dtype: torch.dtype):
    problem = Problem(case, dtype)
    assert error(problem.derivatives("cpu", 2), problem.derivatives("reference", 2)) < TOLERANCE[dtype]


@pytest.mark.parametrize("case", ["mace", "pace"])
def test_third_derivatives(case: str):
    problem = Problem(case, torch.float64)
    assert error(problem.derivatives("cpu", 3), problem.derivatives("reference", 3)) < 1e-12


@pytest.mark.parametrize("atoms", [0, 1])
def test_few_atoms(atoms: int):
    problem = Problem("mace", torch.float64, atoms)
    assert error(problem.derivatives("cpu", 2), problem.derivatives("reference", 2)) < 1e-12


def test_threads_share_the_work():
    problem, before = Problem("mace", torch.float64), torch.get_num_threads()
    problem.x = [x.detach().repeat(1, 40, 1).requires_grad_() for x in problem.x]
    problem.G = problem.G.detach().repeat(1, 40, 1).requires_grad_()
    problem.elements = ElementGroups.of(problem.elements.species.repeat(40), 3)
    try:
        torch.set_num_threads(1)
        alone = problem.derivatives("cpu", 2)
        torch.set_num_threads(3)
        together, again = problem.derivatives("cpu", 2), problem.derivatives("cpu", 2)
    finally:
        torch.set_num_threads(before)
    assert error(together, alone) < 1e-13
    assert all(torch.equal(a, b) for a, b in zip(together, again, strict=True))


def test_strided_factors():
    problem = Problem("mace", torch.float64)
    strided = problem.x[0].detach().transpose(0, 2).contiguous().transpose(0, 2)
    product = get_backend("cpu").product_basis(problem.descriptor, torch.float64)
    assert not strided.is_contiguous()
    assert torch.equal(product([strided], problem.w, problem.elements), problem.call("cpu"))
