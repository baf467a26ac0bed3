"""Features of atoms in their environments, for what is learned, clustered or compared beside energies."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import cast

import numpy as np
import torch
from ase import Atoms
from torch import Tensor

from clebsch.data import Configuration
from clebsch.deploy.predict import bare
from clebsch.errors import ConfigError
from clebsch.evaluation.features import layer_features
from clebsch.models import FrozenPotential, Potential
from clebsch.models.layer import Layer

ATOMS_PER_CALL = 512  # more do not fit the caches of a core


def descriptors(
    potential: Potential,
    frames: Iterable[Atoms | Configuration],
    *,
    layer: int | None = None,
    invariant: bool = True,
    atoms_per_call: int = ATOMS_PER_CALL,
) -> list[np.ndarray]:
    """Return the features of the atoms of every frame, [atoms, features], in the dtype of the network.

    Features are those that leave a layer. A row has, layer by layer, the components of the layer's irreps (as
    ``clebsch info`` names them), each with all its channels.

    Args:
        potential: the potential.
        frames: ASE ``Atoms`` or configurations; labels play no part.
        layer: which layer, 1 … T, or -1 for the last; None for all.
        invariant: only scalars (0e), which rotations and inversion leave as they are; else all components, which turn
            with the frame.
        atoms_per_call: frames are computed together up to this number of atoms.

    Raises:
        ConfigError: there is no such layer, or it has no scalars.
        DataError: a frame holds an element that the potential does not know, or two atoms at one place.
    """
    frozen = potential.frozen()
    components = _components(frozen, layer, invariant=invariant)
    configurations = [bare(frame, number) for number, frame in enumerate(frames)]
    found: list[np.ndarray] = []
    for part in _parts(configurations, atoms_per_call):
        batch = frozen.batch(part)
        features = layer_features(frozen, batch)
        rows = torch.cat([_rows(features[number], chosen) for number, chosen in components.items()], dim=1)
        found += [block.numpy() for block in rows.cpu().split(batch.num_atoms.tolist())]
    return found


def _components(potential: FrozenPotential, layer: int | None, *, invariant: bool) -> dict[int, Tensor]:
    """Indices of the components that are wanted of every layer that is wanted."""
    layers = [cast(Layer, module) for module in potential.model.layers]
    if layer is not None and not (1 <= abs(layer) <= len(layers)):
        raise ConfigError(f"layer: expected 1 to {len(layers)}, or -1 for the last, got {layer}.")
    wanted = range(len(layers)) if layer is None else [layer - 1 if layer > 0 else len(layers) + layer]
    found = {}
    for number in wanted:
        irreps = layers[number].irreps
        kept = [
            component
            for irrep, place in zip(irreps, irreps.slices(), strict=True)
            if not invariant or str(irrep) == "0e"
            for component in range(place.start, place.stop)
        ]
        if kept:
            found[number] = torch.tensor(kept, device=potential.device)
    if not found:
        raise ConfigError(f"layer {layer} has no scalars, only {layers[wanted[0]].irreps}. Take all components.")
    return found


def _rows(features: Tensor, components: Tensor) -> Tensor:
    """[components, atoms, channels] to [atoms, chosen components times channels]."""
    return features.index_select(0, components).transpose(0, 1).flatten(1)


def _parts(configurations: list[Configuration], atoms_per_call: int) -> Iterator[list[Configuration]]:
    """Configurations in their order, together up to a number of atoms."""
    part: list[Configuration] = []
    for configuration in configurations:
        if part and sum(item.num_atoms for item in part) + configuration.num_atoms > atoms_per_call:
            yield part
            part = []
        part.append(configuration)
    if part:
        yield part
