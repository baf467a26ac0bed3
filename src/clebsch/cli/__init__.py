"""Command line: parse, call, print. The commands import the library when they run, so that help is instant."""

from clebsch.cli import deployment  # noqa: F401 - its commands
from clebsch.cli.app import main

__all__ = ["main"]
