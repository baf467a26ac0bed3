"""Errors of the library: each names the item, what was expected, what came, and the cure."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class ClebschError(ValueError):
    """Base class of every error a user can cause and cure."""


class ConfigError(ClebschError):
    """A configuration has an unknown key, a wrong type or a value out of range."""


class DataError(ClebschError):
    """A data file or configuration cannot be used as it is."""


class CheckpointError(ClebschError):
    """A checkpoint or saved potential does not fit what it is loaded into."""


class DamagedFileError(CheckpointError):
    """A checkpoint or saved potential is truncated, altered, or not what it says it is."""


class OutputError(ClebschError):
    """A file cannot be written."""


class FolderInUseError(ClebschError):
    """Another process works in the folder of a run."""


class BackendError(ClebschError):
    """A kernel backend was asked for that is not available, or computes wrong numbers."""


def did_you_mean(name: str, options: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"`` for the option nearest to ``name``, or an empty string."""
    matches = difflib.get_close_matches(name, list(options), n=1, cutoff=0.6)
    return f" Did you mean '{matches[0]}'?" if matches else ""
