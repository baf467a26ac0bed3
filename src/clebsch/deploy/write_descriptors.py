"""Features of the atoms of files, as one file of arrays."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from clebsch.data.reading import read_frames
from clebsch.deploy.descriptors import descriptors
from clebsch.errors import ConfigError
from clebsch.files import write_file
from clebsch.models import Potential
from clebsch.progress import progress

if TYPE_CHECKING:
    from rich.console import Console

FRAMES_PER_PART = 256


def write_descriptors(
    potential: Potential,
    files: Sequence[str | Path],
    output: str | Path,
    *,
    layer: int | None = None,
    invariant: bool = True,
    console: Console | None = None,
) -> tuple[int, int]:
    """Write the features of all atoms of ``files`` to an ``.npz`` file, and return their shape.

    It holds ``features`` [atoms, features], ``numbers`` [atoms], ``file_index`` [atoms], an index into ``files``,
    ``frame`` [atoms], the number of the frame in its file, and ``potential_sha256``.

    Args:
        potential: the potential.
        files: files with atoms, in any format that is read.
        output: the file to write.
        layer: as for `descriptors`.
        invariant: as for `descriptors`.
        console: where progress is told.

    Raises:
        ConfigError: ``output`` does not end in .npz, or as for `descriptors`.
        DataError: a file cannot be read, or as for `descriptors`.
        OutputError: the file cannot be written.
    """
    output = Path(output)
    if output.suffix != ".npz":
        raise ConfigError(f"output: expected the name of an .npz file, got '{output}'.")
    frames = [(number, frame, atoms) for number, path in enumerate(files) for frame, atoms in read_frames(Path(path))]
    found: list[np.ndarray] = []
    parts = [frames[start : start + FRAMES_PER_PART] for start in range(0, len(frames), FRAMES_PER_PART)]
    frozen = potential.frozen()
    for part in progress(console, parts, f"features, {FRAMES_PER_PART} frames each", len(parts)):
        found += descriptors(frozen, [atoms for *_, atoms in part], layer=layer, invariant=invariant)
    counts = [len(atoms) for *_, atoms in frames]
    content = BytesIO()
    features = np.concatenate(found)
    np.savez(
        content,
        features=features,
        numbers=np.concatenate([atoms.numbers for *_, atoms in frames]),
        file_index=np.repeat([number for number, *_ in frames], counts),
        frame=np.repeat([frame for _, frame, _ in frames], counts),
        files=np.array([str(path) for path in files]),
        potential_sha256=np.array(potential.fingerprint()),
    )
    write_file(output, content.getvalue())
    return features.shape[0], features.shape[1]
