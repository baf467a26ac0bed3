"""i-PI: path integrals and other methods, by its Python driver.

    i-pi-driver-py -u -a ADDRESS -m custom -P PATH_OF_THIS_FILE -o potential=potential.so,template=start.xyz

or within i-PI itself, as ``<ffdirect>`` with ``<pes> custom </pes>``, ``<pes_path>`` the path of this file
(`driver_path`), ``<parameters> { potential: …, template: … }`` and, so that the beads are one batch, ``<batch_size>``
their number.
"""

from __future__ import annotations

import json
from typing import Any

import ase.io
import numpy as np
from ase import Atoms
from ase.stress import voigt_6_to_full_3x3_stress

from clebsch.deploy.ase import Calculator
from clebsch.deploy.packages import require
from clebsch.deploy.predict import predict
from clebsch.pretrained import load

require("ipi", "ipi")

from ipi.pes.dummy import Dummy_driver  # noqa: E402 - after the check
from ipi.utils.units import unit_to_internal  # noqa: E402

__DRIVER_NAME__ = "clebsch"
__DRIVER_CLASS__ = "ClebschDriver"

Result = tuple[float, np.ndarray, np.ndarray, str]


class ClebschDriver(Dummy_driver):
    """A potential for i-PI: energy, forces and, of periodic systems, the virial; beads that come together are a batch.

    Args:
        template: file with the atoms, in i-PI's order; their periodic directions count, the cell is i-PI's.
        potential: a saved potential, a folder of a run, the name of one that comes with clebsch, or a library.
        verbose: of i-PI.
    """

    def __init__(self, template: str, potential: str, verbose: bool = False, **options: Any) -> None:
        self.template, self.potential = template, potential
        super().__init__(verbose, **options)

    def check_parameters(self) -> None:
        """Read atoms and potential."""
        atoms = ase.io.read(self.template)
        assert isinstance(atoms, Atoms)
        self.atoms = atoms
        library = str(self.potential).endswith(".so")
        self.calculator = Calculator(self.potential) if library else None
        self.frozen = None if library else load(self.potential).frozen()

    def compute(self, cell: Any, pos: Any) -> Any:
        """Energy, forces, virial and extras of one structure or a list of them, in atomic units."""
        several = isinstance(cell, list)
        frames = [self._frame(*one) for one in (zip(cell, pos, strict=True) if several else [(cell, pos)])]
        found = [self._result(frame, results) for frame, results in zip(frames, self._predict(frames), strict=True)]
        return found if several else found[0]

    def _frame(self, cell: np.ndarray, positions: np.ndarray) -> Atoms:
        angstrom = 1.0 / unit_to_internal("length", "angstrom", 1.0)
        frame = self.atoms.copy()
        frame.set_cell(angstrom * np.asarray(cell).T)
        frame.positions = angstrom * np.asarray(positions).reshape(-1, 3)
        return frame

    def _predict(self, frames: list[Atoms]) -> list[dict[str, Any]]:
        if self.frozen is not None:
            return predict(self.frozen, frames, batch_size=len(frames))
        assert self.calculator is not None
        found = []
        for frame in frames:
            frame.calc = self.calculator
            frame.get_forces()
            found.append(self.calculator.results)
        return found

    def _result(self, frame: Atoms, results: dict[str, Any]) -> Result:
        virial = np.zeros((3, 3))
        if "stress" in results:
            virial = -voigt_6_to_full_3x3_stress(results["stress"]) * frame.get_volume()
        return (
            float(unit_to_internal("energy", "electronvolt", results["energy"])),
            results["forces"] * unit_to_internal("force", "ev/ang", 1.0),
            virial.T * unit_to_internal("energy", "electronvolt", 1.0),
            json.dumps({}),
        )


def driver_path() -> str:
    """Return the path of this file, as i-PI takes it."""
    return __file__
