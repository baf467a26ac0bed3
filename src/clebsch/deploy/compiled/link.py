"""The C compiler that a shared library is made with: that of the machine, or the one in the package ziglang."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from clebsch.errors import ClebschError, ConfigError
from clebsch.files import write_file

RUNTIME = Path(__file__).parent / "runtime"
ANYWHERE = "api.c"  # compiled for any processor, so that it can say that the library is for another one

SOURCE_FLAGS = (
    "-std=gnu11",
    "-O3",
    "-fPIC",
    "-fvisibility=hidden",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-pthread",
)


def find_compiler(name: str | None = None) -> list[str]:
    """Return the command of a C compiler.

    Args:
        name: "cc" or another program, or "ziglang" for the package; None for the first that is there.

    Raises:
        ConfigError: there is none.
    """
    if name not in (None, "ziglang") and shutil.which(str(name)) is None:
        raise ConfigError(f"compiler: there is no program '{name}' here; name another, or ziglang for that package")
    if name not in (None, "ziglang"):
        return [str(name)]
    if name is None and shutil.which("cc") is not None:
        return ["cc"]
    if importlib.util.find_spec("ziglang") is not None:
        return [sys.executable, "-m", "ziglang", "cc"]
    raise ConfigError(
        "compile: there is no C compiler: neither a program 'cc' nor the package ziglang. "
        "`pip install ziglang` is enough; it needs no rights and nothing else."
    )


def write_header(folder: str | Path) -> Path:
    """Copy ``clebsch.h``, the interface of the libraries, to a folder and return its path."""
    return write_file(Path(folder) / "clebsch.h", (RUNTIME / "clebsch.h").read_bytes())


def build_library(
    output: Path,
    sources: Mapping[str, str | bytes],
    kernels: Mapping[str, bytes],
    flags: Sequence[str],
    level: str,
    compiler: str | None = None,
) -> str:
    """Compile and link a shared library; return the command that was used.

    Args:
        output: the library.
        sources: what is compiled besides the runtime, and the files that it includes, by name.
        kernels: object code by symbol.
        flags: of the compiler.
        level: name of the processor, empty for any.
        compiler: see `find_compiler`.

    Raises:
        ConfigError: there is no compiler.
        ClebschError: it has failed.
    """
    command = find_compiler(compiler)
    with TemporaryDirectory(prefix="clebsch-") as name:
        folder = Path(name)
        for file in RUNTIME.iterdir():
            if file.suffix in (".c", ".h"):
                shutil.copy(file, folder)
        for source, content in sources.items():
            (folder / source).write_bytes(content if isinstance(content, bytes) else content.encode())
        objects = []
        for symbol, code in kernels.items():
            objects.append(f"{symbol}.o")
            (folder / objects[-1]).write_bytes(code)
        for path in sorted(folder.glob("*.c")):
            own = [] if path.name == ANYWHERE or not level else [_processor_flag(command, level)]
            run([*command, *SOURCE_FLAGS, *own, *flags, "-c", path.name, "-o", f"{path.stem}.o"], folder)
            objects.append(f"{path.stem}.o")
        run([*command, "-shared", "-pthread", *objects, "-o", "library.so", "-lm"], folder)
        output.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(folder / "library.so", output)
    return " ".join(command)


def run(command: Sequence[str], folder: Path) -> None:
    """Run a compiler; raises ClebschError with what it says."""
    found = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if found.returncode:
        text = (found.stderr or found.stdout).strip()[-2000:]
        raise ClebschError(f"The compiler has failed: {' '.join(command)}\n{text}")


def _processor_flag(command: Sequence[str], level: str) -> str:
    return f"-mcpu={level.replace('-', '_')}" if "ziglang" in command else f"-march={level}"
