"""What layers share of the edges: harmonics, radial functions, places on a spline."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from clebsch.basis import DistanceTransform, EdgeBooster, RadialBasis, SplineGrid
from clebsch.models.config import MultiACEConfig
from clebsch.ops import Backend, Edges


@dataclass
class RadialFunctions:
    """What radial models are made of, at the distances of the edges or at the nodes of a spline.

    Where distances are transformed, there is one block of nodes per class of element pairs.

    Attributes:
        bare: radial basis without the cutoff.
        envelope: cutoff function.
        boosted: coefficients of Y_l from the booster, at nodes for every element pair; or None.
        classes: class of every element pair, at nodes where distances are transformed; or None.
    """

    bare: Float[Tensor, "*blocks distances num_basis"]
    envelope: Float[Tensor, " distances"]
    boosted: Float[Tensor, "*pairs distances degrees channels"] | None = None
    classes: Int64[Tensor, " pairs"] | None = None

    @property
    def basis(self) -> Float[Tensor, "*blocks distances num_basis"]:
        """Radial basis times cutoff."""
        return self.bare * self.envelope[:, None]

    def for_pairs(self) -> RadialFunctions:
        """The same with one block per element pair where there was one per class."""
        if self.classes is None:
            return self
        return replace(self, bare=self.bare.index_select(0, self.classes), classes=None)


@dataclass
class EdgeFeatures:
    """What every layer needs of the edges.

    Attributes:
        edges: pairs of atoms and their elements.
        pairs: z_i * Z + z_j.
        harmonics: Y of the direction over the scale of the sum over neighbours, (l_max + 1)^2 components.
        radial: the radial functions of the edges, or those at the nodes where there is a spline; None where its control
            points are frozen.
        spline: first of four control points of every edge and the values of their B-splines; None without a spline.
        grid: of the spline.
        classes: class of the element pair of every edge where distances are transformed and there is a spline; or None.
    """

    edges: Edges
    pairs: Int64[Tensor, " edges"]
    harmonics: Float[Tensor, "edges harmonics"]
    radial: RadialFunctions | None
    spline: tuple[Int64[Tensor, " edges"], Float[Tensor, "edges 4"]] | None = None
    grid: SplineGrid | None = None
    classes: Int64[Tensor, " edges"] | None = None

    def rows(self, by_pair: bool) -> Int64[Tensor, " edges"]:
        """First of four rows of every edge in a table of one block, one per class, or (``by_pair``) one per pair."""
        assert self.spline is not None and self.grid is not None
        index, _ = self.spline
        block = self.pairs if by_pair else self.classes
        return index if block is None else block * self.grid.rows + index


class EdgeEmbedding(nn.Module):
    """Everything of the edges that layers share: harmonics, radial basis, booster, places on the spline.

    Args:
        config: the model.
        backend: kernels.
        dtype: of the weights.
        generator: source of the initial weights.
    """

    def __init__(
        self, config: MultiACEConfig, backend: Backend, dtype: torch.dtype, generator: torch.Generator | None
    ) -> None:
        super().__init__()
        self.config = config
        self.scale = _neighbor_scale(config)
        self.harmonics = backend.spherical_harmonics(config.l_max, dtype)
        self.radial_basis = RadialBasis(config.radial_basis, config.r_max, dtype)
        self.transform = None
        if config.distance_transform is not None:
            self.transform = DistanceTransform(config.distance_transform, config.elements, dtype)
        self.booster = None
        if config.booster is not None:
            self.booster = EdgeBooster(
                config.booster,
                num_basis=config.radial_basis.num,
                num_elements=len(config.elements),
                l_max=config.l_max,
                num_channels=config.num_channels,
                dtype=dtype,
                generator=generator,
            )
        intervals = config.spline_intervals
        self.spline = None if intervals is None else SplineGrid(intervals, config.r_max, dtype)
        self.frozen = False

    def forward(self, vectors: Float[Tensor, "edges 3"], edges: Edges) -> EdgeFeatures:
        """Edge vectors r_ij in Å, and the edges."""
        r = torch.linalg.vector_norm(vectors, dim=-1)
        pairs, harmonics = edges.pairs(), self.harmonics(vectors) / self.scale
        if self.spline is None:
            return EdgeFeatures(edges, pairs, harmonics, self._functions(r, pairs))
        radial = None if self.frozen else self.functions_on_nodes()
        classes = None if self.transform is None else self.transform.classes.index_select(0, pairs)
        return EdgeFeatures(edges, pairs, harmonics, radial, self.spline.locate(r), self.spline, classes)

    def functions_on_nodes(self) -> RadialFunctions:
        """The radial functions at the nodes of the spline."""
        assert self.spline is not None
        nodes = self.spline.nodes
        if self.transform is None:
            functions = RadialFunctions(self.radial_basis.functions(nodes), self.radial_basis.envelope(nodes))
        else:
            seen = self.transform.on_nodes(nodes)
            bare = self.radial_basis.functions(seen.flatten()).unflatten(0, seen.shape)
            functions = RadialFunctions(bare, self.radial_basis.envelope(nodes), classes=self.transform.classes)
        if self.booster is not None:
            functions.boosted = self.booster.on_nodes(functions.for_pairs().basis)
        return functions

    def freeze(self) -> None:
        """Leave out what only control points are made of, where they are frozen in every layer."""
        self.frozen = self.spline is not None
        if self.frozen:
            self.booster = None

    def _functions(self, r: Tensor, pairs: Tensor) -> RadialFunctions:
        seen = r if self.transform is None else self.transform(r, pairs)
        functions = RadialFunctions(self.radial_basis.functions(seen), self.radial_basis.envelope(r))
        if self.booster is not None:
            functions.boosted = self.booster(functions.basis, pairs)
        return functions


def _neighbor_scale(config: MultiACEConfig) -> float:
    power = {"average": 1.0, "sqrt": 0.5, "none": 0.0}[config.neighbor_normalization]
    return config.avg_num_neighbors**power / config.neighbor_gain
