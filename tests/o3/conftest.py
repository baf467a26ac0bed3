"""The independent code that the representations are compared with."""

from __future__ import annotations

import warnings
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def e3nn_o3() -> ModuleType:
    """e3nn.o3; tests that need it are skipped where it is not installed."""
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        patch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")  # older e3nn keeps its constants in a torch file
        return pytest.importorskip("e3nn.o3")
