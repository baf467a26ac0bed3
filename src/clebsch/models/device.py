"""The device and the dtype a potential runs in, checked before anything is moved there."""

from __future__ import annotations

import torch

from clebsch.errors import BackendError, ConfigError

DTYPES = {"float32": torch.float32, "float64": torch.float64}


def find_device(name: torch.device | str) -> torch.device:
    """Return the torch device of that name; raises BackendError where torch does not know it or cannot use it."""
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError):  # torch raises one or another, by kind of device
        raise BackendError(
            f"device: '{name}' is not available here. Use 'cpu', or 'cuda' where torch.cuda.is_available()."
        ) from None
    if device.type == "meta":
        raise BackendError("device: 'meta' holds shapes without numbers, so nothing can be computed there. Use 'cpu'.")
    return device


def find_dtype(dtype: torch.dtype | str) -> torch.dtype:
    """Return torch.float32 or torch.float64, also by name; raises ConfigError for another."""
    found = DTYPES.get(dtype) if isinstance(dtype, str) else dtype
    if found is None or found not in DTYPES.values():
        raise ConfigError(f"dtype: expected float32 or float64, got {dtype!r}")
    return found
