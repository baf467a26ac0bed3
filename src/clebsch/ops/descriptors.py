"""Descriptors: what the operations compute, free of how."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from clebsch.errors import ClebschError
from clebsch.o3 import Coupling, Irrep, Irreps, distinct_coupling, symmetric_coupling

Places = tuple[tuple[int, int], ...]  # first component and dimension of every irrep

PathMixing = Literal["linear", "sum"]


@dataclass(frozen=True)
class ConvolutionPath:
    """One coupling ``features[feature] (x) Y_l2 -> output[output]`` of the one-particle basis.

    Attributes:
        feature: index into the irreps of the node features.
        l2: degree of the spherical harmonic.
        output: index into the output irreps.
    """

    feature: int
    l2: int
    output: int


@dataclass(frozen=True)
class ConvolutionDescriptor:
    r"""The channel-wise convolution that pools the one-particle basis.

    .. math:: A_{i,pk,m_3} = \sum_j R_{ij,pk} \sqrt{2 l_3 + 1} \sum_{m_1 m_2}
              C^{l_1 l_2 l_3}_{m_1 m_2 m_3} h_{j,k,m_1} Y_{l_2 m_2}(\hat r_{ij})

    over all paths p = (l1, l2) -> l3 (arXiv 2205.06643, eq. 10). With ``mixing = "linear"`` the paths that end in one
    irrep stay apart; with ``"sum"`` they are summed and divided by the root of their number.

    Attributes:
        features: irreps of the node features h; "0e" where the convolution uses none (h = 1).
        l_max: highest degree of the spherical harmonics.
        targets: irreps that are wanted, each once; those that no path reaches are left out.
        mixing: "linear" or "sum".

    Raises:
        ClebschError: a target is repeated or l_max is negative.
    """

    features: Irreps
    l_max: int
    targets: Irreps
    mixing: PathMixing = "linear"

    def __post_init__(self) -> None:
        if len(set(self.targets)) < len(self.targets):
            raise ClebschError(f"targets: expected each irrep once, got '{self.targets}'; drop the repeated ones")
        if self.l_max < 0:
            raise ClebschError(f"l_max: expected an integer >= 0, got {self.l_max}; l_max = 0 is distances alone")

    @cached_property
    def output(self) -> Irreps:
        """The targets that at least one path reaches, in the order of ``targets``."""
        reached = {irrep for _, _, irrep in self._couplings}
        return Irreps([irrep for irrep in self.targets if irrep in reached])

    @cached_property
    def paths(self) -> tuple[ConvolutionPath, ...]:
        """All paths, ordered by output irrep, then by feature, then by l2."""
        order = {irrep: index for index, irrep in enumerate(self.output)}
        paths = [ConvolutionPath(feature, l2, order[irrep]) for feature, l2, irrep in self._couplings]
        return tuple(sorted(paths, key=lambda path: (path.output, path.feature, path.l2)))

    @cached_property
    def multiplicities(self) -> tuple[int, ...]:
        """Blocks of channels per output irrep: its number of paths, or 1 where paths are summed."""
        counts = [sum(path.output == index for path in self.paths) for index in range(len(self.output))]
        return tuple(counts) if self.mixing == "linear" else tuple(1 for _ in counts)

    @cached_property
    def _couplings(self) -> list[tuple[int, int, Irrep]]:
        harmonics = Irreps.spherical_harmonics(self.l_max)
        wanted = set(self.targets)
        return [
            (feature, harmonic.l, irrep)
            for feature, left in enumerate(self.features)
            for harmonic in harmonics
            for irrep in left * harmonic
            if irrep in wanted
        ]


@dataclass(frozen=True)
class ProductBlock:
    """The couplings of nu factors to one output irrep; each block has weights [elements, paths, channels].

    Attributes:
        output: index into the output irreps.
        nu: number of factors.
        coupling: the couplings, at least one path.
    """

    output: int
    nu: int
    coupling: Coupling


@dataclass(frozen=True)
class ProductBasisDescriptor:
    r"""The product basis of correlation order ``correlation``.

    .. math:: B_{i,k,LM} = \sum_{\nu=1}^{\nu_{max}} \sum_\eta w_{z_i,\nu,\eta,k}
              \sum_{\mathbf{lm}} C^{LM}_{\eta,\mathbf{lm}} \prod_{\xi=1}^{\nu} A^{(\xi)}_{i,k,l_\xi m_\xi}

    With equal factors all :math:`A^{(\xi)}` are one tensor and the couplings are symmetrised and independent
    (arXiv 2206.07697, eq. 10); with distinct factors they differ (PACE, arXiv 2411.04219, eq. 9).

    Attributes:
        features: irreps of every factor.
        output: irreps of B.
        correlation: highest number of factors.
        distinct: whether the factors differ.

    Raises:
        ClebschError: the correlation is less than 1.
    """

    features: Irreps
    output: Irreps
    correlation: int
    distinct: bool = False

    def __post_init__(self) -> None:
        if self.correlation < 1:
            raise ClebschError(f"correlation: expected an integer >= 1, got {self.correlation}; 1 is no product at all")

    @cached_property
    def blocks(self) -> tuple[ProductBlock, ...]:
        """One block per output irrep and correlation order that has couplings, output irrep first."""
        found = []
        for index, irrep in enumerate(self.output):
            for nu in range(1, self.correlation + 1):
                coupling = self._coupling(irrep, nu)
                if coupling.num_paths:
                    found.append(ProductBlock(index, nu, coupling))
        return tuple(found)

    def _coupling(self, irrep: Irrep, nu: int) -> Coupling:
        if self.distinct:
            return distinct_coupling(self.features, irrep, nu)
        return symmetric_coupling(self.features, irrep, nu)


@dataclass(frozen=True)
class LinearDescriptor:
    r"""The linear map :math:`y_l = x_l W_l / \sqrt{K_l}` of every irrep.

    Attributes:
        irreps_in: irreps of the input, each once.
        channels_in: channels K_l of every input irrep.
        irreps_out: irreps of the result; one without a match in the input is zero, repeats have maps of their own.
        channels: of every irrep of the result.
        by_element: whether there is one map per element.
    """

    irreps_in: Irreps
    channels_in: tuple[int, ...]
    irreps_out: Irreps
    channels: int
    by_element: bool = False

    @cached_property
    def sources(self) -> tuple[int | None, ...]:
        """Place of the input irrep of every output irrep, None where there is none."""
        places = {irrep: index for index, irrep in enumerate(self.irreps_in)}
        return tuple(places.get(irrep) for irrep in self.irreps_out)

    @cached_property
    def scales(self) -> tuple[float, ...]:
        """Factor of every matrix."""
        return tuple(self.channels_in[source] ** -0.5 for source in self.sources if source is not None)

    @cached_property
    def components(self) -> int:
        """Components of the result."""
        return sum(irrep.dim for irrep in self.irreps_out)

    @cached_property
    def places_in(self) -> Places:
        """First component and dimension of every input irrep."""
        return _places(self.irreps_in)

    @cached_property
    def places_out(self) -> Places:
        """Likewise of every output irrep."""
        return _places(self.irreps_out)


def _places(irreps: Irreps) -> Places:
    return tuple((part.start, part.stop - part.start) for part in irreps.slices())
