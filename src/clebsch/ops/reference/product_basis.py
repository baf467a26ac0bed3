"""The product basis in plain torch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from clebsch.ops.descriptors import ProductBasisDescriptor, ProductBlock
from clebsch.ops.edges import ElementGroups


class ProductBasis(nn.Module):
    r"""The product basis of :class:`~clebsch.ops.ProductBasisDescriptor`: monomials, sparse couplings, weights.

    .. math:: B_{i,k,LM} = \sum_{\nu\eta} w_{z_i,\nu,\eta,k} \sum_{a} c^{LM}_{\nu\eta,a}
              \prod_{\xi=1}^{\nu} A^{(\xi)}_{i,k,a_\xi}

    over the monomials a = (a_1, a_2, …) of each order nu.

    Args:
        descriptor: factors, output and correlation order.
        dtype: of the arithmetic.
    """

    def __init__(self, descriptor: ProductBasisDescriptor, dtype: torch.dtype) -> None:
        super().__init__()
        self.descriptor = descriptor
        self.blocks = [(b.output, b.nu, *b.coupling.coefficients.shape[:2]) for b in descriptor.blocks]
        self.dims = [irrep.dim for irrep in descriptor.output]
        self.orders = sorted({block.nu for block in descriptor.blocks})
        self.num_rows: dict[int, int] = {}
        for nu in self.orders:
            monomials, matrix = _stack([block for block in descriptor.blocks if block.nu == nu])
            self._register_chain(nu, monomials)
            rows, columns = np.nonzero(matrix)
            self._register_index(f"row_{nu}", rows)
            self._register_index(f"column_{nu}", columns)
            values = torch.tensor(matrix[rows, columns], dtype=dtype)[:, None, None]
            self.register_buffer(f"values_{nu}", values, persistent=False)
            self.num_rows[nu] = len(matrix)

    def forward(
        self,
        factors: Sequence[Float[Tensor, "components atoms channels"]],
        weights: Float[Tensor, "elements paths channels"],
        elements: ElementGroups,
    ) -> Float[Tensor, "output_components atoms channels"]:
        """Multiply, couple, weight and sum.

        Args:
            factors: one tensor where the factors are equal, else one per factor.
            weights: of the paths of all blocks of the descriptor, one after another.
            elements: the atoms by element.

        Returns: components of the output irreps; zeros for an irrep without couplings.
        """
        return self.of_species(factors, weights, elements.species)

    def of_species(self, factors: Sequence[Tensor], weights: Tensor, species: Tensor) -> Tensor:
        """The same, from the element index of every atom."""
        terms: dict[int, Tensor] = {}
        sizes = [paths for _, _, paths, _ in self.blocks]
        by_block = weights.split(sizes, dim=1) if sizes else ()
        for (output, *_), basis, weight in zip(self.blocks, self.uncontracted(factors), by_block, strict=True):
            term = torch.einsum("pmnk,npk->mnk", basis, weight[species])
            terms[output] = terms[output] + term if output in terms else term
        for index, dim in enumerate(self.dims):
            if index not in terms:
                terms[index] = factors[0].new_zeros(dim, *factors[0].shape[1:])
        return torch.cat([terms[index] for index in range(len(self.dims))])

    def uncontracted(self, factors: Sequence[Float[Tensor, "components atoms channels"]]) -> list[Tensor]:
        """The basis before the weights: one [paths, 2L + 1, atoms, channels] per block of the descriptor."""
        coupled = {nu: self._coupled(nu, factors) for nu in self.orders}
        start = dict.fromkeys(self.orders, 0)
        found = []
        for _, nu, paths, dim in self.blocks:
            found.append(coupled[nu][start[nu] :][: paths * dim].unflatten(0, (paths, dim)))
            start[nu] += paths * dim
        return found

    def _register_chain(self, nu: int, monomials: np.ndarray) -> None:
        """Every monomial as a shorter monomial times one more component, so that products are shared."""
        for position in reversed(range(nu)):
            self._register_index(f"last_{nu}_{position}", monomials[:, position])
            if position:
                monomials, prefix = np.unique(monomials[:, :position], axis=0, return_inverse=True)
                self._register_index(f"prefix_{nu}_{position}", prefix.reshape(-1))

    def _register_index(self, name: str, index: np.ndarray) -> None:
        self.register_buffer(name, torch.tensor(index, dtype=torch.long), persistent=False)

    def _coupled(self, nu: int, factors: Sequence[Tensor]) -> Tensor:
        """All couplings of ``nu`` factors [rows, atoms, channels]."""
        product = factors[0].index_select(0, self.get_buffer(f"last_{nu}_0"))
        for position in range(1, nu):
            factor = factors[position if self.descriptor.distinct else 0]
            prefix, last = self.get_buffer(f"prefix_{nu}_{position}"), self.get_buffer(f"last_{nu}_{position}")
            product = product.index_select(0, prefix) * factor.index_select(0, last)
        terms = self.get_buffer(f"values_{nu}") * product.index_select(0, self.get_buffer(f"column_{nu}"))
        coupled = product.new_zeros(self.num_rows[nu], *product.shape[1:])
        return coupled.index_add(0, self.get_buffer(f"row_{nu}"), terms)


def _stack(blocks: Sequence[ProductBlock]) -> tuple[np.ndarray, np.ndarray]:
    """Common monomials [n_monomials, nu] of some blocks and their couplings as one matrix [rows, n_monomials]."""
    monomials, inverse = np.unique(np.concatenate([b.coupling.monomials for b in blocks]), axis=0, return_inverse=True)
    rows, start = [], 0
    for block in blocks:
        paths, dim, count = block.coupling.coefficients.shape
        matrix = np.zeros((paths * dim, len(monomials)))
        matrix[:, inverse.reshape(-1)[start : start + count]] = block.coupling.coefficients.reshape(paths * dim, count)
        rows.append(matrix)
        start += count
    return monomials, np.concatenate(rows)
