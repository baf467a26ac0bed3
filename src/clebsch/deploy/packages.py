"""Packages that are needed for one engine only."""

from __future__ import annotations

import importlib
from typing import Any

from clebsch.errors import ConfigError


def require(module: str, package: str) -> Any:
    """Return a module; raises ConfigError that says how to install its ``package`` if it is missing."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ConfigError(f"The package {package} is missing here ({error}): `pip install {package}`.") from None
