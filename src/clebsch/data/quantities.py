"""The table of quantities: what can be a label, is predicted, fitted, compared and reported, each described once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

SHAPES: dict[str, tuple[int, ...]] = {"scalar": (), "vector": (3,), "symmetric tensor": (3, 3)}


@dataclass(frozen=True)
class Quantity:
    """A quantity that labels give and potentials predict; every part of the library reads what it needs from here.

    Attributes:
        name: in recipes, labels and metrics.
        symbol: in the heads of tables.
        unit: of labels and predictions.
        of: whether every ``atom`` has one, or the whole ``configuration``.
        character: how it turns with the atoms.
        extensive: whether that of two copies is twice that of one; errors are then also given per atom.
        per_volume: whether it is defined for cells with a volume only.
        derivative: whether it is a derivative of the energy, which a potential is asked for by name.
        key: name of its label in a file where a recipe gives none; None to read none.
        weight: in the loss where a recipe gives none, in ``unit``^-2 (per atom for what is extensive).
        huber_delta: of the Huber penalty where a recipe gives none, in ``unit``.
    """

    name: str
    symbol: str
    unit: str
    of: Literal["atom", "configuration"]
    character: Literal["scalar", "vector", "symmetric tensor"]
    extensive: bool = False
    per_volume: bool = False
    derivative: bool = False
    key: str | None = None
    weight: float = 0.0
    huber_delta: float = 0.01

    @property
    def components(self) -> tuple[int, ...]:
        """Shape of one value."""
        return SHAPES[self.character]

    @property
    def per_atom(self) -> bool:
        """Whether the loss compares it per atom: it is extensive, and of whole configurations."""
        return self.extensive and self.of == "configuration"

    def shape(self, num_atoms: int) -> tuple[int, ...]:
        """Shape of the values of one configuration."""
        return (num_atoms, *self.components) if self.of == "atom" else self.components

    def milli_unit(self, *, per_atom: bool = False) -> str:
        """A thousandth of the unit, in which errors are given: ``meV/Å``."""
        return f"m{self.unit}{'/atom' if per_atom else ''}".replace("^2", "²").replace("^3", "³")

    def metric(self, statistic: str, *, per_atom: bool = False) -> str:
        """Name of an error: quantity, ``rmse`` or ``mae``, unit; ``energy_per_atom_rmse_meV``, ``forces_mae_meV_A``."""
        unit = f"m{self.unit}".replace("^", "").replace("Å", "A").replace("/", "_").replace(" ", "_")
        return f"{self.name}{'_per_atom' if per_atom else ''}_{statistic}_{unit}"

    @property
    def validation_metric(self) -> str:
        """Name of the root mean square error of what the loss compares, ``energy_per_atom_rmse_meV``."""
        return self.metric("rmse", per_atom=self.per_atom)


QUANTITIES: dict[str, Quantity] = {
    quantity.name: quantity
    for quantity in (
        Quantity("energy", "E", "eV", "configuration", "scalar", extensive=True, key="energy", weight=1.0),
        Quantity("forces", "F", "eV/Å", "atom", "vector", derivative=True, key="forces", weight=100.0, huber_delta=0.1),
        Quantity(
            "stress", "S", "eV/Å^3", "configuration", "symmetric tensor", per_volume=True, derivative=True, key="stress"
        ),
        Quantity("dipole", "μ", "e Å", "configuration", "vector", extensive=True),
    )
}

# Of stress labels that a recipe says nothing of, (eV/Å^3)^-2: 1 meV/Å^3 weighs as much as forces of 3 meV/Å.
STRESS_WEIGHT = 1000.0

# The table when the first checkpoints were written, which name these always and others only where they are used.
FIRST = ("energy", "forces", "stress")


def derivatives(names: Iterable[str]) -> dict[str, bool]:
    """Whether each derivative of the energy is among ``names``: the keywords by which a potential is asked for them."""
    wanted = set(names)
    return {name: name in wanted for name, quantity in QUANTITIES.items() if quantity.derivative}
