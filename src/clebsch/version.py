"""The version of the library: read by the package, the command line and every saved file."""

__version__ = "0.1.0"
