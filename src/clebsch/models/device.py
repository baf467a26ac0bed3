"""The device a potential runs on, checked before anything is moved there."""

from __future__ import annotations

import torch

from clebsch.errors import BackendError


def find_device(name: torch.device | str) -> torch.device:
    """Return the torch device of that name; raises BackendError where torch does not know it or cannot use it."""
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError):  # torch raises one or another, by kind of device
        raise BackendError(
            f"device: '{name}' is not available here. Use 'cpu', or 'cuda' where torch.cuda.is_available()."
        ) from None
    return device
