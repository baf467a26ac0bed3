"""The demonstration: reference data made on the spot, two potentials trained, judged and put to use."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clebsch.demo.story import run_demo

__all__ = ["run_demo"]


def __getattr__(name: str) -> Any:
    # The processes that sample import this package too, and need no PyTorch.
    if name != "run_demo":
        raise AttributeError(f"module 'clebsch.demo' has no attribute '{name}'")
    return importlib.import_module("clebsch.demo.story").run_demo
