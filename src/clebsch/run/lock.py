"""One folder, one run: a file that a run holds as long as it works in its folder."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from clebsch.errors import FolderInUseError
from clebsch.files import explained

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None

LOCK_NAME = "run.lock"


@contextmanager
def hold(directory: Path) -> Iterator[None]:
    """Hold ``directory``, made if missing, for this process; the file says host, process and time of its start.

    The system releases the file of a process of this machine that has been killed, so it is taken over. What became of
    one on another machine cannot be known here.

    Raises:
        FolderInUseError: another process holds the folder, or did on another machine.
        OutputError: the file cannot be written.
    """
    path = directory / LOCK_NAME
    with explained(path):
        directory.mkdir(parents=True, exist_ok=True)
        descriptor = _take(path)
    try:
        with explained(path):
            _write_holder(descriptor)
        yield
    finally:
        with suppress(OSError):
            os.ftruncate(descriptor, 0)
            path.unlink()  # before it is released, or the next holder's file would go
        os.close(descriptor)


def _take(path: Path) -> int:
    """Descriptor of the file, held, that no other process holds."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        holder = _read_holder(descriptor)
        if not _try_to_hold(descriptor, holder):
            os.close(descriptor)
            raise FolderInUseError(
                f"{_name(holder)} works in '{path.parent}'. Wait for its end, or give another output: two runs in one "
                "folder would overwrite each other."
            )
        if holder.get("host", socket.gethostname()) != socket.gethostname():
            os.close(descriptor)
            raise FolderInUseError(
                f"{_name(holder)} works in '{path.parent}', or was killed there; this machine, "
                f"{socket.gethostname()}, cannot know. If it has ended, remove the file '{path}'."
            )
        if path.exists() and os.path.samestat(os.fstat(descriptor), os.stat(path)):
            return descriptor
        os.close(descriptor)  # the former holder has removed the file in between


def _try_to_hold(descriptor: int, holder: dict[str, Any]) -> bool:
    if fcntl is None:
        return not holder
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system that has no such thing
        return not _is_alive(holder)
    return True


def _is_alive(holder: dict[str, Any]) -> bool:
    """Whether a process of that number runs on this machine."""
    try:
        os.kill(int(holder["pid"]), 0)
    except PermissionError:  # it is another user's
        return True
    except (KeyError, ProcessLookupError):
        return False
    return True


def _read_holder(descriptor: int) -> dict[str, Any]:
    """What the file says; nothing if it is new or half-written."""
    try:
        content = json.loads(os.read(descriptor, 4096))
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def _write_holder(descriptor: int) -> None:
    started = datetime.now(timezone.utc).isoformat(timespec="seconds")
    holder = {"host": socket.gethostname(), "pid": os.getpid(), "started": started}
    os.ftruncate(descriptor, 0)
    os.lseek(descriptor, 0, os.SEEK_SET)
    os.write(descriptor, json.dumps(holder).encode())


def _name(holder: dict[str, Any]) -> str:
    if not holder:
        return "Another process"
    started = holder.get("started", "an unknown time")
    return f"Process {holder.get('pid')} on {holder.get('host')}, started at {started},"
