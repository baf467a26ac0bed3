"""From a potential to one shared library that needs neither Python nor PyTorch."""

from __future__ import annotations

import atexit
import platform
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import Any

import llvmlite.binding as llvm
import torch
from safetensors.torch import save as save_tensors

from clebsch.deploy.compiled.library import CompiledPotential
from clebsch.deploy.compiled.link import build_library
from clebsch.deploy.compiled.program import Program
from clebsch.deploy.compiled.seal import sealed
from clebsch.deploy.compiled.source import CONSTANTS, write_source
from clebsch.deploy.compiled.translate import check_compilable, translate
from clebsch.deploy.compiled.verify import verify_library
from clebsch.errors import ConfigError, did_you_mean
from clebsch.files import write_file
from clebsch.models import FrozenPotential, Potential
from clebsch.models.reference_frames import ReferenceFrame, compute_frames, example_frames, frames_to_tensors
from clebsch.models.serialization import load_potential, read_frames, read_potential_header
from clebsch.models.tensor_file import with_prefix
from clebsch.ops.cpu.compile import Target
from clebsch.version import __version__

LEVELS = ("x86-64-v4", "x86-64-v3")  # the best first
_FEATURES = {
    "x86-64-v4": ("avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl", "avx2", "fma", "bmi2"),
    "x86-64-v3": ("avx2", "fma", "bmi2"),
}


@dataclass(frozen=True)
class CompiledFile:
    """What was written.

    Attributes:
        path: the library.
        processor: level that a processor needs, "native" for one without levels.
        compiler: command that compiled the runtime and linked.
        bytes: size.
        verified: whether it has reproduced its reference frames here.
    """

    path: Path
    processor: str
    compiler: str
    bytes: int
    verified: bool


def compile_potential(
    potential: Potential | str | Path,
    output: str | Path,
    *,
    cpu: str = "native",
    dtype: torch.dtype | str | None = None,
    splines: int | None = None,
    compiler: str | None = None,
) -> CompiledFile:
    """Compile a potential to a shared library with the interface of ``clebsch.h``.

    It holds weights, kernels, the whole program of energies and derivatives, and reference frames, which it has to
    reproduce here before it is written, if this processor can run it.

    Args:
        potential: a potential, or the path of a saved one.
        output: the library to write, such as ``potential.so``.
        cpu: level of the processors that will run it: "native", that of this one, "x86-64-v3" or "x86-64-v4".
        dtype: of the network; None for that of the potential.
        splines: intervals of the splines, for potentials whose radial weights are networks.
        compiler: C compiler, see `find_compiler`.

    Raises:
        ConfigError: a part of the potential cannot be compiled, there is no such level, or there is no compiler.
        CheckpointError: the file cannot be read, or the library does not reproduce its frames.
    """
    level = find_level(cpu)
    frames: Sequence[ReferenceFrame] | None = None
    training: dict[str, Any] = {}
    if not isinstance(potential, Potential):
        frames, training = read_frames(potential), read_potential_header(potential)["metadata"]
        potential = load_potential(potential)
    if isinstance(potential, FrozenPotential):
        raise ConfigError("compile: a frozen potential has no weights to name the library by; give the one it is of")
    fingerprint = potential.fingerprint()
    if splines is not None:
        potential = potential.with_splines(splines)
    check_compilable(potential)
    if frames is None or splines is not None:  # those of networks are not to be reproduced by splines
        configurations = [frame.configuration for frame in frames or ()] or example_frames(potential.elements)
        frames = compute_frames(potential.copy(dtype=torch.float64), configurations)
    frozen = potential.copy(dtype=dtype, device="cpu", backend="cpu").frozen()
    metadata = {
        "clebsch_version": __version__,
        "dtype": str(frozen.dtype).removeprefix("torch."),
        "sha256": fingerprint,
        "splines": splines,
        "e0": frozen.get_buffer("e0").tolist(),
        "training": training,
    }
    tensors = with_prefix("frames", frames_to_tensors(frames))
    if potential.domain is not None:
        tensors |= with_prefix("domain", potential.domain.as_tensors())
    program = translate(frozen, Target("" if level == "native" else level, library=True))
    source = write_source(program, frozen, level, metadata, save_tensors(tensors))
    return _build(program, source, Path(output), level, compiler)


def compiled_copy(potential: Potential, threads: int = 1) -> CompiledPotential:
    """Return a potential compiled for this process, in a folder that is removed with it; errors as above."""
    path = _folder() / f"{potential.fingerprint()[:16]}-{next(_NUMBERS)}.so"
    compile_potential(potential, path)
    return CompiledPotential(path, threads)


_NUMBERS = count()


@cache
def _folder() -> Path:
    folder = mkdtemp(prefix="clebsch-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def find_level(cpu: str) -> str:
    """Return the level of the processor: ``cpu``, or the best that this one has for "native".

    Raises:
        ConfigError: there is no such level.
    """
    if cpu in LEVELS:
        return cpu
    if cpu != "native":
        names = ("native", *LEVELS)
        raise ConfigError(f"cpu: expected one of {', '.join(names)}, got '{cpu}'.{did_you_mean(cpu, names)}")
    if platform.machine() not in ("x86_64", "AMD64"):
        return "native"
    return next((level for level in LEVELS if can_run(level)), "native")


def can_run(level: str) -> bool:
    """Return whether this processor can run code of a level."""
    features = llvm.get_host_cpu_features()
    return all(features.get(name) for name in _FEATURES.get(level, ()))


def _build(program: Program, source: str, output: Path, level: str, compiler: str | None) -> CompiledFile:
    """Compile, link, seal, compare with the frames, and only then put the library where it is wanted."""
    bytes_of_real = program.dtype.itemsize
    flags = [f"-DREAL={program.real}", f"-DREAL_BYTES={bytes_of_real}"]
    sources = {"program.c": source, CONSTANTS: bytes(program.constants)}
    verified = can_run(level)
    with TemporaryDirectory(prefix="clebsch-") as folder:
        made = Path(folder, "potential.so")
        command = build_library(made, sources, program.kernels, flags, level, compiler)
        content = sealed(made.read_bytes())
        made.write_bytes(content)
        if verified:
            verify_library(CompiledPotential(made), output)
    write_file(output, content)
    return CompiledFile(output, level, command, len(content), verified)
