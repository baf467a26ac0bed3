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


class ExplodedError(ClebschError):
    """A trajectory has left what can be computed.

    Args:
        message: what became of it, and the cure.
        reason: what went wrong, alone.
    """

    def __init__(self, message: str, reason: str = "") -> None:
        super().__init__(message)
        self.reason = reason or message


class ExtrapolationWarning(UserWarning):
    """Atoms are unlike what a potential was trained on."""


class BackendError(ClebschError):
    """A kernel backend was asked for that is not available, or computes wrong numbers."""


class OtherProcessError(ClebschError):
    """Another of the processes that train together has failed.

    Args:
        message: what became of it.
        kind: name of its error, such as ``"ConfigError"``; empty if it ended without one.
        shown: whether it, or what started it, tells the user of it.
    """

    def __init__(self, message: str, kind: str = "", shown: bool = True) -> None:
        super().__init__(message)
        self.kind, self.shown = kind, shown


def did_you_mean(name: str, options: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"`` for the option nearest to ``name``, or an empty string."""
    matches = difflib.get_close_matches(name, list(options), n=1, cutoff=0.6)
    return f" Did you mean '{matches[0]}'?" if matches else ""
