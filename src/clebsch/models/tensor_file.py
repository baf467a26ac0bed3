"""One safetensors file: named tensors and a JSON header, replaced atomically and read with explained errors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from safetensors.torch import save as tensors_to_bytes

from clebsch.errors import CheckpointError
from clebsch.files import write_file
from clebsch.version import __version__

_HEADER_KEY = "clebsch"


@dataclass(frozen=True)
class FileFormat:
    """What a file holds (``kind``, for people) and the newest layout this library can read."""

    kind: str
    version: int


def write_tensor_file(
    path: str | Path, tensors: Mapping[str, torch.Tensor], header: Mapping[str, Any], file_format: FileFormat
) -> None:
    """Write ``tensors`` and ``header`` to ``path``; at every moment ``path`` is the old file or the whole new one.

    Args:
        path: file to create or replace; missing folders are made.
        tensors: named tensors of any device, shape and dtype.
        header: JSON content (string keys; no NaN or infinity).
        file_format: kind and version, written into the header beside the version of the library.

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
    write_file(path, tensors_to_bytes(owned, metadata={_HEADER_KEY: text}))


def read_header(path: str | Path, file_format: FileFormat) -> dict[str, Any]:
    """Return the JSON header of the file at ``path`` without reading its tensors.

    Raises:
        CheckpointError: the file is missing, truncated, of another kind, or written by a newer library.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"There is no file '{path}'. Give the path of a saved {file_format.kind}.")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise _unreadable(path, file_format, error) from None
    try:
        header = json.loads(metadata[_HEADER_KEY])
    except (KeyError, json.JSONDecodeError):
        raise CheckpointError(
            f"'{path}' is a safetensors file without the header of a clebsch {file_format.kind}. "
            f"Give a file that this library has written as a {file_format.kind}."
        ) from None
    _check_format(path, header, file_format)
    return header


def read_tensor_file(path: str | Path, file_format: FileFormat) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Return the tensors (on the CPU) and the JSON header of the file at ``path``; errors as in ``read_header``."""
    header = read_header(path, file_format)
    try:
        return load_file(path, device="cpu"), header
    except (SafetensorError, OSError) as error:
        raise _unreadable(Path(path), file_format, error) from None


def with_prefix(prefix: str, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return ``tensors`` with ``prefix`` and a dot before every name."""
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def without_prefix(prefix: str, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the tensors whose names start with ``prefix`` and a dot, by the rest of their names."""
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


def _unreadable(path: Path, file_format: FileFormat, error: Exception) -> CheckpointError:
    return CheckpointError(
        f"'{path}' cannot be read as a safetensors file ({error}): it is truncated, corrupt or of another kind. "
        f"Copy it again, or give another {file_format.kind}; pickled files (.pt, .pth, .model) are never read."
    )
