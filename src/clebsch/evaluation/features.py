"""Features of the layers of a model, and their size, which an untrained one should keep near 1 from layer to layer."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from clebsch.data import Batch
from clebsch.models import Potential
from clebsch.models.layer import Layer


def layer_features(potential: Potential, batch: Batch) -> list[Float[Tensor, "components atoms channels"]]:
    """Return the features of every layer, without derivatives; the components are those of the layer's irreps.

    Args:
        potential: the potential, which is not changed.
        batch: configurations as graphs of its elements and r_max.
    """
    found: list[Tensor] = []
    layers = [module for module in potential.modules() if isinstance(module, Layer)]
    hooks = [layer.register_forward_hook(lambda *call: found.append(call[2].detach())) for layer in layers]
    try:
        potential(batch, forces=False)
    finally:
        for hook in hooks:
            hook.remove()
    return found


def feature_sizes(potential: Potential, batch: Batch) -> list[float]:
    r"""Return :math:`\langle h^2 \rangle^{1/2}` of the features of every layer, over atoms, components and channels.

    Args:
        potential: the potential, which is not changed.
        batch: configurations as graphs of its elements and r_max.
    """
    return [float(features.square().mean().sqrt()) for features in layer_features(potential, batch)]
