"""Output of VASP: its forces are derivatives of the free energy, which is therefore the energy."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import ase.io
from ase import Atoms

from clebsch.data.lines import opener_of
from clebsch.errors import DataError

# What stands near the end of a whole file, and how near (bytes).
ENDINGS = {"vasp-xml": b"</modeling>", "vasp-out": b"General timing and accounting informations for this job"}
TAIL = 10_000
ZERO_SMEARING = "energy_zero_smearing"


def vasp_loaders(path: Path, form: str) -> Iterator[Callable[[], Atoms]]:
    """Yield, for every step of a vasprun.xml or OUTCAR, a function that returns it.

    ``energy`` is VASP's free energy; the energy extrapolated to zero smearing is `ZERO_SMEARING` in ``Atoms.info``.
    Raises DataError if the file is cut off.
    """
    if ENDINGS[form] not in _tail(path):
        raise DataError(
            f"{path}: is cut off: '{ENDINGS[form].decode()}' is missing at its end. Get the whole file again; to use "
            "the steps before the cut, convert them to extended XYZ."
        )
    for atoms in ase.io.iread(path, index=":", format=form, do_not_split_by_at_sign=True):
        yield partial(_with_free_energy, atoms)


def describe_energies(frames: Sequence[Atoms]) -> str | None:
    """Say which of VASP's energies is taken, and how large the other is; None if they do not differ."""
    marked = [(atoms.info[ZERO_SMEARING], atoms.calc) for atoms in frames if ZERO_SMEARING in atoms.info]
    largest = max((abs(calc.results["energy"] - zero) for zero, calc in marked if calc is not None), default=0.0)
    if not largest:
        return None
    return (
        f"the energy is VASP's free energy, to which the forces belong; that for zero smearing differs by up to "
        f"{largest:.3g} eV (to take it: keys energy: {ZERO_SMEARING})"
    )


def _with_free_energy(atoms: Atoms) -> Atoms:
    results = getattr(atoms.calc, "results", {})
    free = results.get("free_energy")
    if free is None or "energy" not in results:
        return atoms
    atoms.info[ZERO_SMEARING] = float(results["energy"])
    results["energy"] = free
    return atoms


def _tail(path: Path) -> bytes:
    """The last bytes of a file, which may be compressed."""
    tail = b""
    with opener_of(path)(path, "rb") as file:
        while block := file.read(1_000_000):
            tail = (tail + block)[-TAIL:]
    return tail
