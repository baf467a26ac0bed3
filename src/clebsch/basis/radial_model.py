"""Radial models: what turns the radial basis and the two elements into the weights of every path and channel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Float, Int64
from pydantic import model_validator
from torch import Tensor, nn
from torch.nn import functional

from clebsch.basis.element_mlp import ElementMLP
from clebsch.basis.mlp import MLP, normal
from clebsch.config import StrictConfig, Widths
from clebsch.errors import ConfigError


class RadialConfig(StrictConfig):
    r"""Choice of the radial weights R_{pk}(r; z_i, z_j) of one layer.

    Attributes:
        kind: "none" (R = 1, only under an edge booster), "linear" (:math:`\sum_n W_{z_i z_j, n} b_n(r)`, per element
            pair), "mlp" (one network of r for all elements), "mlp_pair" ("mlp" plus a network of the element pair) or
            "mlp_elements" (one network of r and both elements, with biases and layer norms).
        hidden: widths of the hidden layers of the networks.
        cutoff: what the cutoff is multiplied with: the radial basis, or the weights made of it. Those of
            "mlp_elements" have biases and are always cut off themselves.
    """

    kind: Literal["none", "linear", "mlp", "mlp_pair", "mlp_elements"] = "mlp"
    hidden: Widths = (64, 64, 64)
    cutoff: Literal["basis", "weights"] = "basis"

    @property
    def cuts_weights(self) -> bool:
        """Whether the weights are multiplied with the cutoff, and the basis is not."""
        return self.cutoff == "weights" or self.kind == "mlp_elements"

    @model_validator(mode="after")
    def _can_be_normalised(self) -> RadialConfig:
        if self.kind == "mlp_elements" and (not self.hidden or min(self.hidden) < 2):
            raise ValueError(
                f"mlp_elements needs hidden layers of at least two channels for its layer norms, got {self.hidden}"
            )
        return self


class PairMLP(nn.Module):
    """A network of the element pair: one-hot centre and neighbour in, evaluated once per pair, not per edge.

    Args:
        num_elements: elements Z; the input has width 2 Z.
        hidden: widths of the hidden layers.
        width: output width.
        dtype: of the weights.
        generator: source of the initial weights.
    """

    pairs: Tensor

    def __init__(
        self,
        num_elements: int,
        hidden: tuple[int, ...],
        width: int,
        dtype: torch.dtype,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.mlp = MLP((2 * num_elements, *hidden, width), dtype, generator)
        self.register_buffer("pairs", one_hot_pairs(num_elements, dtype), persistent=False)

    def forward(self, pairs: Int64[Tensor, " edges"]) -> Float[Tensor, "edges width"]:
        """``pairs`` is z_i * Z + z_j."""
        return self.of_all_pairs().index_select(0, pairs)

    def of_all_pairs(self) -> Float[Tensor, "pairs width"]:
        """The network at every element pair."""
        return self.mlp(self.pairs)


def one_hot_pairs(num_elements: int, dtype: torch.dtype) -> Float[Tensor, "pairs inputs"]:
    """One-hot (centre, neighbour) of all element pairs [Z * Z, 2 Z], the centre counting slowest."""
    eye = torch.eye(num_elements, dtype=dtype)
    centre = eye.repeat_interleave(num_elements, dim=0)
    return torch.cat([centre, eye.repeat(num_elements, 1)], dim=1)


class RadialModel(nn.Module):
    r"""The radial weights of one layer.

    * linear: :math:`R_{pk} = \sum_n W_{z_i z_j,n,pk} b_n(r) / \sqrt{N}` (N basis functions);
    * mlp: :math:`R = \mathrm{MLP}(b(r))`;
    * mlp_pair: :math:`R = \mathrm{MLP}(b(r)) + f_c(r)\, \mathrm{MLP}(z_i, z_j)`;
    * mlp_elements: :math:`R = f_c(r)\, \mathrm{MLP}(b(r), z_i, z_j)` (`ElementMLP`).

    b includes the cutoff f_c unless the weights are cut off: then :math:`R = f_c(r)\, \mathrm{MLP}(b(r))`.

    Args:
        config: the choice, not "none".
        num_basis: number of radial basis functions.
        num_elements: elements Z.
        num_paths: paths of the convolution.
        num_channels: channels K.
        dtype: of the weights.
        generator: source of the initial weights.

    Raises:
        ConfigError: the kind is "none".
    """

    def __init__(
        self,
        config: RadialConfig,
        *,
        num_basis: int,
        num_elements: int,
        num_paths: int,
        num_channels: int,
        dtype: torch.dtype,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if config.kind == "none":
            raise ConfigError(
                "radial.kind: expected linear, mlp, mlp_pair or mlp_elements, not 'none', without weights"
            )
        self.shape = (num_paths, num_channels)
        width = num_paths * num_channels
        self.config = config
        self.num_basis = num_basis
        if config.kind == "linear":
            self.weight = normal((num_elements**2, num_basis, width), dtype, generator)
        elif config.kind == "mlp_elements":
            self.element_mlp = ElementMLP(num_basis, num_elements, config.hidden, width, dtype, generator)
        else:
            self.mlp = MLP((num_basis, *config.hidden, width), dtype, generator)
        if config.kind == "mlp_pair":
            self.pair_mlp = PairMLP(num_elements, config.hidden, width, dtype, generator)

    def forward(
        self,
        basis: Float[Tensor, "edges num_basis"],
        pairs: Int64[Tensor, " edges"],
        envelope: Float[Tensor, " edges"] | None,
    ) -> Float[Tensor, "edges paths channels"]:
        """Weights of every edge.

        Args:
            basis: radial basis, times cutoff unless the weights are cut off.
            pairs: z_i * Z + z_j.
            envelope: cutoff that weights or the pair network are multiplied with; None where a booster vanishes there.
        """
        if self.config.kind == "linear":
            weights = self._linear(basis, pairs)
        elif self.config.kind == "mlp_elements":
            weights = self.element_mlp(basis, pairs)
        else:
            weights = self.mlp(basis)
        if self.config.kind == "mlp_pair":
            pair = self.pair_mlp(pairs)
            cut = None if self.config.cuts_weights else envelope  # both networks are cut off together, or this one
            weights = weights + (pair if cut is None else pair * cut[:, None])
        if self.config.cuts_weights and envelope is not None:
            weights = weights * envelope[:, None]
        return weights.unflatten(1, self.shape)

    @property
    def depends_on_pair(self) -> bool:
        """Whether R differs between element pairs."""
        return self.config.kind in ("linear", "mlp_pair", "mlp_elements")

    def on_nodes(
        self,
        basis: Float[Tensor, "*blocks nodes num_basis"],
        envelope: Float[Tensor, " nodes"] | None,
        interpolate: Callable[[Tensor], Tensor] = lambda values: values,
    ) -> Float[Tensor, "blocks rows width"]:
        """Weights at some distances, paths and channels flat: one block, or one per element pair where they differ.

        Args:
            basis: radial basis at the distances, times cutoff unless the weights are cut off; one block for all pairs,
                or as many as the result is to have.
            envelope: cutoff that weights or the pair network are multiplied with; None where a booster vanishes there.
            interpolate: a linear map of the distances, [nodes, ...] to [rows, ...], that is applied to the result. It
                commutes with the last, widest linear map of the weights and is applied before that, where it is cheap.
        """
        ones = basis.new_ones(basis.shape[-2]) if envelope is None else envelope
        if self.config.kind == "mlp_elements":
            return self.element_mlp.on_nodes(basis, ones, interpolate)
        cut = ones[:, None] if self.config.cuts_weights else None
        if self.config.kind == "linear":
            return interpolate(basis if cut is None else basis * cut) @ self.weight / self.num_basis**0.5
        hidden = self.mlp.hidden(basis)
        weights = self.mlp.output(interpolate(hidden if cut is None else hidden * cut))
        weights = weights[None] if weights.dim() == 2 else weights
        if self.config.kind == "mlp_pair":
            weights = weights + self.pair_mlp.of_all_pairs()[:, None] * interpolate(ones[:, None])
        return weights

    def _linear(self, basis: Tensor, pairs: Tensor) -> Tensor:
        """One matrix product: the basis is put into the block of its pair."""
        blocks = functional.one_hot(pairs, self.weight.shape[0]).to(basis.dtype)
        spread = (blocks[:, :, None] * basis[:, None, :]).flatten(1)
        return spread @ self.weight.flatten(0, 1) / self.num_basis**0.5
