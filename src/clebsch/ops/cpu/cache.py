"""Files of compiled kernels: where they are kept, whom they are taken from, and how an altered one is noticed.

A kernel is machine code that this process will run. It is taken from a folder only if nobody but the user and root can
have put it there, and from a file only if it is whole: length and SHA-256 stand before the object code.
"""

from __future__ import annotations

import atexit
import hashlib
import logging
import os
import shutil
import stat
import struct
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

from clebsch.errors import BackendError

logger = logging.getLogger("clebsch")

MAGIC = b"clebsch kernel 1"
HEADER = struct.Struct("<16sQ32s")  # magic, length of the object code, SHA-256 of the kernel's name and the object code

ABANDONED = 24 * 3600
"""Seconds after which a temporary file belongs to no living process; writing one takes milliseconds."""

SAFE = "set CLEBSCH_CACHE to a folder of your own that nobody else can write to, by a path without symbolic links"


def find_object(name: str) -> bytes | None:
    """Return the object code of a kernel, or None, with a warning that says why it has to be compiled.

    Folders are searched in order, up to the first one that can be written to: a read-only cache of a container image
    or a site comes before the user's own.

    Raises:
        BackendError: as in :func:`kernel_folders`.
    """
    faults, kept_in = [], "memory"
    for folder in kernel_folders():
        code, fault = _read(folder / f"{name}.o")
        if code is not None:
            return code
        if fault is not None:
            faults.append(fault)
        if _writable(folder):
            kept_in = str(folder)
            break
    if faults:
        logger.warning("%s: not loaded, the kernel is compiled again", "; ".join(faults))
    else:
        _warn_once(f"compiling kernels for this processor: some seconds, once; they are kept in {kept_in}")
    return None


def keep_object(name: str, code: bytes) -> None:
    """Write the object code to the first folder that takes it; if none does, say so: the next process compiles again.

    Raises:
        BackendError: as in :func:`kernel_folders`.
    """
    faults = []
    for folder in filter(_writable, kernel_folders()):
        try:
            _write(folder / f"{name}.o", code)
            return
        except OSError as error:
            faults.append(str(error))
    reasons = "; ".join(faults) or "no folder can be written to"
    _warn_once(f"compiled kernels are not kept for later processes ({reasons}); {SAFE}")


def kernel_folders() -> Iterator[Path]:
    """Yield the folders that can be trusted, in the order in which they are searched; missing ones are made.

    They are ``kernels`` in $CLEBSCH_CACHE, ~/.cache/clebsch and a folder of the user below the temporary one, and at
    last a new private folder, removed with the process. A default that is unsafe is left out with a warning. If
    $CLEBSCH_CACHE is unsafe, that is an error: the folder was chosen, so either somebody else can plant code there or
    its permissions are a mistake, and among the lines of a batch job a warning goes unread while every process
    compiles anew. If it merely cannot be made, as on a read-only disk, a warning is enough.

    Raises:
        BackendError: $CLEBSCH_CACHE is a symbolic link or reached through one that root did not make, belongs to
            another user but root, or can be written to by group or others.
    """
    variable = os.environ.get("CLEBSCH_CACHE")
    named = Path(os.path.abspath(variable)) if variable else None
    for candidate in _candidates(named):
        try:
            folder = _prepare(candidate)
        except BackendError as error:
            if candidate == named:
                raise
            _warn_once(f"{error}; until then the next folder is used")
        except OSError as error:
            if candidate == named:
                _warn_once(f"no kernels can be kept in {candidate} ({error}); {SAFE}")
        else:
            yield folder
    with suppress(OSError):
        yield _private_folder()


def _candidates(named: Path | None) -> Iterator[Path]:
    if named is not None:
        yield named
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    if os.path.isabs(home):
        yield Path(home, "clebsch")
    with suppress(OSError):  # no temporary folder either
        yield Path(tempfile.gettempdir(), f"clebsch-{os.geteuid()}" if hasattr(os, "geteuid") else "clebsch")


@cache
def _private_folder() -> Path:
    folder = tempfile.mkdtemp(prefix="clebsch-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def _prepare(folder: Path) -> Path:
    """Return ``folder/kernels``, checked; what is missing is made, with mode 0700.

    Raises:
        BackendError: it is not safe.
        OSError: it is missing and cannot be made.
    """
    for above in reversed(folder.parents):
        if above.is_symlink() and above.lstat().st_uid != 0:
            raise _unsafe(f"{above} is a symbolic link")
    folder.parent.mkdir(parents=True, exist_ok=True)
    for part in (folder, folder / "kernels"):
        if not part.is_symlink():
            part.mkdir(mode=0o700, exist_ok=True)
        status = part.lstat()
        # Where others may add files but not move those of the user, as in /tmp, a folder in it is safe.
        fault = _fault(status, ignore_mode=part == folder and bool(status.st_mode & stat.S_ISVTX))
        if fault:
            raise _unsafe(f"{part} {fault}")
    return folder / "kernels"


def _unsafe(fault: str) -> BackendError:
    return BackendError(f"kernel cache: expected a folder that only this user and root control, but {fault}; {SAFE}")


def _fault(status: os.stat_result, *, ignore_mode: bool = False) -> str | None:
    """What lets somebody else decide what is in a folder or file, or None."""
    if stat.S_ISLNK(status.st_mode):
        return "is a symbolic link"
    if not hasattr(os, "geteuid"):  # a system without owners and modes
        return None
    if status.st_uid not in (0, os.geteuid()):
        return f"belongs to another user ({status.st_uid})"
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not ignore_mode:
        return f"can be written to by others (mode {stat.S_IMODE(status.st_mode):04o}; chmod go-w takes that away)"
    return None


def _writable(folder: Path) -> bool:
    return os.access(folder, os.W_OK | os.X_OK)


def _read(path: Path) -> tuple[bytes | None, str | None]:
    """The object code in a file, or what is wrong with it; neither if there is no file."""
    try:
        with open(path, "rb", opener=_open_no_link) as file:
            fault = _fault(os.fstat(file.fileno()))
            content = b"" if fault else file.read()
    except FileNotFoundError:
        return None, None
    except OSError as error:  # a symbolic link among them
        return None, str(error)
    if fault:
        return None, f"{path} {fault}"
    code = content[HEADER.size :]
    if content[: HEADER.size] != _header(path.stem, code):
        return None, f"{path} is damaged"
    return code, None


def _open_no_link(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0))


def _header(name: str, code: bytes) -> bytes:
    return HEADER.pack(MAGIC, len(code), hashlib.sha256(name.encode() + code).digest())


def _write(path: Path, code: bytes) -> None:
    """Put a file there in one step: other processes, and a machine that loses power, see all of it or nothing."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f"{path.stem}.", suffix=".tmp")
    try:
        with open(descriptor, "wb") as file:
            file.write(_header(path.stem, code) + code)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        Path(temporary).unlink(missing_ok=True)
    for other in path.parent.glob("*.tmp"):
        with suppress(OSError):  # another process was first
            if time.time() - other.stat().st_mtime > ABANDONED:
                other.unlink()


@cache
def _warn_once(message: str) -> None:
    """A warning, so that it is seen where logging is not set up."""
    logger.warning("%s", message)
