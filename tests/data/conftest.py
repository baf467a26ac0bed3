"""Files made of small frames."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Write frames (text) to a file of a name and return its path."""

    def write_frames(*frames: str, name: str = "frames.xyz") -> Path:
        path = tmp_path / name
        path.write_text("".join(frames))
        return path

    return write_frames
