"""Irreducible representations of O(3) and ordered lists of them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from clebsch.errors import ClebschError

_PARITY_LETTER = {1: "e", -1: "o"}


class Irrep(NamedTuple):
    """Irreducible representation (l, p) of O(3): degree l and parity p = ±1, written ``1o`` or ``2e``.

    Args:
        l: degree; the representation has 2l+1 components, in the order m = -l, …, l of real spherical harmonics.
        p: +1 (even, ``e``) or -1 (odd, ``o``) under inversion.
    """

    l: int
    p: int

    @property
    def dim(self) -> int:
        """Number of components, 2l+1."""
        return 2 * self.l + 1

    @classmethod
    def parse(cls, text: str) -> Irrep:
        """Read ``"1o"``.

        Raises:
            ClebschError: the text is not a degree followed by ``e`` or ``o``.
        """
        match = re.fullmatch(r"(\d+)([eo])", text.strip())
        if match is None:
            cure = "list it once per copy; channels are a separate setting" if "x" in text else "write 0e, 1o, 2e, …"
            raise ClebschError(f"irrep: expected a degree and a parity such as '1o', got '{text}'; {cure}")
        return cls(int(match.group(1)), 1 if match.group(2) == "e" else -1)

    def __str__(self) -> str:
        return f"{self.l}{_PARITY_LETTER[self.p]}"

    def __mul__(self, other: Irrep) -> list[Irrep]:  # type: ignore[override]
        """Irreps of the product: l = |l1-l2|, …, l1+l2 with parity p1·p2, each once."""
        return [Irrep(l, self.p * other.p) for l in range(abs(self.l - other.l), self.l + other.l + 1)]


class Irreps(tuple[Irrep, ...]):
    """Ordered list of irreps, duplicates allowed: ``Irreps("0e+1o+2e")``.

    It describes the first axis of a feature tensor [components, atoms, channels]: the components of the
    irreps one after another, every irrep with the same number of channels.

    Args:
        irreps: text such as ``"0e+1o"`` or an iterable of ``Irrep`` or of texts such as ``"1o"``.

    Raises:
        ClebschError: an entry is no irrep.
    """

    __slots__ = ()

    def __new__(cls, irreps: str | Iterable[Irrep | str] = ()) -> Irreps:
        if isinstance(irreps, str):
            irreps = list(irreps.split("+")) if irreps.strip() else []
        return super().__new__(cls, [as_irrep(ir) for ir in irreps])

    @classmethod
    def spherical_harmonics(cls, l_max: int) -> Irreps:
        """Irreps 0e+1o+2e+3o+… of the spherical harmonics up to l_max."""
        return cls(Irrep(l, (-1) ** l) for l in range(l_max + 1))

    @property
    def dim(self) -> int:
        """Number of components, the sum of 2l+1."""
        return sum(ir.dim for ir in self)

    @property
    def l_max(self) -> int:
        """Largest degree (0 for an empty list)."""
        return max((ir.l for ir in self), default=0)

    def slices(self) -> list[slice]:
        """Components of each irrep."""
        stops = [sum(ir.dim for ir in self[: i + 1]) for i in range(len(self))]
        return [slice(stop - ir.dim, stop) for ir, stop in zip(self, stops, strict=True)]

    def __str__(self) -> str:
        return "+".join(str(ir) for ir in self)

    def __repr__(self) -> str:
        return f"Irreps('{self}')"


def as_irrep(value: Irrep | str) -> Irrep:
    """Return ``value`` as an Irrep; texts such as ``"1o"`` are read.

    Raises:
        ClebschError: the value is no irrep, its degree is negative or its parity is not ±1.
    """
    if isinstance(value, str):
        return Irrep.parse(value)
    if not (isinstance(value, tuple) and len(value) == 2 and value[0] >= 0 and value[1] in _PARITY_LETTER):
        raise ClebschError(f"irrep: expected (l >= 0, p = 1 or -1) or a text, got {value!r}; write e.g. '1o'")
    return Irrep(int(value[0]), int(value[1]))
