"""The worst configurations of a run in 3D, every atom coloured by its force error."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from clebsch.data import Configuration
from clebsch.errors import BackendError
from clebsch.evaluation import Comparison
from clebsch.evaluation.accuracy import MILLI

WORST = 12


def worst_frames(
    sets: Mapping[str, Sequence[Configuration]], comparisons: Mapping[str, Comparison], count: int = WORST
) -> list[tuple[str, Configuration, np.ndarray]]:
    """Return name of the set, configuration and force error of every atom (meV/Å) of the worst by RMS force error."""
    found = []
    for name, frames in sets.items():
        comparison = comparisons[name]
        if not comparison.labelled("forces"):
            continue
        errors = MILLI * np.linalg.norm(comparison.error("forces"), axis=1)
        parts = np.split(errors, np.cumsum(comparison.num_atoms)[:-1])
        found += [(name, frame, part) for frame, part in zip(frames, parts, strict=True) if not np.isnan(part).any()]
    return sorted(found, key=lambda item: -float(np.sqrt(np.mean(item[2] ** 2))))[:count]


def structure_dataset(title: str, worst: Sequence[tuple[str, Configuration, np.ndarray]]) -> dict[str, Any]:
    """Return the data set that chemiscope shows: structures, and force errors by structure and by atom.

    Raises:
        BackendError: chemiscope is not installed.
    """
    try:
        import chemiscope
    except ImportError:
        raise BackendError("A report with structures needs chemiscope: pip install 'clebsch[report]'.") from None
    rms = np.array([float(np.sqrt(np.mean(error**2))) for _, _, error in worst])
    properties = {
        "force error RMS": {"target": "structure", "values": rms, "units": "meV/Å"},
        "rank": {"target": "structure", "values": np.arange(1.0, len(worst) + 1)},
        "force error": {"target": "atom", "values": np.concatenate([error for *_, error in worst]), "units": "meV/Å"},
    }
    largest = float(max(error.max() for *_, error in worst))
    colour = {"property": "force error", "min": 0.0, "max": largest, "transform": "linear", "palette": "inferno"}
    atoms = [frame.to_atoms() for _, frame, _ in worst]
    return chemiscope.create_input(
        atoms,
        properties=properties,
        metadata={"name": html.escape(title)},  # which the viewer takes for HTML
        environments=chemiscope.all_atomic_environments(atoms),
        settings={
            "target": "atom",
            "structure": [{"color": colour, "spaceFilling": False, "environments": {"activated": False}}],
        },
    )
