"""From LLVM assembly to a callable function: compiled once, kept as an object file on disk, shared by processes."""

from __future__ import annotations

import hashlib
import logging
import math
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import llvmlite
import llvmlite.binding as llvm
import torch
from torch import Tensor

from clebsch.ops.cpu.threads import run_threads

logger = logging.getLogger("clebsch")

REAL = {torch.float32: "float", torch.float64: "double"}

Operand = Tensor | int | tuple[Tensor, int] | None


class CompiledKernel:
    """A compiled :class:`~clebsch.ops.cpu.emit.Kernel`, called with the arguments it was emitted with.

    Args:
        name: symbol of the function.
        code: object code that holds it.
        num_arguments: how many arguments it takes.
    """

    def __init__(self, name: str, code: bytes, num_arguments: int) -> None:
        engine = _engine()
        engine.add_object_file(llvm.ObjectFileRef.from_data(code))
        engine.finalize_object()
        self.num_arguments = num_arguments
        self.function = engine.get_function_address(name)

    def __call__(self, items: int, operands: Sequence[Operand], *, threads: int = 1) -> None:
        """Run over ``items``, in ``threads`` contiguous parts at once; the number of parts decides the rounding.

        Args:
            items: length of the outer loop.
            operands: the arguments in order: integers, contiguous tensors, None where the kernel does not look, or a
                pair of a tensor and a stride in numbers: part t works on what begins t strides on.
            threads: number of parts.
        """
        assert len(operands) == self.num_arguments
        data = [threads, items, 0, 0]
        for operand in operands:
            if isinstance(operand, Tensor):
                data += (operand.data_ptr(), 0)
            elif isinstance(operand, tuple):
                data += (operand[0].data_ptr(), operand[1] * operand[0].element_size())
            else:
                data += (operand or 0, 0)
        run_threads(self.function, data, threads)


def load_kernel(key: str, num_arguments: int, emit: Callable[[str], str]) -> CompiledKernel:
    """Return the function of ``key``, from the disk where this or another process compiled it before.

    Args:
        key: everything that decides what the function does, besides the source of this package.
        num_arguments: how many arguments it takes.
        emit: function name -> LLVM assembly; called only where nothing is found.
    """
    digest = hashlib.sha256("\n".join([key, _fingerprint()]).encode()).hexdigest()
    name = f"kernel_{digest[:24]}"
    path = cache_directory() / f"{name}.o"
    try:
        code = path.read_bytes()
    except OSError:
        _announce(path.parent)
        started = time.perf_counter()
        code = compile_assembly(emit(name))
        logger.info("compiled %s in %.1f s", key, time.perf_counter() - started)
        _write(path, code)
    return CompiledKernel(name, code, num_arguments)


@lru_cache
def _announce(folder: Path) -> None:
    """Say once why a first call takes long; a warning, so that it is seen where logging is not set up."""
    logger.warning("compiling kernels for this processor: some seconds, once; they are kept in %s", folder)


def compile_assembly(assembly: str) -> bytes:
    """Optimise for this machine's processor and return the object code."""
    machine = _machine()
    module = llvm.parse_assembly(assembly)
    module.verify()
    options = llvm.create_pipeline_tuning_options(speed_level=1)
    options.loop_vectorization = options.slp_vectorization = options.loop_unrolling = False
    builder = llvm.create_pass_builder(machine, options)
    builder.getModulePassManager().run(module, builder)
    return machine.emit_object(module)


@lru_cache
def cache_directory() -> Path:
    """$CLEBSCH_CACHE, else ~/.cache/clebsch, else (where that cannot be written) a temporary folder of the user."""
    candidates = [
        os.environ.get("CLEBSCH_CACHE"),
        os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "clebsch"),
        os.path.join(tempfile.gettempdir(), f"clebsch-{os.getuid() if hasattr(os, 'getuid') else 'cache'}"),
    ]
    for candidate in filter(None, candidates):
        path = Path(candidate) / "kernels"
        try:
            path.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=path):
                return path
        except OSError:
            continue
    return Path(tempfile.mkdtemp(prefix="clebsch-"))


def _write(path: Path, code: bytes) -> None:
    """Put the file there in one step, so that concurrent processes see all of it or nothing."""
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
            file.write(code)
        os.replace(file.name, path)
    except OSError as error:
        logger.warning("the compiled kernel could not be kept in %s: %s", path.parent, error)


@lru_cache
def _machine() -> Any:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    target = llvm.Target.from_default_triple()
    features = llvm.get_host_cpu_features().flatten()
    return target.create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=features, opt=3, jit=True, codemodel="jitdefault"
    )


@lru_cache
def _engine() -> Any:
    return llvm.create_mcjit_compiler(llvm.parse_assembly(""), _machine())


@lru_cache
def vector_bytes() -> int:
    """Bytes of this processor's widest vector register."""
    features = llvm.get_host_cpu_features()
    return 64 if features.get("avx512f") else 32 if features.get("avx2") else 16


def channel_width(channels: int, dtype: torch.dtype) -> int:
    """Channels of a vector: the largest power of two that divides the channels and fits into a register."""
    return math.gcd(channels, vector_bytes() // dtype.itemsize)


@lru_cache
def _fingerprint() -> str:
    """What decides the object code besides the key: processor, compiler and the source that emits."""
    source = b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py")))
    target = f"{llvm.get_host_cpu_name()} {llvm.get_host_cpu_features().flatten()}"
    return f"{target} {llvmlite.__version__} {hashlib.sha256(source).hexdigest()}"
