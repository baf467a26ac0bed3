"""Configuration: one labelled arrangement of atoms, in eV and Å, checked once when it is made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from ase import Atoms
from ase.calculators.calculator import all_properties
from ase.calculators.singlepoint import SinglePointCalculator
from ase.data import chemical_symbols
from ase.stress import full_3x3_to_voigt_6_stress
from jaxtyping import Bool, Float, Int

from clebsch.data.labels import LabelKeys, config_type, is_isolated_atom, read_labels, read_weights
from clebsch.data.neighbors import complete_cell, neighbor_list
from clebsch.data.quantities import QUANTITIES
from clebsch.errors import DataError, did_you_mean

# No two nuclei of a real configuration come this near (Å).
SMALLEST_DISTANCE = 0.1
FEW_ATOMS = 64


@dataclass(frozen=True, eq=False)
class Configuration:
    """Atoms with their labels.

    Args:
        numbers: [atoms], atomic numbers.
        positions: [atoms, 3], Å.
        cell: [3, 3], cell vectors as rows, Å; zeros where there is none.
        pbc: [3], which directions are periodic; a cell without pbc plays no part.
        labels: values by quantity of the table, such as ``{"energy": -7.1, "forces": forces}``: energy [] in eV,
            forces [atoms, 3] in eV/Å, stress [3, 3] in eV/Å^3 as +(1/V) dE/dstrain, dipole [3] in e Å.
        weights: factors on the weights of the loss by quantity, of those that are not 1; zero is not trained on.
        config_type: a name of the kind of configuration, or empty.
        origin: where it comes from, for messages: "file.xyz, frame 12", counted from 0.

    Raises:
        DataError: a shape is wrong, a number is not finite, or an atomic number or a quantity is unknown.
    """

    numbers: Int[np.ndarray, " atoms"]
    positions: Float[np.ndarray, "atoms 3"]
    cell: Float[np.ndarray, "3 3"] = field(default_factory=lambda: np.zeros((3, 3)))
    pbc: Bool[np.ndarray, " 3"] = field(default_factory=lambda: np.zeros(3, dtype=bool))
    labels: Mapping[str, np.ndarray] = field(default_factory=dict)
    weights: Mapping[str, float] = field(default_factory=dict)
    config_type: str = ""
    origin: str = "configuration"

    def __post_init__(self) -> None:
        numbers = np.array(self.numbers, dtype=np.int64).reshape(-1)
        object.__setattr__(self, "numbers", numbers)
        object.__setattr__(self, "pbc", np.broadcast_to(np.asarray(self.pbc, dtype=bool), (3,)).copy())
        for name, shape in {"positions": (len(numbers), 3), "cell": (3, 3)}.items():
            object.__setattr__(self, name, self._array(name, getattr(self, name), shape))
        unknown = sorted({*self.labels, *self.weights} - set(QUANTITIES))
        if unknown:
            raise DataError(
                f"{self.origin}: '{unknown[0]}' is no quantity.{did_you_mean(unknown[0], QUANTITIES)} "
                f"There are: {', '.join(QUANTITIES)}."
            )
        shapes = {name: QUANTITIES[name].shape(len(numbers)) for name in QUANTITIES if name in self.labels}
        labels = {name: self._array(name, self.labels[name], shape) for name, shape in shapes.items()}
        object.__setattr__(self, "labels", labels)
        self._check()

    def _array(self, name: str, value: object, shape: tuple[int, ...]) -> np.ndarray:
        array = np.array(value, dtype=np.float64)  # A copy: atoms may move on after they were taken.
        if array.shape != shape:
            raise DataError(f"{self.origin}: {name} must have shape {shape}, got {array.shape}.")
        if not np.isfinite(array).all():
            found = f"a finite number, got {array}"
            if shape:
                row = int(np.argwhere(~np.isfinite(array))[0, 0])
                of_atom = name == "positions" or (name in QUANTITIES and QUANTITIES[name].of == "atom")
                found = f"finite numbers, got {array[row].tolist()} for {'atom' if of_atom else 'row'} {row}"
            raise DataError(f"{self.origin}: {name} must be {found}. Remove or recompute this configuration.")
        return array

    def _check(self) -> None:
        if not len(self.numbers):
            raise DataError(f"{self.origin}: a configuration needs at least one atom, got none. Remove it.")
        if self.numbers.min() < 1 or self.numbers.max() >= len(chemical_symbols):
            atom = int(np.flatnonzero((self.numbers < 1) | (self.numbers >= len(chemical_symbols)))[0])
            raise DataError(
                f"{self.origin}: atom {atom} has atomic number {self.numbers[atom]}; expected an element, "
                f"1 to {len(chemical_symbols) - 1}."
            )
        try:
            complete_cell(self.cell, self.pbc)
        except DataError as error:
            raise DataError(f"{self.origin}: {error}") from None
        for name in self.labels:
            if QUANTITIES[name].per_volume and self.volume <= 0.0:
                raise DataError(
                    f"{self.origin}: a {name} label needs a cell with a volume, got cell {self.cell.tolist()}. "
                    f"Give the cell, or set the {name} key to null."
                )

    @property
    def num_atoms(self) -> int:
        """Number of atoms."""
        return len(self.numbers)

    @property
    def symbols(self) -> tuple[str, ...]:
        """Chemical symbol of every atom."""
        return tuple(chemical_symbols[number] for number in self.numbers)

    @property
    def file(self) -> str:
        """The file it comes from, as ``origin`` names it."""
        return self.origin.rpartition(", frame ")[0] or self.origin

    @property
    def volume(self) -> float:
        """Volume of the cell, Å^3; zero where there is none."""
        return float(abs(np.linalg.det(self.cell)))

    def counts(self, quantity: str) -> bool:
        """Return whether a quantity has a label and a weight above zero."""
        return quantity in self.labels and self.weights.get(quantity, 1.0) > 0.0

    @property
    def is_isolated_atom(self) -> bool:
        """Whether this is a free atom, whose energy is an E0."""
        return is_isolated_atom(self.num_atoms, self.pbc, self.cell, self.config_type)

    @classmethod
    def from_atoms(cls, atoms: Atoms, keys: LabelKeys | None = None, origin: str = "atoms") -> Configuration:
        """Return the configuration of an ASE ``Atoms`` with its weights and those labels that ``keys`` name.

        Raises DataError where a label is not finite or of the wrong shape, where the same label stands in two places
        with different values, and where two atoms are closer than 0.1 Å.
        """
        keys = keys or LabelKeys.only()
        configuration = cls(
            numbers=atoms.numbers,
            positions=atoms.positions,
            cell=np.array(atoms.cell),
            pbc=np.array(atoms.pbc),
            labels=read_labels(atoms, keys, origin),
            weights=read_weights(atoms, origin) if keys.named() else {},
            config_type=config_type(atoms),
            origin=origin,
        )
        configuration.check_distances()
        return configuration

    def check_distances(self, smallest: float = SMALLEST_DISTANCE) -> None:
        """Raise DataError where two atoms, or an atom and a periodic image, are closer than ``smallest`` (Å)."""
        if self.num_atoms <= FEW_ATOMS and not self.pbc.any() and self._smallest_distance() >= smallest:
            return  # sooner known than a list is made
        centers, neighbors, shifts = neighbor_list(self.positions, self.cell, self.pbc, smallest)
        if not len(centers):
            return
        vectors = self.positions[neighbors] - self.positions[centers] + shifts @ self.cell
        distances = np.linalg.norm(vectors, axis=1)
        edge = int(distances.argmin())
        image = f" (periodic image {shifts[edge].tolist()})" if shifts[edge].any() else ""
        raise DataError(
            f"{self.origin}: atoms {centers[edge]} and {neighbors[edge]}{image} are {distances[edge]:.4f} Å apart; "
            f"expected at least {smallest} Å. Check that positions and cell are in Å, and pbc; remove duplicates."
        )

    def _smallest_distance(self) -> float:
        """Of all pairs, without periodicity; infinite for one atom."""
        first, second = np.triu_indices(self.num_atoms, 1)
        vectors = self.positions[first] - self.positions[second]
        return float(np.sqrt(np.einsum("pd,pd->p", vectors, vectors).min(initial=np.inf)))

    def to_atoms(self) -> Atoms:
        """Return an ASE ``Atoms`` with its labels as a calculator's results; what ASE does not know is beside them."""
        info = {"config_type": self.config_type} if self.config_type else {}
        atoms = Atoms(self.numbers, self.positions, cell=self.cell, pbc=self.pbc, info=info)
        results = {}
        for name, value in self.labels.items():
            if name in all_properties:
                results[name] = full_3x3_to_voigt_6_stress(value) if name == "stress" else value[()]
            else:
                (atoms.arrays if QUANTITIES[name].of == "atom" else atoms.info)[name] = value
        if results:
            atoms.calc = SinglePointCalculator(atoms, **results)
        return atoms


def find_elements(configurations: Iterable[Configuration]) -> tuple[str, ...]:
    """Return the chemical symbols that occur, in order of atomic number."""
    numbers = {int(number) for configuration in configurations for number in configuration.numbers}
    return tuple(chemical_symbols[number] for number in sorted(numbers))
