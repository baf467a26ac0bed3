"""A plugin of pytest that writes which functions of the library the tests have called, and how long the tests took.

Only calls are traced, not lines, so that the tests take about as long as without. See mutate.py, which uses it.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Any

SOURCE = f"{os.sep}src{os.sep}clebsch{os.sep}"
seen: set[tuple[str, int]] = set()


def _called(frame: FrameType, event: str, argument: Any) -> None:
    code = frame.f_code
    if SOURCE in code.co_filename:
        seen.add((code.co_filename, code.co_firstlineno))


def pytest_configure(config: Any) -> None:
    """Begin to look."""
    threading.settrace(_called)
    sys.settrace(_called)


def pytest_unconfigure(config: Any) -> None:
    """Write seconds of the processor, and file and line of every function, to the file that CALLS_FILE names."""
    sys.settrace(None)
    spent = os.times()
    seconds = spent.user + spent.system + spent.children_user + spent.children_system
    Path(os.environ["CALLS_FILE"]).write_text(json.dumps({"seconds": seconds, "calls": sorted(seen)}))
