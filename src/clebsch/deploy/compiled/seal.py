"""The last bytes of a compiled library: its length and SHA-256, by which a cut or altered file is noticed.

Loading a library that is cut short ends a process without a word, so this is looked at first.
"""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path

from clebsch.errors import CheckpointError, DamagedFileError

MAGIC = b"clebsch library\0"
SEAL = struct.Struct("<32sQ16s")  # SHA-256 and length of what comes before, then the magic


def sealed(content: bytes) -> bytes:
    """Return a library with its seal."""
    return content + SEAL.pack(hashlib.sha256(content).digest(), len(content), MAGIC)


def check_seal(path: Path) -> bytes:
    """Return a library's bytes; CheckpointError if it has no seal, DamagedFileError if it is not what was sealed."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"'{path}' cannot be read ({error.strerror}).") from None
    if content[-len(MAGIC) :] != MAGIC or len(content) < SEAL.size:
        raise CheckpointError(
            f"'{path}' is no library made by `clebsch compile`, or its end is missing. Copy or compile it again."
        )
    if sealed(content[: -SEAL.size]) != content:
        raise DamagedFileError(f"'{path}' is damaged: it is not what was compiled. Copy or compile it again.")
    return content
