"""symmetrix (C++, float64): energy and forces of the MACE model of :mod:`peers.mace`."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from ase.neighborlist import neighbor_list

from peers.mace import build


def calls(arguments: Any, frames: list[Any], system: str) -> dict[str, Callable[[], Any]]:
    sys.path.insert(0, arguments.source)
    from symmetrix import MACE
    from symmetrix.extract_mace_data import extract_mace_data

    torch.set_default_dtype(torch.float64)
    numbers = sorted({int(number) for frame in frames for number in frame.numbers})
    with patch("torch.load", lambda model, **_: model):  # hand over the model itself, not a file with it
        content = extract_mace_data(build(arguments, len(numbers), numbers), species=numbers)
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        file.write(json.dumps(content))
        file.flush()
        model = MACE(file.name)
    atoms = frames[0]
    centers, neighbors, r, vectors = neighbor_list("ijdD", atoms, 5.0)
    species = [numbers.index(int(number)) for number in atoms.numbers]
    counts, of_neighbors = np.bincount(centers, minlength=len(atoms)), [species[j] for j in neighbors]
    inputs = (len(atoms), species, counts, neighbors, of_neighbors, vectors.flatten(), r)

    def energy_forces() -> tuple[float, np.ndarray]:
        model.compute_node_energies_forces(*inputs)
        by_edge = np.asarray(model.node_forces).reshape(-1, 3)[: len(centers)]
        forces = [
            np.bincount(neighbors, by_edge[:, k], len(atoms)) - np.bincount(centers, by_edge[:, k], len(atoms))
            for k in range(3)
        ]
        return float(np.sum(model.node_energies)), np.stack(forces, axis=1)

    return {"energy+forces": energy_forces}


def versions() -> dict[str, str]:
    return {"mace-torch": version("mace-torch")}
