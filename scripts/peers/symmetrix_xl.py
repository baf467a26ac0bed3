"""symmetrix-xl (C++, either precision) through its ASE calculator: the MACE model of :mod:`peers.mace`."""

from __future__ import annotations

import tempfile
from importlib.metadata import version
from pathlib import Path
from subprocess import run
from typing import Any

import torch

from peers.mace import build


def calculator(arguments: Any, frames: list[Any]) -> Any:
    from symmetrix import Symmetrix

    torch.set_default_dtype(torch.float64)
    numbers = sorted({int(number) for frame in frames for number in frame.numbers})
    folder = Path(tempfile.mkdtemp())
    torch.save(build(arguments, len(numbers), numbers), folder / "a.model")
    command = ["symmetrix_extract_mace", "--model", str(folder / "a.model"), "--output", str(folder / "a.json")]
    run(command, check=True, capture_output=True)
    return Symmetrix(str(folder / "a.json"), dtype=arguments.dtype)


def versions() -> dict[str, str]:
    return {name: version(name) for name in ("symmetrix-xl", "mace-torch")}
