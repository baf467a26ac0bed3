"""Memory of the process: keep what a step frees for the next step."""

from __future__ import annotations

import ctypes
import sys

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4  # names and numbers of malloc.h
LARGEST = 2**31 - 1
TOP_PAD = 256 * 2**20  # bytes asked of the system at once


def keep_freed_memory() -> bool:
    """Tell glibc's allocator to keep freed memory instead of returning it to the system.

    Every training step allocates and frees the same large arrays; returning them costs page faults, which on the
    reference backend take a third of the time. A setting of the whole process, so programs call it and libraries
    do not. Returns whether it took effect; elsewhere than on Linux with glibc nothing happens.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    settings = ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, LARGEST), (M_TOP_PAD, TOP_PAD))
    taken = [mallopt(name, value) == 1 for name, value in settings]
    return all(taken)
