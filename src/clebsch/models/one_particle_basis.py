"""One-particle basis and its pooled sum, the atomic basis."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from clebsch.basis import EdgeBooster, RadialBasis, RadialModel, SplineGrid
from clebsch.models.config import LayerConfig, MultiACEConfig
from clebsch.models.linear import IrrepsLinear
from clebsch.o3 import Irreps
from clebsch.ops import Backend, ConvolutionDescriptor, Edges, RadialTable


@dataclass
class RadialFunctions:
    """What radial models are made of, at the distances of the edges or at the nodes of a spline.

    Attributes:
        basis: radial basis times cutoff.
        envelope: cutoff function.
        boosted: coefficients of Y_l from the booster, at nodes for every element pair; or None.
    """

    basis: Float[Tensor, "distances num_basis"]
    envelope: Float[Tensor, " distances"]
    boosted: Float[Tensor, "*pairs distances degrees channels"] | None


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
    """

    edges: Edges
    pairs: Int64[Tensor, " edges"]
    harmonics: Float[Tensor, "edges harmonics"]
    radial: RadialFunctions | None
    spline: tuple[Int64[Tensor, " edges"], Float[Tensor, "edges 4"]] | None = None
    grid: SplineGrid | None = None


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
        return EdgeFeatures(edges, pairs, harmonics, radial, self.spline.locate(r), self.spline)

    def functions_on_nodes(self) -> RadialFunctions:
        """The radial functions at the nodes of the spline."""
        assert self.spline is not None
        envelope = self.radial_basis.envelope(self.spline.nodes)
        basis = self.radial_basis.functions(self.spline.nodes) * envelope[:, None]
        return RadialFunctions(basis, envelope, None if self.booster is None else self.booster.on_nodes(basis))

    def freeze(self) -> None:
        """Leave out what only control points are made of, where they are frozen in every layer."""
        self.frozen = self.spline is not None
        if self.frozen:
            self.booster = None

    def _functions(self, r: Tensor, pairs: Tensor) -> RadialFunctions:
        envelope = self.radial_basis.envelope(r)
        basis = self.radial_basis.functions(r) * envelope[:, None]
        return RadialFunctions(basis, envelope, None if self.booster is None else self.booster(basis, pairs))


class AtomicBasis(nn.Module):
    r"""The atomic basis of one layer.

    .. math:: A_{i,k,lm} = \frac{1}{\lambda} \sum_j \phi_{ij,k,lm}, \qquad
              \phi_{ij,pk,l_3 m_3} = R_{pk}(r_{ij}; z_i, z_j) [h_{j,k,l_1} \otimes Y_{l_2}(\hat r_{ij})]_{l_3 m_3}

    (arXiv 2205.06643, eq. 8-10), the paths p mixed or summed, then passed through a map per element if wanted.

    Args:
        config: the model.
        layer: the layer.
        features: irreps of the features that enter.
        targets: irreps wanted of A.
        backend: kernels.
        dtype: of the weights.
        generator: source of the initial weights.
    """

    degrees: Tensor
    table: Tensor | None

    def __init__(
        self,
        config: MultiACEConfig,
        layer: LayerConfig,
        *,
        features: Irreps,
        targets: Irreps,
        backend: Backend,
        dtype: torch.dtype,
        generator: torch.Generator | None,
    ) -> None:
        super().__init__()
        self.layer, self.features = layer, features
        source = features if layer.node_features else Irreps("0e")
        descriptor = ConvolutionDescriptor(source, config.l_max, Irreps(dict.fromkeys(targets)), layer.path_mixing)
        self.descriptor = descriptor
        self.irreps = targets if layer.correlation == 1 else descriptor.output
        self.mixed = descriptor.output if layer.element_message else self.irreps
        self.convolution = backend.convolution(descriptor, dtype)
        degrees = torch.tensor([path.l2 for path in descriptor.paths], dtype=torch.long)
        self.register_buffer("degrees", degrees, persistent=False)
        channels, num_elements = config.num_channels, len(config.elements)
        options = {"dtype": dtype, "generator": generator}
        kernels = {"backend": backend, **options}
        self.register_buffer("table", None, persistent=False)
        self.linear_up = self.radial = self.mixing = self.element_mixing = None
        if layer.node_features and layer.linear_up:
            self.linear_up = IrrepsLinear(features, channels, features, channels, **kernels)
        if layer.radial.kind != "none":
            self.radial = RadialModel(
                layer.radial,
                num_basis=config.radial_basis.num,
                num_elements=num_elements,
                num_paths=len(descriptor.paths),
                num_channels=channels,
                **options,
            )
        self.by_pair = config.booster is not None or (self.radial is not None and self.radial.depends_on_pair)
        if layer.path_mixing == "linear" or layer.correlation == 1:
            widths = [multiplicity * channels for multiplicity in descriptor.multiplicities]
            self.mixing = IrrepsLinear(descriptor.output, widths, self.mixed, channels, **kernels)
        if layer.element_message:
            self.element_mixing = IrrepsLinear(
                self.mixed, channels, self.irreps, channels, num_elements=num_elements, **kernels
            )

    def forward(
        self, features: Float[Tensor, "..."], edges: EdgeFeatures
    ) -> Float[Tensor, "components targets channels"]:
        """Features of the sources [components, sources, channels], not read without ``node_features``, to A."""
        sent = None
        if self.layer.node_features:
            sent = features if self.linear_up is None else self.linear_up(features)
        pooled = self.convolution(sent, edges.harmonics, self.radial_weights(edges), edges.edges)
        elements, basis = edges.edges.elements, list(pooled)
        if self.mixing is None:
            return torch.cat(basis) if self.element_mixing is None else self.element_mixing(basis, elements)
        mixed = self.mixing(basis)
        return mixed if self.element_mixing is None else self.element_mixing(mixed, elements)

    def radial_weights(self, edges: EdgeFeatures) -> Float[Tensor, "edges paths channels"] | RadialTable:
        """The radial model, times the boosted feature of the path's l2; of every edge, or as a table of a spline."""
        if edges.spline is not None:
            return self._radial_table(edges, *edges.spline)
        functions, factors = edges.radial, []
        assert functions is not None
        if functions.boosted is not None:
            factors.append(functions.boosted.index_select(1, self.degrees))
        if self.radial is not None:
            factors.append(self.radial(functions.basis, edges.pairs, None if factors else functions.envelope))
        return reduce(torch.mul, factors)

    def freeze(self, functions: RadialFunctions, grid: SplineGrid) -> None:
        """Keep the control points, made of the radial functions at the nodes, in place of what they are made of."""
        self.table = self._control_points(functions, grid).detach()
        self.radial = None

    def freeze_maps(self) -> None:
        """Make one map of the mixing of paths and the map per element that follows, where it is no larger."""
        if self.mixing is None or self.element_mixing is None:
            return
        if max(self.mixing.descriptor.channels_in) <= self.element_mixing.descriptor.channels:
            self.mixing, self.element_mixing = None, self.element_mixing.after(self.mixing)

    def _radial_table(self, edges: EdgeFeatures, index: Tensor, basis: Tensor) -> RadialTable:
        """The spline of every path and channel."""
        table = self.table
        if table is None:
            assert edges.radial is not None and edges.grid is not None
            table = self._control_points(edges.radial, edges.grid)
        if self.by_pair:
            assert edges.grid is not None
            index = edges.pairs * edges.grid.rows + index
        return RadialTable(table, index, basis)

    def _control_points(self, functions: RadialFunctions, grid: SplineGrid) -> Float[Tensor, "rows paths channels"]:
        if functions.boosted is None:
            assert self.radial is not None
            points = self.radial.on_nodes(functions.basis, functions.envelope, grid.control_points)
        else:
            values = functions.boosted.index_select(2, self.degrees).flatten(2)
            if self.radial is not None:
                values = values * self.radial.on_nodes(functions.basis, None)
            points = grid.control_points(values)
        return points.flatten(0, 1).unflatten(1, (len(self.descriptor.paths), -1))


def _neighbor_scale(config: MultiACEConfig) -> float:
    power = {"average": 1.0, "sqrt": 0.5, "none": 0.0}[config.neighbor_normalization]
    return config.avg_num_neighbors**power / config.neighbor_gain
