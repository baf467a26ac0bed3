"""A published code in a process of its own: no network, no file to change, and an answer that is no pickle."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.numpy import load

from clebsch.data import Configuration
from clebsch.errors import CheckpointError, ConfigError
from clebsch.interop.published import PublishedModel, published_from_tensors

FOREIGN = Path(__file__).with_name("foreign.py")

# Every file system read-only but an empty one in memory, for what libraries keep beside their code.
READ_ONLY = """
mount -t tmpfs tmpfs "$HOME" || exit 97
while read -r _ _ _ _ place _; do
    [ "$place" = "$HOME" ] || mount -o remount,bind,ro "$place" 2>/dev/null
done < /proc/self/mountinfo
exec "$@"
"""


@dataclass(frozen=True)
class Confinement:
    """What keeps a process from changing anything.

    Attributes:
        prefix: words in front of its command.
        description: what is so prevented, for the report.
    """

    prefix: tuple[str, ...]
    description: str


def find_confinement() -> Confinement:
    """The strictest that this system allows; limits of the process itself hold everywhere."""
    shell = ("unshare", "-rnm", "sh", "-c", READ_ONLY, "confined")
    choices = (
        Confinement(shell, "no network, read-only file systems"),
        Confinement(("unshare", "-rn"), "no network, no file above 64 KiB"),
    )
    if shutil.which("unshare"):
        for choice in choices:
            with tempfile.TemporaryDirectory() as home:
                command = [*choice.prefix, "true"]
                if subprocess.run(command, env=_environment(home), capture_output=True, check=False).returncode == 0:
                    return choice
    return Confinement((), "no file above 64 KiB; the system does not let its network be taken away")


def run_published(
    code: str,
    checkpoint: Path,
    python: str,
    *,
    frames: Sequence[Configuration],
    heads: Sequence[str] = (),
    inputs: Mapping[str, float] | None = None,
    settings: Mapping[str, Any] | None = None,
) -> tuple[PublishedModel, str]:
    """Have a published code read its own file and evaluate frames; return what it found and how it was confined.

    Args:
        code: "mace", whose frames are evaluated, "pace", "botnet" or "nequip", of which only weights are taken.
        checkpoint: pickled model, which is run like a program.
        python: interpreter that has the code.
        frames: to evaluate.
        heads: to evaluate them with; all without.
        inputs: of every structure, by name.
        settings: further settings of the model, and those that replace what is read off it.

    Raises:
        ConfigError: there is no such interpreter.
        CheckpointError: the process failed; the message has the end of what it said.
    """
    executable = shutil.which(python)
    if executable is None:
        raise ConfigError(f"--python: expected the path of a Python that has the code of {code}, got '{python}'.")
    if not checkpoint.is_file():
        raise CheckpointError(f"'{checkpoint}' is no file.")
    request = {
        "checkpoint": str(checkpoint.resolve()),
        "code": code,
        "frames": [_as_json(frame) for frame in frames],
        "heads": list(heads),
        "inputs": dict(inputs or {}),
        "settings": dict(settings or {}),
    }
    confinement = find_confinement()
    with tempfile.TemporaryDirectory() as home:
        done = subprocess.run(
            [*confinement.prefix, executable, "-I", "-W", "ignore", str(FOREIGN)],
            input=json.dumps(request).encode(),
            env=_environment(home),
            capture_output=True,
            check=False,
        )
    said = done.stderr.decode(errors="replace").strip().splitlines()
    if done.returncode:
        shown = "\n".join(said[-4:])
        raise CheckpointError(f"'{checkpoint}' could not be read by {executable} (exit {done.returncode}):\n{shown}")
    return _answer(done.stdout, checkpoint), confinement.description


def _answer(content: bytes, checkpoint: Path) -> PublishedModel:
    try:
        tensors = load(content)
        length = int.from_bytes(content[:8], "little")
        metadata = json.loads(content[8 : 8 + length]).get("__metadata__", {})
    except (SafetensorError, ValueError) as error:
        raise CheckpointError(f"'{checkpoint}': the answer of the published code is damaged ({error}).") from None
    return published_from_tensors(tensors, metadata, str(checkpoint))


def _environment(home: str) -> dict[str, str]:
    """No variable of the user but the search path; what is written, if anything, goes to ``home``."""
    places = dict.fromkeys(("HOME", "TMPDIR", "MPLCONFIGDIR", "XDG_CACHE_HOME"), home)
    threads = {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    # e3nn before 0.5 reads constants, a file of its own, with the unpickler that torch no longer defaults to
    return {"PATH": os.environ.get("PATH", os.defpath), "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1", **threads, **places}


def _as_json(frame: Configuration) -> dict[str, Any]:
    return {
        "numbers": frame.numbers.tolist(),
        "positions": frame.positions.tolist(),
        "cell": frame.cell.tolist(),
        "pbc": [bool(one) for one in frame.pbc],
    }
