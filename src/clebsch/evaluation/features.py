"""The size of a model's features, which an untrained one should keep near 1 from layer to layer."""

from __future__ import annotations

from clebsch.data import Batch
from clebsch.models import Potential
from clebsch.models.layer import Layer


def feature_sizes(potential: Potential, batch: Batch) -> list[float]:
    r"""Return :math:`\langle h^2 \rangle^{1/2}` of the features of every layer, over atoms, components and channels.

    Args:
        potential: the potential, which is not changed.
        batch: configurations as graphs of its elements and r_max.
    """
    sizes: list[float] = []
    layers = [module for module in potential.modules() if isinstance(module, Layer)]
    hooks = [
        layer.register_forward_hook(lambda *call: sizes.append(float(call[2].square().mean().sqrt())))
        for layer in layers
    ]
    try:
        potential(batch, forces=False)
    finally:
        for hook in hooks:
            hook.remove()
    return sizes
