"""The one configuration of every Multi-ACE model."""

from __future__ import annotations

import math
from typing import Literal

from ase.data import atomic_numbers
from pydantic import Field, field_validator, model_validator

from clebsch.basis import Bessel, BoosterConfig, DistanceTransformConfig, RadialBasisConfig, RadialConfig
from clebsch.config import StrictConfig, Width, Widths
from clebsch.errors import did_you_mean
from clebsch.o3 import Irreps

LARGEST_L = 12  # degree of harmonics and features
MOST_PRODUCTS = 100_000  # whose couplings take some seconds to find


class DensityConfig(StrictConfig):
    """Choice of the density normalisation of one layer (`Density`).

    Attributes:
        elements: whether the density depends on both elements; else it is one function of the radial basis.
        hidden: widths of the hidden layers of the network of the elements.
        trainable: whether α and β are trained; else both are 1.
    """

    elements: bool = False
    hidden: Widths = (64,)
    trainable: bool = False

    @model_validator(mode="after")
    def _can_be_normalised(self) -> DensityConfig:
        if self.elements and (not self.hidden or min(self.hidden) < 2):
            raise ValueError(f"hidden {self.hidden}: the layer norms need hidden layers of at least two channels")
        return self


class LayerConfig(StrictConfig):
    """One layer: one-particle basis, atomic basis, product basis, update, readout.

    Attributes:
        hidden_irreps: irreps of the features the layer returns, for example "0e+1o+2e".
        node_features: whether the one-particle basis contains the features of the neighbour (else only the elements).
        linear_up: whether those features are mixed linearly first.
        edge_channels: channels that they have then and along the edges; null for num_channels.
        radial: the radial weights.
        density: what the atomic basis is divided by besides the scale of the model; null for nothing.
        path_mixing: "linear" keeps the paths of one l apart and mixes them linearly, "sum" adds them.
        element_message: whether the atomic basis passes a linear map of the central element.
        basis_gate: whether it passes a gate and a linear map before the product (`BasisGate`).
        correlation: highest number of factors of the product basis; 1 leaves the atomic basis as it is.
        distinct_factors: whether the factors are different linear maps of the atomic basis (PACE) or all the same;
            this and the next play a part only where there is a product, at correlation 2 and above.
        product_linear: whether the product basis is mixed linearly.
        residual: what is added: nothing, a linear map of the features, or one per element.
        gate: non-linearity of the result; scalars are activated, other irreps multiplied with activated scalars ("abs"
            has a kink, where forces jump).
        readout: how the energy is read off the scalars.
        readout_hidden: width of the hidden layers of the "mlp" readout.
        readout_layers: their number.
        readout_bias: whether maps behind a hidden layer have biases.
    """

    hidden_irreps: str
    node_features: bool = True
    linear_up: bool = True
    edge_channels: Width | None = None
    radial: RadialConfig = RadialConfig()
    density: DensityConfig | None = None
    path_mixing: Literal["linear", "sum"] = "linear"
    element_message: bool = False
    basis_gate: bool = False
    correlation: int = Field(default=1, ge=1, le=8)
    distinct_factors: bool = False
    product_linear: bool = True
    residual: Literal["none", "linear", "element"] = "none"
    gate: Literal["none", "silu", "tanh", "abs"] = "none"
    readout: Literal["none", "linear", "mlp"] = "linear"
    readout_hidden: Width = 16
    readout_layers: int = Field(default=1, ge=1, le=8)
    readout_bias: bool = False

    def num_products(self, l_max: int) -> int:
        """Products of ``correlation`` components of the atomic basis, on which the couplings are defined."""
        components = (l_max + 1) ** 2
        if self.distinct_factors:
            return components**self.correlation
        return math.comb(components + self.correlation - 1, self.correlation)

    @field_validator("hidden_irreps")
    @classmethod
    def _irreps(cls, value: str) -> str:
        irreps = Irreps(value)
        if irreps.l_max > LARGEST_L:
            raise ValueError(f"'{value[:40]}' has the degree {irreps.l_max}; the limit is {LARGEST_L}")
        if not irreps:
            raise ValueError("no irreps; write for example 0e+1o+2e, or 0e for scalars alone")
        if len(set(irreps)) < len(irreps):
            raise ValueError(f"'{value}' names an irrep twice; list it once, its multiplicity is num_channels")
        return str(irreps)

    @model_validator(mode="after")
    def _can_be_read_out(self) -> LayerConfig:
        if self.readout != "none" and "0e" not in self.hidden_irreps.split("+"):
            raise ValueError(
                f"readout '{self.readout}' needs the scalars 0e, but hidden_irreps are '{self.hidden_irreps}'; "
                "add 0e or set readout to none"
            )
        if self.gate != "none" and self.correlation > 1 and not self.product_linear:
            raise ValueError(f"gate '{self.gate}' needs product_linear to make its gate scalars; set it to true")
        return self

    @model_validator(mode="after")
    def _features_reach_the_basis(self) -> LayerConfig:
        mixed_up = self.node_features and self.linear_up and self.path_mixing == "linear"
        if self.edge_channels is not None and not mixed_up:
            raise ValueError(
                "edge_channels are made by linear_up of node_features and mixed by path_mixing linear; set all three"
            )
        if self.basis_gate and not (self.node_features and self.path_mixing == "linear" and self.correlation > 1):
            raise ValueError(
                "basis_gate stands between path_mixing linear and a product of correlation 2 or more, and adds "
                "node_features; set all three"
            )
        return self


class MultiACEConfig(StrictConfig):
    """A point of the Multi-ACE design space (arXiv 2205.06643).

    Attributes:
        elements: chemical symbols, in the order of the element index.
        r_max: cutoff radius in Å.
        l_max: highest degree of the spherical harmonics.
        num_channels: channels K of every irrep.
        avg_num_neighbors: average number of neighbours, the scale of the sum over neighbours.
        neighbor_normalization: the sum is divided by that number ("average"), by its root ("sqrt") or not ("none").
        neighbor_gain: what the sum is multiplied with besides; together they set the size of the features of an
            untrained model, which layer upon layer of products makes vanish or explode.
        radial_basis: the functions of the distance.
        distance_transform: what the radial basis is a function of in place of the distance, by the sizes of both atoms;
            null for the distance itself. The cutoff is always one of the distance.
        booster: the edge booster of PACE, shared by all layers; None for none.
        spline_intervals: intervals of the cubic splines, from 0 to r_max, that carry the radial weights (per element
            pair where they depend on it, per sum of radii where distances are transformed); null evaluates the networks
            at every edge.
        layers: one entry per layer.
        further_readouts: names of scalars that every layer with a readout gives besides the energy, in the same way,
            such as the charges of atoms or the energy of a second method; terms of the potential make use of them.
    """

    elements: tuple[str, ...] = Field(min_length=1)
    r_max: float = Field(default=5.0, gt=0, le=100.0, allow_inf_nan=False)
    l_max: int = Field(default=3, ge=0, le=LARGEST_L)
    num_channels: Width = 64
    avg_num_neighbors: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    neighbor_normalization: Literal["average", "sqrt", "none"] = "average"
    neighbor_gain: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    radial_basis: RadialBasisConfig = Bessel()
    distance_transform: DistanceTransformConfig | None = None
    booster: BoosterConfig | None = None
    spline_intervals: int | None = Field(default=None, ge=8, le=16_384)
    layers: tuple[LayerConfig, ...] = Field(min_length=1, max_length=64)
    further_readouts: tuple[str, ...] = Field(default=(), max_length=64)

    @field_validator("further_readouts")
    @classmethod
    def _readouts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for index, name in enumerate(value):
            if not name.isidentifier() or name == "energy" or name in value[:index]:
                raise ValueError(f"'{name}' names no further readout; give words other than energy, each once")
        return value

    @field_validator("elements")
    @classmethod
    def _elements(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for index, symbol in enumerate(value):
            if atomic_numbers.get(symbol, 0) < 1:
                raise ValueError(f"'{symbol}' is not a chemical symbol.{did_you_mean(symbol, atomic_numbers)}")
            if symbol in value[:index]:
                raise ValueError(f"'{symbol}' is listed twice; list every element once")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> MultiACEConfig:
        streams = self.booster.level + 1 if self.booster else 1
        if self.num_channels % streams:
            raise ValueError(
                f"num_channels {self.num_channels} is not a multiple of booster.level + 1 = {streams}, the streams "
                f"that share the channels; take {math.ceil(self.num_channels / streams) * streams}"
            )
        if self.booster and self.num_channels == streams:
            raise ValueError(
                f"num_channels {self.num_channels} leave one channel to each of the booster's {streams} streams, and "
                f"its layer norm of one channel is zero; take at least {2 * streams}"
            )
        for index, layer in enumerate(self.layers):
            if layer.radial.kind == "none" and self.booster is None:
                raise ValueError(f"layers.{index}.radial.kind 'none' needs a booster; choose linear, mlp or mlp_pair")
            if layer.edge_channels is not None and self.booster is not None:
                raise ValueError(f"layers.{index}.edge_channels: a booster has num_channels; leave one of both out")
            if layer.num_products(self.l_max) > MOST_PRODUCTS:
                raise ValueError(
                    f"layers.{index}.correlation {layer.correlation} with l_max {self.l_max} are "
                    f"{layer.num_products(self.l_max):,} products of components; the limit is {MOST_PRODUCTS:,}"
                )
        if all(layer.readout == "none" for layer in self.layers):
            raise ValueError("every layer has readout 'none', so there is no energy; give the last one linear or mlp")
        return self
