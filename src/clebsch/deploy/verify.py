"""Whether a saved potential or a compiled library still gives what it gave when it was written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from clebsch.deploy.compiled import CompiledPotential, compile_potential, verify_library
from clebsch.deploy.compiled.seal import MAGIC
from clebsch.errors import CheckpointError, ClebschError, ConfigError
from clebsch.models.serialization import load_potential, read_potential_header
from clebsch.ops import available_backends

DTYPES = ("float64", "float32")


@dataclass(frozen=True)
class Verification:
    """One way of computing the reference frames.

    Attributes:
        way: backend or processor, and dtype.
        error: what is wrong; None if the frames are reproduced.
    """

    way: str
    error: str | None

    @property
    def passed(self) -> bool:
        """Whether the frames are reproduced."""
        return self.error is None


def verify_file(path: str | Path) -> list[Verification]:
    """Compute the reference frames in a file again, in every way there is here.

    Args:
        path: a saved potential: every backend and both dtypes, and compiled for this processor where there is a C
            compiler; or a compiled library.

    Raises:
        CheckpointError: the file cannot be read, or is neither.
    """
    path = Path(path)
    if is_library(path):
        library = CompiledPotential(path)
        return [_verified(f"{library.processor} {library.dtype}", partial(verify_library, library, path))]
    read_potential_header(path)
    return list(_ways(path))


def is_library(path: Path) -> bool:
    """Return whether a file is a compiled library; CheckpointError if there is no file."""
    try:
        with open(path, "rb") as file:
            start = file.read(4)
            file.seek(0, 2)
            file.seek(max(file.tell() - len(MAGIC), 0))
            return start == b"\x7fELF" or file.read() == MAGIC
    except OSError as error:
        raise CheckpointError(f"'{path}' cannot be read ({error.strerror}).") from None


def _ways(path: Path) -> Iterator[Verification]:
    for backend in available_backends():
        for dtype in DTYPES:
            load = partial(load_potential, path, dtype=dtype, backend=backend)
            yield _verified(f"{backend} {dtype}", load)
    for dtype in DTYPES:
        yield _verified(f"compiled {dtype}", partial(_compile, path, dtype))


def _compile(path: Path, dtype: str) -> None:
    with TemporaryDirectory(prefix="clebsch-") as folder:
        compile_potential(path, Path(folder, "potential.so"), dtype=dtype)


def _verified(way: str, compute: Callable[[], object]) -> Verification:
    try:
        compute()
    except ConfigError as error:  # there is no compiler, or the potential cannot be compiled
        return Verification(f"{way}: not tried. {error}", None)
    except ClebschError as error:
        return Verification(way, str(error))
    return Verification(way, None)
