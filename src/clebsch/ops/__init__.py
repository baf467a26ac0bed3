"""The only door to kernels: descriptors say what is computed, a backend says how."""

from __future__ import annotations

from clebsch.errors import BackendError, did_you_mean
from clebsch.ops.descriptors import (
    ConvolutionDescriptor,
    ConvolutionPath,
    PathMixing,
    ProductBasisDescriptor,
    ProductBlock,
)
from clebsch.ops.interface import Backend
from clebsch.ops.reference import REFERENCE

__all__ = [
    "Backend",
    "ConvolutionDescriptor",
    "ConvolutionPath",
    "PathMixing",
    "ProductBasisDescriptor",
    "ProductBlock",
    "available_backends",
    "get_backend",
]

_BACKENDS: dict[str, Backend] = {REFERENCE.name: REFERENCE}


def available_backends() -> tuple[str, ...]:
    """Return the names of the backends that can be used here, in alphabetical order."""
    return tuple(sorted(_BACKENDS))


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
