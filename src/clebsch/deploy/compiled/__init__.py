"""Potentials compiled to shared libraries."""

from clebsch.deploy.compiled.compile import CompiledFile, compile_potential, compiled_copy
from clebsch.deploy.compiled.library import CompiledPotential, CompiledResult
from clebsch.deploy.compiled.link import write_header
from clebsch.deploy.compiled.verify import compute_configuration, verify_library

__all__ = [
    "CompiledFile",
    "CompiledPotential",
    "CompiledResult",
    "compile_potential",
    "compiled_copy",
    "compute_configuration",
    "verify_library",
    "write_header",
]
