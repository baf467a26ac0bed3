"""One safetensors file: named tensors and a JSON header, with a checksum, replaced atomically, errors explained.

The checksum is the SHA-256 of the whole file with its own 64 digits as zeros, so that no bit of the file can change
unnoticed. Files that were written before there was one have none and are not checked.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from safetensors.torch import save as tensors_to_bytes

from clebsch.errors import CheckpointError, ClebschError, DamagedFileError
from clebsch.files import write_file
from clebsch.version import __version__

Value = TypeVar("Value")

_HEADER_KEY, _CHECKSUM_KEY = "clebsch", "sha256"
_NO_CHECKSUM = "0" * 64
_PIECE = 2**22  # bytes that are hashed at once


@dataclass(frozen=True)
class FileFormat:
    """What a file holds (``kind``, for people) and the newest layout this library can read."""

    kind: str
    version: int


def write_tensor_file(
    path: str | Path,
    tensors: Mapping[str, torch.Tensor],
    header: Mapping[str, Any],
    file_format: FileFormat,
    previous: Path | None = None,
) -> None:
    """Write ``tensors``, ``header`` and a checksum; at every moment ``path`` is the old file or the whole new one.

    Args:
        path: file to create or replace; missing folders are made.
        tensors: named tensors of any device, shape and dtype.
        header: JSON content (string keys; no NaN or infinity).
        file_format: kind and version, written into the header beside the version of the library.
        previous: name under which the old file is kept; None for not at all (see `write_file`).

    Raises:
        CheckpointError: ``header`` cannot be written as JSON.
        OutputError: the file cannot be written.
    """
    path = Path(path)
    stamp = {"format": file_format.kind, "format_version": file_format.version, "clebsch_version": __version__}
    try:
        text = json.dumps({**stamp, **header}, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise CheckpointError(
            f"The metadata of {path} must be JSON (numbers that are finite, strings, lists, mappings): {error}."
        ) from None
    # Cloning gives every tensor its own contiguous storage, which the format asks for.
    owned = {
        name: tensor.detach().to("cpu").clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()
    }
    content = tensors_to_bytes(owned, metadata={_HEADER_KEY: text, _CHECKSUM_KEY: _NO_CHECKSUM})
    digits = hashlib.sha256(content).hexdigest()
    write_file(path, content.replace(_entry(_NO_CHECKSUM), _entry(digits), 1), previous)


def read_header(path: str | Path, file_format: FileFormat) -> dict[str, Any]:
    """Return the JSON header of the file at ``path``, whose checksum, if it has one, is that of its content.

    Raises:
        DamagedFileError: the file is truncated or altered.
        CheckpointError: the file is missing, of another kind, or written by a newer library.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"There is no file '{path}'. Give the path of a saved {file_format.kind}.")
    metadata = _read_metadata(path, file_format)
    with explained(path, file_format):
        header = json.loads(metadata[_HEADER_KEY])
        _check_format(path, header, file_format)
    return header


def read_shapes(path: str | Path, file_format: FileFormat) -> dict[str, tuple[int, ...]]:
    """Return the shape of every tensor of the file at ``path`` without reading one; errors as in `read_header`."""
    try:
        with safe_open(path, framework="pt") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise _unreadable(Path(path), file_format, error) from None


def read_tensor_file(path: str | Path, file_format: FileFormat) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Return the tensors (on the CPU) and the JSON header of the file at ``path``; errors as in ``read_header``."""
    header = read_header(path, file_format)
    try:
        found = load_file(path, device="cpu")
    except (SafetensorError, OSError) as error:
        raise _unreadable(Path(path), file_format, error) from None
    # Copies lie where PyTorch puts tensors: matrix products round otherwise in memory that is aligned otherwise.
    return {name: tensor.clone() for name, tensor in found.items()}, header


def with_prefix(prefix: str, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return ``tensors`` with ``prefix`` and a dot before every name."""
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def without_prefix(prefix: str, tensors: Mapping[str, Value]) -> dict[str, Value]:
    """Return what there is of tensors whose names start with ``prefix`` and a dot, by the rest of their names."""
    start = f"{prefix}."
    return {name[len(start) :]: tensor for name, tensor in tensors.items() if name.startswith(start)}


def _check_format(path: Path, header: Mapping[str, Any], file_format: FileFormat) -> None:
    if header.get("format") != file_format.kind:
        raise CheckpointError(
            f"'{path}' holds a {header.get('format')}, but a {file_format.kind} was asked for. "
            f"Give the path of a {file_format.kind}."
        )
    if header["format_version"] > file_format.version:
        raise CheckpointError(
            f"'{path}' has format version {header['format_version']}, written by clebsch {header['clebsch_version']}; "
            f"clebsch {__version__} reads versions up to {file_format.version}. Install a newer clebsch to read it."
        )


@contextmanager
def explained(path: str | Path, file_format: FileFormat) -> Iterator[None]:
    """Turn whatever goes wrong where the content of a file is taken apart into a DamagedFileError that names it."""
    try:
        yield
    except (ClebschError, torch.OutOfMemoryError):
        raise
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise DamagedFileError(
            f"'{path}' does not hold what a clebsch {file_format.kind} holds ({type(error).__name__}: "
            f"{str(error)[:200]}): it is damaged, or another program has written it. Copy it again, or give another "
            f"{file_format.kind}."
        ) from None


def _read_metadata(path: Path, file_format: FileFormat) -> dict[str, str]:
    """The safetensors metadata of a file, after its checksum."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise _unreadable(path, file_format, error) from None
    if _HEADER_KEY not in metadata and _CHECKSUM_KEY not in metadata:
        raise CheckpointError(
            f"'{path}' is a safetensors file without the header of a clebsch {file_format.kind}. "
            f"Give a file that this library has written as a {file_format.kind}."
        )
    # A checksum under a damaged name must not pass for a file of before there were checksums.
    whole = set(metadata) == {_HEADER_KEY} or set(metadata) == {_HEADER_KEY, _CHECKSUM_KEY}
    digits = metadata.get(_CHECKSUM_KEY)
    if not whole or (digits is not None and digits != _checksum(path, digits)):
        raise DamagedFileError(
            f"'{path}' is damaged: its content is not that of its checksum. Copy it again from where it is whole, or "
            f"give another {file_format.kind}."
        )
    return metadata


def _checksum(path: Path, digits: str) -> str:
    """SHA-256 of the file with zeros in place of the ``digits`` of its checksum."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        size = file.read(8)
        start = size + file.read(int.from_bytes(size, "little"))
        digest.update(start.replace(_entry(digits), _entry(_NO_CHECKSUM), 1))
        while piece := file.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest()


def _entry(digits: str) -> bytes:
    """The checksum as it stands among the metadata; quotes of other entries are escaped there."""
    return f'"{_CHECKSUM_KEY}":"{digits}"'.encode()


def _unreadable(path: Path, file_format: FileFormat, error: Exception) -> DamagedFileError:
    return DamagedFileError(
        f"'{path}' cannot be read as a safetensors file ({error}): it is truncated, corrupt or of another kind. "
        f"Copy it again, or give another {file_format.kind}; pickled files (.pt, .pth, .model) are never read."
    )
