"""What MACE makes of distances besides its network: transforms and the repulsion of nuclei."""

from __future__ import annotations

from typing import Any

import numpy as np
from ase.data import atomic_numbers, covalent_radii

from clebsch.errors import ConfigError
from clebsch.interop.published import Source
from clebsch.models import ZBLConfig

# Constants that are written in the code, not in its weights.
COULOMB, BOHR = 14.3996, 0.529
PAIR = "pair_repulsion_fn"


def distance_transform(source: Source) -> dict[str, Any] | None:
    """The transform of the distance, None for none; raises ConfigError for an unknown one."""
    if source.optional("distance_transform") is None:
        return None
    kind, name = source.choice("distance_transform", ["Agnesi", "Soft"]), "radial_embedding.distance_transform"
    constants = ("a", "q", "p") if kind == "Agnesi" else ("alpha",)
    found = {constant: float(source.weight(f"{name}.{constant}", 1)[0]) for constant in constants}
    return {"kind": kind.lower(), **found, "radii": radii_of(source, f"{name}.covalent_radii")}


def repulsion(source: Source, scale: float, r_max: float) -> tuple[ZBLConfig, ...]:
    """The repulsion of nuclei, which the code multiplies with the scale of the energies; empty without.

    Raises:
        ConfigError: it reaches beyond r_max, where the code drops it, so that the energy jumps.
    """
    if source.optional("pair_repulsion") is None:
        return ()
    radii = radii_of(source, f"{PAIR}.covalent_radii")
    widest = max(source.elements(), key=radii.__getitem__)
    if 2 * radii[widest] > r_max:
        raise ConfigError(
            f"{source.code}: pair_repulsion of {widest}-{widest} ends at {2 * radii[widest]:.2f} Å, beyond r_max = "
            f"{r_max} Å, so that its energy jumps there. Read the model without {widest} (elements)."
        )
    numbers = {name: float(source.weight(f"{PAIR}.{name}", 1)[0]) for name in ("a_exp", "a_prefactor", "p")}
    return (
        ZBLConfig(
            coulomb=COULOMB * scale,
            length=numbers["a_prefactor"] * BOHR,
            exponent=numbers["a_exp"],
            coefficients=tuple(source.weight(f"{PAIR}.c", 4).tolist()),
            p=int(numbers["p"]),
            radii=radii,
        ),
    )


def radii_of(source: Source, name: str) -> dict[str, float]:
    """Radii in Å by element, which the code keeps for every atomic number in the dtype of the model."""
    table = source.weight(name, -1)
    found = {symbol: float(table[atomic_numbers[symbol]]) for symbol in source.elements()}
    same = all(
        np.isclose(radius, covalent_radii[atomic_numbers[symbol]], atol=1e-6) for symbol, radius in found.items()
    )
    if not same:
        raise ConfigError(f"{source.code}: '{name}' are not the covalent radii that ASE lists; see docs/interop.md.")
    return found
