"""From LLVM assembly to a callable function, compiled for this processor or taken from the cache."""

from __future__ import annotations

import hashlib
import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import llvmlite
import llvmlite.binding as llvm
import torch
from torch import Tensor

from clebsch.ops.cpu.cache import find_object, keep_object
from clebsch.ops.cpu.threads import run_threads
from clebsch.version import __version__

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


@dataclass(frozen=True)
class Target:
    """What object code is made for.

    Attributes:
        cpu: name of the processor as LLVM has it; empty for this machine's, with all that it can do.
        library: whether the code goes into a shared library, not into the memory of this process.
    """

    cpu: str = ""
    library: bool = False

    @property
    def name(self) -> str:
        """Triple, processor and features: all that decides the code besides the program and the compiler."""
        cpu, features = self._processor()
        return f"{llvm.get_default_triple()} {cpu} {features}" + (" library" if self.library else "")

    @property
    def vector_bytes(self) -> int:
        """Bytes of the widest vector register."""
        if self.cpu:
            return {"x86-64-v4": 64, "x86-64-v3": 32}.get(self.cpu, 16)
        features = llvm.get_host_cpu_features()
        return 64 if features.get("avx512f") else 32 if features.get("avx2") else 16

    def channel_width(self, channels: int, dtype: torch.dtype) -> int:
        """Channels of a vector: the largest power of two that divides the channels and fits into a register."""
        return math.gcd(channels, self.vector_bytes // dtype.itemsize)

    def machine(self) -> Any:
        """The compiler's back end."""
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        target = llvm.Target.from_default_triple()
        cpu, features = self._processor()
        if self.library:
            return target.create_target_machine(cpu=cpu, features=features, opt=3, reloc="pic", codemodel="small")
        return target.create_target_machine(cpu=cpu, features=features, opt=3, jit=True, codemodel="jitdefault")

    def _processor(self) -> tuple[str, str]:
        if not self.cpu:
            return llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten()
        # By its name alone, x86-64-v4 would have every vector of 64 bytes cut in two.
        return self.cpu, "-prefer-256-bit" if self.cpu == "x86-64-v4" else ""


HERE = Target()


def load_kernel(kind: str, signature: bytes, num_arguments: int, emit: Callable[[str], str]) -> CompiledKernel:
    """Return a compiled kernel, from the disk if this or another process compiled it before.

    Args:
        kind: which kernel of the program it is.
        signature: see `object_code`.
        num_arguments: how many arguments it takes.
        emit: function name -> LLVM assembly; called only if nothing is found.
    """
    name, code = object_code(kind, signature, emit)
    return CompiledKernel(name, code, num_arguments)


def object_code(kind: str, signature: bytes, emit: Callable[[str], str], target: Target = HERE) -> tuple[str, bytes]:
    """Return the symbol and the object code of a kernel, from the disk if it was compiled before.

    Args:
        kind: which kernel of the program it is.
        signature: every number and every choice that the emitter reads of the program: sizes, layout, real type, width
            of vectors, paths, coefficients. Together with ``kind``, the source of this package, the processor and the
            compiler it decides the object code, and all of them are the key by which a kernel is found.
        emit: function name -> LLVM assembly; called only if nothing is found.
        target: what the code is for.
    """
    key = [kind.encode(), signature, *_toolchain(target)]
    digest = hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in key)).hexdigest()
    name = f"kernel_{digest[:32]}"
    code = find_object(name)
    if code is None:
        started = time.perf_counter()
        code = compile_assembly(emit(name), target)
        logger.info("compiled %s as %s in %.1f s", kind, name, time.perf_counter() - started)
        keep_object(name, code)
    return name, code


def compile_assembly(assembly: str, target: Target = HERE) -> bytes:
    """Optimise for a target and return the object code."""
    machine = _machine(target)
    module = llvm.parse_assembly(assembly)
    module.verify()
    options = llvm.create_pipeline_tuning_options(speed_level=1)
    options.loop_vectorization = options.slp_vectorization = options.loop_unrolling = False
    builder = llvm.create_pass_builder(machine, options)
    builder.getModulePassManager().run(module, builder)
    return machine.emit_object(module)


@lru_cache
def _machine(target: Target = HERE) -> Any:
    return target.machine()


@lru_cache
def _engine() -> Any:
    return llvm.create_mcjit_compiler(llvm.parse_assembly(""), _machine())


@lru_cache
def channel_width(channels: int, dtype: torch.dtype) -> int:
    """Channels of a vector of this machine."""
    return HERE.channel_width(channels, dtype)


@lru_cache
def _toolchain(target: Target = HERE) -> tuple[bytes, ...]:
    """What decides the object code besides the program: processor, compiler and the source that emits."""
    versions = f"{__version__} {llvmlite.__version__} {llvm.llvm_version_info}"  # without source files, the version
    sources = (path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py")))
    return target.name.encode(), versions.encode(), *sources
