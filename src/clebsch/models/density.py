"""Density normalisation: the atomic basis over a number of neighbours that every atom counts for itself."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from clebsch.basis import ElementMLP, SplineGrid
from clebsch.basis.mlp import normal
from clebsch.models.config import DensityConfig
from clebsch.models.edge_embedding import EdgeFeatures, RadialFunctions
from clebsch.ops import RadialTable


class Density(nn.Module):
    r"""What the atomic basis of an atom is divided by, as in ACEsuit/mace.

    .. math:: \alpha + \beta \sum_j \rho_{ij}, \qquad \rho = \tanh\big(n^2\big), \quad
              n = b(r) \cdot w / \sqrt{N} \;\text{ or }\; \mathrm{MLP}(b(r), z_i, z_j)

    b includes the cutoff, or ρ is multiplied with it where the layer cuts off its weights.

    Args:
        config: the choice.
        num_basis: number N of radial basis functions.
        num_elements: elements Z.
        cuts_weights: whether ρ is multiplied with the cutoff; always where it depends on the elements.
        dtype: of the weights.
        generator: source of the initial weights.
    """

    alpha: Tensor
    beta: Tensor
    table: Tensor | None

    def __init__(
        self,
        config: DensityConfig,
        *,
        num_basis: int,
        num_elements: int,
        cuts_weights: bool,
        dtype: torch.dtype,
        generator: torch.Generator | None,
    ) -> None:
        super().__init__()
        self.by_pair, self.cuts = config.elements, cuts_weights or config.elements
        self.weight = self.network = None
        if config.elements:
            self.network = ElementMLP(num_basis, num_elements, config.hidden, 1, dtype, generator)
        else:
            self.weight = normal((num_basis, 1), dtype, generator)
        one = torch.ones((), dtype=dtype)
        for name in ("alpha", "beta"):
            if config.trainable:
                self.register_parameter(name, nn.Parameter(one.clone()))
            else:
                self.register_buffer(name, one.clone(), persistent=False)
        self.register_buffer("table", None, persistent=False)

    def forward(self, edges: EdgeFeatures) -> Float[Tensor, " targets"]:
        """The divisor of every target."""
        density = self._of_edges(edges)
        total = density.new_zeros(edges.edges.num_targets).index_add(0, edges.edges.centers, density)
        return self.alpha + self.beta * total

    def freeze(self, functions: RadialFunctions, grid: SplineGrid) -> None:
        """Keep the control points, made of the radial functions at the nodes, in place of what they are made of."""
        self.table = self._control_points(functions, grid).detach()
        self.weight = self.network = None

    def _of_edges(self, edges: EdgeFeatures) -> Tensor:
        """ρ [edges]."""
        if edges.spline is not None:
            table = self.table
            if table is None:
                assert edges.radial is not None and edges.grid is not None
                table = self._control_points(edges.radial, edges.grid)
            _, basis = edges.spline
            return RadialTable(table, edges.rows(self.by_pair), basis).dense()[:, 0, 0]
        functions = edges.radial
        assert functions is not None
        basis = functions.bare if self.cuts else functions.basis
        return self._cut(self._network(basis, edges.pairs)[:, 0], functions.envelope)

    def _network(self, basis: Tensor, pairs: Tensor) -> Tensor:
        if self.network is not None:
            return self.network(basis, pairs)
        return self._linear(basis)

    def _linear(self, basis: Tensor) -> Tensor:
        assert self.weight is not None
        return basis @ (self.weight / self.weight.shape[0] ** 0.5)

    def _cut(self, values: Tensor, envelope: Tensor) -> Tensor:
        density = torch.tanh(values * values)
        return density * envelope if self.cuts else density

    def _control_points(self, functions: RadialFunctions, grid: SplineGrid) -> Float[Tensor, "rows 1 1"]:
        if self.network is not None:
            functions = functions.for_pairs()
            ones = torch.ones_like(functions.envelope)
            values = self.network.on_nodes(functions.bare, ones)
        else:
            values = self._linear(functions.bare if self.cuts else functions.basis)
        density = self._cut(values[..., 0], functions.envelope)[..., None]
        return grid.control_points(density).reshape(-1, 1, 1)
