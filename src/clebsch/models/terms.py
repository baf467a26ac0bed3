"""Terms of a potential beside the network: what they add to the energies of atoms, and what else they predict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

from jaxtyping import Float64
from pydantic import Field
from torch import Tensor, nn

from clebsch.config import StrictConfig
from clebsch.data import Batch
from clebsch.models.core import CoreRadii
from clebsch.models.multi_ace import ModelOutput
from clebsch.models.zbl import ZBL, ZBLConstants
from clebsch.ops import Edges


class Term(nn.Module):
    """One summand of a potential; every method has a default that leaves things as they are."""

    def seen(self, vectors: Float64[Tensor, "edges 3"], edges: Edges) -> Float64[Tensor, "edges 3"]:
        """Edge vectors in Å to those that the network is given."""
        return vectors

    def energy(
        self, vectors: Float64[Tensor, "edges 3"], edges: Edges, output: ModelOutput | None
    ) -> Float64[Tensor, " targets"] | None:
        """Energy of every target in eV, from true edge vectors in Å and what the network has found."""
        return None

    def quantities(
        self, batch: Batch, positions: Float64[Tensor, "atoms 3"], output: ModelOutput
    ) -> Mapping[str, Tensor]:
        """Further quantities of a prediction by name (see `clebsch.data.quantities`), from positions in Å."""
        return {}


class ZBLConfig(ZBLConstants):
    """Screened nuclear repulsion up to the sum of the covalent radii (`ZBL`).

    Attributes:
        radii: covalent radii in Å by element; those that are not named are ASE's, r_max / 2 at most.
    """

    kind: Literal["zbl"] = "zbl"
    radii: dict[str, float] = {}

    def build(self, elements: Sequence[str], r_max: float) -> Term:
        """Return the term for elements and a cutoff in Å."""
        core = CoreRadii(elements, r_max, atoms=self.radii)
        return Repulsion(core, elements, holds=False, constants=self)


class CoreConfig(StrictConfig):
    """Screened nuclear repulsion from given radii inwards, where the network is held (`CoreRadii`).

    Attributes:
        radii: Å, of pairs of elements such as "C-H"; pairs that are not named have the sum of the covalent radii.
    """

    kind: Literal["core"] = "core"
    radii: dict[str, float] = {}

    def build(self, elements: Sequence[str], r_max: float) -> Term:
        """Return the term for elements and a cutoff in Å; raises ConfigError for radii that make no sense."""
        return Repulsion(CoreRadii(elements, r_max, self.radii), elements, holds=True)


TermConfig = Annotated[ZBLConfig | CoreConfig, Field(discriminator="kind")]


class Repulsion(Term):
    """Nuclear repulsion inside the core radii, and the map that keeps the network out of the cores.

    Args:
        core: the radii.
        elements: chemical symbols, in the order of the element index.
        holds: whether the network sees no distance below 0.855 of the radii.
        constants: of the repulsion.
    """

    def __init__(
        self, core: CoreRadii, elements: Sequence[str], *, holds: bool, constants: ZBLConstants | None = None
    ) -> None:
        super().__init__()
        self.core, self.zbl, self.holds = core, ZBL(elements, core, constants), holds

    def seen(self, vectors: Float64[Tensor, "edges 3"], edges: Edges) -> Float64[Tensor, "edges 3"]:
        """Edge vectors in Å, no shorter than the network may see them."""
        return self.core.keep_out(vectors, edges) if self.holds else vectors

    def energy(
        self, vectors: Float64[Tensor, "edges 3"], edges: Edges, output: ModelOutput | None = None
    ) -> Float64[Tensor, " targets"]:
        """Repulsion of every target in eV."""
        return self.zbl(vectors, edges)
