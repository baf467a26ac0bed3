"""The only door to kernels: descriptors say what is computed, a backend says how."""

from __future__ import annotations

import os

import torch

from clebsch.errors import BackendError, did_you_mean
from clebsch.ops.cpu import CPU
from clebsch.ops.descriptors import (
    ConvolutionDescriptor,
    ConvolutionPath,
    LinearDescriptor,
    PathMixing,
    ProductBasisDescriptor,
    ProductBlock,
)
from clebsch.ops.edges import Edges, ElementGroups
from clebsch.ops.interface import Backend
from clebsch.ops.radial_table import RadialTable
from clebsch.ops.reference import REFERENCE

__all__ = [
    "Backend",
    "ConvolutionDescriptor",
    "ConvolutionPath",
    "Edges",
    "ElementGroups",
    "LinearDescriptor",
    "PathMixing",
    "ProductBasisDescriptor",
    "ProductBlock",
    "RadialTable",
    "available_backends",
    "default_backend",
    "get_backend",
]

_BACKENDS: dict[str, Backend] = {backend.name: backend for backend in (REFERENCE, CPU)}


def available_backends() -> tuple[str, ...]:
    """Return the names of the backends that can be used here, in alphabetical order."""
    return tuple(sorted(_BACKENDS))


def default_backend(device: torch.device | str = "cpu") -> str:
    """Return the name of the fastest backend for a device, or what the environment variable CLEBSCH_BACKEND names."""
    fastest = CPU if torch.device(device).type == "cpu" else REFERENCE
    return os.environ.get("CLEBSCH_BACKEND") or fastest.name


def get_backend(name: str) -> Backend:
    """Return the backend called ``name``; there is no fallback to another one.

    Raises:
        BackendError: it is not available here.
    """
    if name not in _BACKENDS:
        hint = did_you_mean(name, _BACKENDS)
        raise BackendError(
            f"Backend '{name}' is not available here.{hint} Choose one of: {', '.join(available_backends())}."
        )
    return _BACKENDS[name]
