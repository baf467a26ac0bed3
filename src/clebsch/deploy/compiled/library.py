"""A compiled potential in this process: the functions of clebsch.h."""

from __future__ import annotations

import ctypes
import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from ase.data import chemical_symbols
from jaxtyping import Float, Int
from safetensors.torch import load as load_tensors

from clebsch.deploy.compiled.seal import check_seal
from clebsch.errors import CheckpointError, DataError
from clebsch.models.domain import Domain
from clebsch.models.reference_frames import ReferenceFrame, frames_from_tensors
from clebsch.models.tensor_file import without_prefix

ABI = 1

_POINTER = ctypes.c_void_p


class _Information(ctypes.Structure):
    _fields_ = (
        ("abi", ctypes.c_int32),
        ("real_bytes", ctypes.c_int32),
        ("num_elements", ctypes.c_int32),
        ("symbols", ctypes.POINTER(ctypes.c_char_p)),
        ("atomic_numbers", ctypes.POINTER(ctypes.c_int32)),
        ("r_max", ctypes.c_double),
        ("num_layers", ctypes.c_int32),
        ("num_exchanges", ctypes.c_int32),
        ("exchange_size", ctypes.c_int32),
        ("processor", ctypes.c_char_p),
        ("metadata", ctypes.c_char_p),
        ("frames", _POINTER),
        ("frames_bytes", ctypes.c_int64),
    )


class _System(ctypes.Structure):
    _fields_ = (
        ("num_atoms", ctypes.c_int64),
        ("num_ghosts", ctypes.c_int64),
        ("species", _POINTER),
        ("first", _POINTER),
        ("neighbors", _POINTER),
        ("positions", _POINTER),
        ("vectors", _POINTER),
        ("owners", _POINTER),
    )


class _Result(ctypes.Structure):
    _fields_ = (
        ("energy", ctypes.c_double),
        ("node_energy", _POINTER),
        ("edge_gradient", _POINTER),
        ("forces", _POINTER),
        ("virial", _POINTER),
    )


@dataclass(frozen=True)
class CompiledResult:
    """What a compiled potential returns.

    Attributes:
        energy: eV, E0 included.
        node_energy: eV.
        forces: eV/Å.
        virial: sum of r_ij (dE/dr_ij)^T in eV.
    """

    energy: float
    node_energy: Float[np.ndarray, " atoms"]
    forces: Float[np.ndarray, "atoms 3"]
    virial: Float[np.ndarray, "3 3"]


class CompiledPotential:
    """A shared library made by `clebsch compile`.

    Args:
        path: the library. It is code that this process runs: take it from people whose programs you would run.
        threads: of an evaluation.

    Raises:
        CheckpointError: it is no such library, is damaged, of another version, or for another processor.
    """

    def __init__(self, path: str | Path, threads: int = 1) -> None:
        self.path = Path(path)
        self._lock = threading.Lock()
        self._handle = _POINTER()
        self._library = _load(self.path)
        self._check(self._library.clebsch_open(ABI, ctypes.byref(self._handle)), CheckpointError)
        self._check(self._library.clebsch_set_threads(self._handle, threads), DataError)
        information = self._library.clebsch_describe().contents
        self.elements = tuple(chemical_symbols[information.atomic_numbers[k]] for k in range(information.num_elements))
        self.r_max: float = information.r_max
        self.num_layers: int = information.num_layers
        self.dtype = {4: "float32", 8: "float64"}[information.real_bytes]
        self.processor: str = information.processor.decode()
        self.metadata: dict[str, Any] = json.loads(information.metadata)
        self._tensors = ctypes.string_at(information.frames, information.frames_bytes)
        self.threads = threads

    def __del__(self) -> None:
        if getattr(self, "_handle", None):
            self._library.clebsch_close(self._handle)
            ctypes.CDLL(None).dlclose(_POINTER(self._library._handle))

    @property
    def memory(self) -> int:
        """Bytes held for the largest system so far."""
        return self._library.clebsch_memory(self._handle)

    @cached_property
    def domain(self) -> Domain | None:
        """What the potential was trained on; None if that is not known."""
        stored = without_prefix("domain", load_tensors(self._tensors))
        return Domain.from_tensors(stored, self.elements, self.r_max)

    def frames(self) -> list[ReferenceFrame]:
        """Return the configurations, energies and forces that it has to reproduce."""
        return frames_from_tensors(without_prefix("frames", load_tensors(self._tensors)), self.r_max)

    def __reduce__(self) -> tuple[Any, ...]:
        """Copies and other processes open the library again."""
        return CompiledPotential, (self.path, self.threads)

    def compute(
        self, species: Int[np.ndarray, " atoms"], pairs: Sequence[np.ndarray], positions: np.ndarray | None = None
    ) -> CompiledResult:
        """Energies, forces and virial of atoms.

        Args:
            species: index of the element of every atom.
            pairs: ``first`` [atoms + 1], ``neighbors`` [pairs] and ``vectors`` r_j - r_i [pairs, 3] in Å; pairs beyond
                r_max play no part. The vectors may be left out where they are differences of ``positions``.
            positions: [atoms, 3] in Å.

        Raises:
            DataError: an index or a distance cannot be, or the result is not finite.
        """
        count = len(species)
        first, neighbors, *vectors = pairs
        given = (
            np.ascontiguousarray(species, dtype=np.int32),
            np.ascontiguousarray(first, dtype=np.int64),
            np.ascontiguousarray(neighbors, dtype=np.int32),
            None if positions is None else np.ascontiguousarray(positions, dtype=np.float64),
            np.ascontiguousarray(vectors[0], dtype=np.float64) if vectors else None,
        )
        energies, forces, virial = np.empty(count), np.empty((count, 3)), np.empty((3, 3))
        system = _System(count, 0, *map(_address, given), None)
        result = _Result(0.0, _address(energies), None, _address(forces), _address(virial))
        with self._lock:  # calls of a library do not hold Python's
            status = self._library.clebsch_compute(self._handle, ctypes.byref(system), None, ctypes.byref(result))
            self._check(status, DataError)
        return CompiledResult(result.energy, energies, forces, virial)

    def _check(self, status: int, kind: type[Exception]) -> None:
        if status:
            text = self._library.clebsch_error(self._handle).decode()
            raise kind(f"'{self.path}': {text}.")


def _open_copy(content: bytes) -> ctypes.CDLL:
    """A library from a copy with a name of its own: of a name that it has seen, the system returns what it loaded."""
    with TemporaryDirectory(prefix="clebsch-") as folder:
        copy = Path(folder, "potential.so")
        copy.write_bytes(content)
        return ctypes.CDLL(str(copy))


def _address(array: np.ndarray | None) -> int | None:
    return None if array is None else array.ctypes.data


def _load(path: Path) -> ctypes.CDLL:
    content = check_seal(path)
    try:
        library = _open_copy(content)
        library.clebsch_describe.restype = ctypes.POINTER(_Information)
        library.clebsch_error.restype = ctypes.c_char_p
        library.clebsch_error.argtypes = [_POINTER]
        library.clebsch_memory.restype = ctypes.c_int64
        library.clebsch_memory.argtypes = [_POINTER]
        library.clebsch_close.argtypes = [_POINTER]
        library.clebsch_close.restype = None
        library.clebsch_open.argtypes = [ctypes.c_int32, _POINTER]
        library.clebsch_set_threads.argtypes = [_POINTER, ctypes.c_int32]
        library.clebsch_compute.argtypes = [_POINTER] * 4
    except (OSError, AttributeError) as error:
        raise CheckpointError(
            f"'{path}' is no library made by `clebsch compile`, or is damaged ({error}). Copy or compile it again."
        ) from None
    return library
