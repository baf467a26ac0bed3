"""The channel-wise convolution in plain torch."""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from clebsch.errors import ClebschError
from clebsch.o3 import Irreps, clebsch_gordan
from clebsch.ops.descriptors import ConvolutionDescriptor
from clebsch.ops.edges import Edges
from clebsch.ops.radial_table import RadialTable


class Convolution(nn.Module):
    r"""The convolution of :class:`~clebsch.ops.ConvolutionDescriptor`, one batched matrix product per feature irrep.

    .. math:: A_{i,pk,m_3} = \sum_j R_{ij,pk} \sum_{m_1} \Big( \sum_{m_2} \sqrt{2 l_3 + 1}\,
              C^{l_1 l_2 l_3}_{m_1 m_2 m_3} Y_{l_2 m_2}(\hat r_{ij}) \Big) h_{j,k,m_1}

    The pairs (p, m3) are the rows of the matrices; they are computed by feature irrep and kept in the order of paths.

    Args:
        descriptor: what is coupled with what.
        dtype: of the arithmetic.
    """

    row_order: Tensor
    row_path: Tensor

    def __init__(self, descriptor: ConvolutionDescriptor, dtype: torch.dtype) -> None:
        super().__init__()
        self.descriptor = descriptor
        self.components = descriptor.features.slices()
        self.without_features = descriptor.features == Irreps("0e")
        for feature in range(len(descriptor.features)):
            coupling = torch.tensor(_coupling(descriptor, feature), dtype=dtype)
            self.register_buffer(f"coupling_{feature}", coupling, persistent=False)
        by_feature = sorted(range(len(descriptor.paths)), key=lambda index: descriptor.paths[index].feature)
        dims = [descriptor.output[descriptor.paths[index].output].dim for index in by_feature]
        row_path = np.repeat(np.array(by_feature, dtype=np.int64), dims)
        order = np.argsort(row_path, kind="stable")
        self.register_buffer("row_order", torch.from_numpy(order), persistent=False)
        self.register_buffer("row_path", torch.from_numpy(row_path[order]), persistent=False)
        counts = [sum(path.output == index for path in descriptor.paths) for index in range(len(descriptor.output))]
        self.blocks = [(count, irrep.dim) for count, irrep in zip(counts, descriptor.output, strict=True)]

    def forward(
        self,
        features: Float[Tensor, "components sources channels"] | None,
        harmonics: Float[Tensor, "edges harmonics"],
        radial: Float[Tensor, "edges paths channels"] | RadialTable,
        edges: Edges,
    ) -> tuple[Tensor, ...]:
        """Couple, weight and pool.

        Args:
            features: h of every source; None for h = 1.
            harmonics: Y of every edge, (l_max + 1)^2 components.
            radial: R of every edge, path and channel, or the table of a spline.
            edges: who receives from whom.

        Returns: one [2l + 1, targets, multiplicity * channels] per output irrep.

        Raises:
            ClebschError: features are None, but the descriptor couples other irreps than "0e".
        """
        weights = radial.dense() if isinstance(radial, RadialTable) else radial
        coupled = self._couple(features, harmonics, edges.neighbors)  # [edges, rows, channels or 1]
        message = coupled.index_select(1, self.row_order) * weights.index_select(1, self.row_path)
        pooled = message.new_zeros(edges.num_targets, *message.shape[1:]).index_add(0, edges.centers, message)
        return self._by_irrep(pooled)

    def _couple(self, features: Tensor | None, harmonics: Tensor, neighbors: Tensor) -> Tensor:
        if features is None and not self.without_features:
            raise missing_features(self.descriptor)
        rows = []
        for feature, components in enumerate(self.components):
            coupling = self.get_buffer(f"coupling_{feature}")
            matrix = (harmonics @ coupling.flatten(1)).unflatten(1, coupling.shape[1:])  # [edges, rows, m1]
            if features is not None:
                matrix = matrix @ features[components].transpose(0, 1).index_select(0, neighbors)
            rows.append(matrix)
        return torch.cat(rows, dim=1)

    def _by_irrep(self, pooled: Tensor) -> tuple[Tensor, ...]:
        """[atoms, rows, channels] to one tensor per output irrep, its paths side by side or summed."""
        outputs = []
        rows = pooled.split([count * dim for count, dim in self.blocks], dim=1)
        for (count, dim), block in zip(self.blocks, rows, strict=True):
            paths = block.unflatten(1, (count, dim))
            if self.descriptor.mixing == "sum":
                outputs.append(paths.sum(1).transpose(0, 1) / math.sqrt(count))
            else:
                outputs.append(paths.permute(2, 0, 1, 3).flatten(2))
        return tuple(outputs)


def _coupling(descriptor: ConvolutionDescriptor, feature: int) -> np.ndarray:
    """All paths of one feature irrep as one array [(l_max + 1)**2, rows, 2 l1 + 1]."""
    l1 = descriptor.features[feature].l
    num_harmonics = (descriptor.l_max + 1) ** 2
    blocks = [np.zeros((num_harmonics, 0, 2 * l1 + 1))]
    for path in descriptor.paths:
        if path.feature == feature:
            l3 = descriptor.output[path.output].l
            block = np.zeros((num_harmonics, 2 * l3 + 1, 2 * l1 + 1))
            coupling = math.sqrt(2 * l3 + 1) * clebsch_gordan(l1, path.l2, l3)
            block[path.l2**2 : (path.l2 + 1) ** 2] = coupling.transpose(1, 2, 0)
            blocks.append(block)
    return np.concatenate(blocks, axis=1)


def missing_features(descriptor: ConvolutionDescriptor) -> ClebschError:
    """The error of a convolution that is called without the features it couples."""
    return ClebschError(
        f"features: expected a tensor with the irreps '{descriptor.features}', got None; "
        "only a convolution of '0e' does without"
    )
