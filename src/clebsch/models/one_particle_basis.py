"""One-particle basis and its pooled sum, the atomic basis."""

from __future__ import annotations

from functools import reduce

import torch
from jaxtyping import Float
from torch import Tensor, nn

from clebsch.basis import RadialModel, SplineGrid
from clebsch.models.basis_gate import BasisGate, gated_irreps
from clebsch.models.config import LayerConfig, MultiACEConfig
from clebsch.models.density import Density
from clebsch.models.edge_embedding import EdgeFeatures, RadialFunctions
from clebsch.models.linear import IrrepsLinear
from clebsch.o3 import Irreps
from clebsch.ops import Backend, ConvolutionDescriptor, ElementGroups, RadialTable


class AtomicBasis(nn.Module):
    r"""The atomic basis of one layer.

    .. math:: A_{i,k,lm} = \frac{1}{\lambda} \sum_j \phi_{ij,k,lm}, \qquad
              \phi_{ij,pk,l_3 m_3} = R_{pk}(r_{ij}; z_i, z_j) [h_{j,k,l_1} \otimes Y_{l_2}(\hat r_{ij})]_{l_3 m_3}

    (arXiv 2205.06643, eq. 8-10), the paths p mixed or summed, then passed through a map per element if wanted, divided
    by the density of the atom (`Density`) and gated (`BasisGate`).

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
        gated = gated_irreps(self.irreps) if layer.basis_gate else self.irreps
        self.mixed = descriptor.output if layer.element_message else gated
        self.convolution = backend.convolution(descriptor, dtype)
        degrees = torch.tensor([path.l2 for path in descriptor.paths], dtype=torch.long)
        self.register_buffer("degrees", degrees, persistent=False)
        channels, num_elements = config.num_channels, len(config.elements)
        sent = layer.edge_channels or channels
        options = {"dtype": dtype, "generator": generator}
        kernels = {"backend": backend, **options}
        self.register_buffer("table", None, persistent=False)
        self.linear_up = self.radial = self.mixing = self.element_mixing = None
        if layer.node_features and layer.linear_up:
            self.linear_up = IrrepsLinear(features, channels, features, sent, **kernels)
        if layer.radial.kind != "none":
            self.radial = RadialModel(
                layer.radial,
                num_basis=config.radial_basis.num,
                num_elements=num_elements,
                num_paths=len(descriptor.paths),
                num_channels=sent,
                **options,
            )
        self.by_pair = config.booster is not None or (self.radial is not None and self.radial.depends_on_pair)
        if layer.path_mixing == "linear" or layer.correlation == 1:
            widths = [multiplicity * sent for multiplicity in descriptor.multiplicities]
            self.mixing = IrrepsLinear(descriptor.output, widths, self.mixed, channels, **kernels)
        if layer.element_message:
            self.element_mixing = IrrepsLinear(
                self.mixed, channels, gated, channels, num_elements=num_elements, **kernels
            )
        self.density = self.gate = None
        if layer.density is not None:
            sizes = {"num_basis": config.radial_basis.num, "num_elements": num_elements}
            self.density = Density(layer.density, cuts_weights=layer.radial.cuts_weights, **sizes, **options)
        if layer.basis_gate:
            self.gate = BasisGate(self.irreps, features=source, sent_channels=sent, num_channels=channels, **kernels)

    def forward(
        self, features: Float[Tensor, "..."], edges: EdgeFeatures
    ) -> Float[Tensor, "components targets channels"]:
        """Features of the sources [components, sources, channels], not read without ``node_features``, to A."""
        sent = None
        if self.layer.node_features:
            sent = features if self.linear_up is None else self.linear_up(features)
        pooled = self.convolution(sent, edges.harmonics, self.radial_weights(edges), edges.edges)
        basis = self._mixed(list(pooled), edges.edges.elements)
        if self.density is not None:
            basis = basis / self.density(edges)[:, None]
        return basis if self.gate is None else self.gate(basis, sent)

    def _mixed(self, pooled: list[Tensor], elements: ElementGroups) -> Tensor:
        """The paths of one irrep mixed or summed already, then passed through a map per element."""
        if self.mixing is None:
            return torch.cat(pooled) if self.element_mixing is None else self.element_mixing(pooled, elements)
        mixed = self.mixing(pooled)
        return mixed if self.element_mixing is None else self.element_mixing(mixed, elements)

    def radial_weights(self, edges: EdgeFeatures) -> Float[Tensor, "edges paths channels"] | RadialTable:
        """The radial model, times the boosted feature of the path's l2; of every edge, or as a table of a spline."""
        if edges.spline is not None:
            return self._radial_table(edges)
        functions, factors = edges.radial, []
        assert functions is not None
        if functions.boosted is not None:
            factors.append(functions.boosted.index_select(1, self.degrees))
        if self.radial is not None:
            basis = functions.bare if self.layer.radial.cuts_weights else functions.basis
            factors.append(self.radial(basis, edges.pairs, None if factors else functions.envelope))
        return reduce(torch.mul, factors)

    def freeze(self, functions: RadialFunctions, grid: SplineGrid) -> None:
        """Keep the control points, made of the radial functions at the nodes, in place of what they are made of."""
        self.table = self._control_points(functions, grid).detach()
        self.radial = None
        if self.density is not None:
            self.density.freeze(functions, grid)

    def freeze_maps(self) -> None:
        """Make one map of the mixing of paths and the map per element that follows, where it is no larger."""
        if self.mixing is None or self.element_mixing is None:
            return
        if max(self.mixing.descriptor.channels_in) <= self.element_mixing.descriptor.channels:
            self.mixing, self.element_mixing = None, self.element_mixing.after(self.mixing)

    def _radial_table(self, edges: EdgeFeatures) -> RadialTable:
        """The spline of every path and channel."""
        assert edges.spline is not None
        table = self.table
        if table is None:
            assert edges.radial is not None and edges.grid is not None
            table = self._control_points(edges.radial, edges.grid)
        return RadialTable(table, edges.rows(self.by_pair), edges.spline[1])

    def _control_points(self, functions: RadialFunctions, grid: SplineGrid) -> Float[Tensor, "rows paths channels"]:
        functions = functions.for_pairs() if self.by_pair else functions
        basis = functions.bare if self.layer.radial.cuts_weights else functions.basis
        if functions.boosted is None:
            assert self.radial is not None
            points = self.radial.on_nodes(basis, functions.envelope, grid.control_points)
        else:
            values = functions.boosted.index_select(2, self.degrees).flatten(2)
            if self.radial is not None:
                values = values * self.radial.on_nodes(basis, None)
            points = grid.control_points(values)
        return points.flatten(0, 1).unflatten(1, (len(self.descriptor.paths), -1))
