"""The named members of the family: functions that return a configuration with the published hyper-parameters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from clebsch.basis import Bessel, BoosterConfig, Chebyshev, PolynomialCutoff, RadialConfig
from clebsch.errors import ConfigError
from clebsch.models.config import LayerConfig, MultiACEConfig
from clebsch.o3 import Irreps

SPLINE_INTERVALS = 128  # below the network's own error from here on, see docs/performance.md


def linear_ace(
    *,
    elements: Sequence[str],
    r_max: float = 5.0,
    num_channels: int = 64,
    l_max: int = 3,
    correlation: int = 3,
    num_radial: int = 8,
    spline_intervals: int | None = SPLINE_INTERVALS,
) -> MultiACEConfig:
    """Linear ACE (Drautz, Phys. Rev. B 99, 014104), its channels random mixtures of radial functions and elements.

    The energy is linear in the weights of the product basis; they are found by least squares. Mixing radial and
    element channels at random before the product is the tensor-reduced basis of Darby et al., arXiv 2210.01705.

    Args:
        elements: chemical symbols.
        r_max: cutoff in Å.
        num_channels: random mixtures K.
        l_max: highest degree.
        correlation: highest number of factors; the body order is one more.
        num_radial: radial functions.
        spline_intervals: of the splines that carry the radial weights; None for the exact networks.
    """
    layer = LayerConfig(
        hidden_irreps="0e",
        node_features=False,
        radial=RadialConfig(kind="linear"),
        path_mixing="sum",
        correlation=correlation,
        product_linear=False,
        readout="linear",
    )
    basis = Chebyshev(num=num_radial, cutoff=PolynomialCutoff(p=5))
    return MultiACEConfig(
        elements=tuple(elements),
        r_max=r_max,
        l_max=l_max,
        num_channels=num_channels,
        neighbor_normalization="sqrt",
        radial_basis=basis,
        spline_intervals=spline_intervals,
        layers=(layer,),
    )


def nequip(
    *,
    elements: Sequence[str],
    r_max: float = 5.0,
    num_channels: int = 64,
    l_max: int = 3,
    num_layers: int = 5,
    num_radial: int = 8,
    parity: bool = True,
    spline_intervals: int | None = SPLINE_INTERVALS,
) -> MultiACEConfig:
    """NequIP (Batzner et al., arXiv 2101.03164): gated equivariant convolutions, energy read off the last layer.

    The first layer has no self-connection, as in the present code, so that an isolated atom has exactly its E0.

    Args:
        elements: chemical symbols.
        r_max: cutoff in Å.
        num_channels: features per irrep.
        l_max: highest degree of features and harmonics.
        num_layers: convolutions.
        num_radial: Bessel functions.
        parity: whether features of both parities are kept.
        spline_intervals: of the splines that carry the radial weights; None for the exact networks.
    """
    hidden = _both_parities(l_max) if parity else str(Irreps.spherical_harmonics(l_max))
    first = LayerConfig(
        hidden_irreps=hidden, radial=RadialConfig(kind="mlp", hidden=(64, 64)), gate="silu", readout="none"
    )
    inner = first.model_copy(update={"residual": "element"})
    last = inner.model_copy(update={"hidden_irreps": "0e", "readout": "linear"})
    return MultiACEConfig(
        elements=tuple(elements),
        r_max=r_max,
        l_max=l_max,
        num_channels=num_channels,
        neighbor_normalization="sqrt",
        radial_basis=Bessel(num=num_radial, cutoff=PolynomialCutoff(p=6)),
        spline_intervals=spline_intervals,
        layers=_stack(first, inner, last, num_layers),
    )


def botnet(
    *,
    elements: Sequence[str],
    r_max: float = 4.0,
    num_channels: int = 80,
    l_max: int = 3,
    num_layers: int = 5,
    num_radial: int = 8,
    parity: bool = True,
    spline_intervals: int | None = SPLINE_INTERVALS,
) -> MultiACEConfig:
    """BOTNet (Batatia et al., arXiv 2205.06643): body-ordered, linear but for the last readout.

    Args:
        elements: chemical symbols.
        r_max: cutoff in Å.
        num_channels: features per irrep.
        l_max: highest degree of features and harmonics.
        num_layers: convolutions; layer t raises the body order by one.
        num_radial: Bessel functions.
        parity: whether features of both parities are kept.
        spline_intervals: of the splines that carry the radial weights; None for the exact networks.
    """
    hidden = _both_parities(l_max) if parity else str(Irreps.spherical_harmonics(l_max))
    first = LayerConfig(hidden_irreps=hidden, element_message=True)
    inner = LayerConfig(hidden_irreps=hidden, residual="element")
    last = LayerConfig(hidden_irreps="0e", residual="element", readout="mlp")  # the energy is read off scalars only
    return MultiACEConfig(
        elements=tuple(elements),
        r_max=r_max,
        l_max=l_max,
        num_channels=num_channels,
        radial_basis=Bessel(num=num_radial, cutoff=PolynomialCutoff(p=6)),
        spline_intervals=spline_intervals,
        layers=_stack(first, inner, last, num_layers),
    )


def mace(  # noqa: PLR0913 - every argument is a size of the config
    *,
    elements: Sequence[str],
    r_max: float = 5.0,
    num_channels: int = 256,
    l_max: int = 3,
    L_max: int = 2,
    num_layers: int = 2,
    correlation: int = 3,
    num_radial: int = 8,
    spline_intervals: int | None = SPLINE_INTERVALS,
) -> MultiACEConfig:
    """MACE (Batatia et al., arXiv 2206.07697): product basis of equal factors in every layer.

    Args:
        elements: chemical symbols.
        r_max: cutoff in Å.
        num_channels: channels K.
        l_max: highest degree of harmonics and atomic basis.
        L_max: highest degree of the messages.
        num_layers: layers; the last passes on scalars only.
        correlation: factors of the product basis.
        num_radial: Bessel functions.
        spline_intervals: of the splines that carry the radial weights; None for the exact networks.
    """
    first = LayerConfig(
        hidden_irreps=str(Irreps.spherical_harmonics(L_max)), element_message=True, correlation=correlation
    )
    inner = first.model_copy(update={"element_message": False, "residual": "element"})
    last = inner.model_copy(update={"hidden_irreps": "0e", "readout": "mlp"})
    return MultiACEConfig(
        elements=tuple(elements),
        r_max=r_max,
        l_max=l_max,
        num_channels=num_channels,
        radial_basis=Bessel(num=num_radial, cutoff=PolynomialCutoff(p=5)),
        spline_intervals=spline_intervals,
        layers=_stack(first, inner, last, num_layers),
    )


def pace(  # noqa: PLR0913 - every argument is a size of the config
    *,
    elements: Sequence[str],
    r_max: float = 5.0,
    num_channels: int = 256,
    l_max: int = 3,
    L_max: int = 2,
    num_layers: int = 2,
    correlation: int = 3,
    num_radial: int = 4,
    boost_level: int = 1,
    spline_intervals: int | None = SPLINE_INTERVALS,
) -> MultiACEConfig:
    """PACE (Xu et al., TMLR 2024, arXiv 2411.04219): boosted edges and a product basis of different factors.

    Args:
        elements: chemical symbols.
        r_max: cutoff in Å.
        num_channels: channels K, a multiple of boost_level + 1.
        l_max: highest degree of harmonics and atomic basis.
        L_max: highest degree of the messages.
        num_layers: layers; the first has no node features, the last passes on scalars only.
        correlation: factors of the product basis.
        num_radial: Bessel functions.
        boost_level: how often edge features are coupled with the harmonics again.
        spline_intervals: of the splines that carry the radial weights; None for the exact networks.
    """
    first = LayerConfig(
        hidden_irreps=str(Irreps.spherical_harmonics(L_max)),
        node_features=False,
        radial=RadialConfig(kind="none"),
        path_mixing="sum",
        correlation=correlation,
        distinct_factors=True,
        residual="element",
        readout="mlp",
    )
    radial = RadialConfig(kind="mlp_pair")
    inner = first.model_copy(update={"node_features": True, "linear_up": False, "radial": radial})
    last = inner.model_copy(update={"hidden_irreps": "0e"})
    return MultiACEConfig(
        elements=tuple(elements),
        r_max=r_max,
        l_max=l_max,
        num_channels=num_channels,
        radial_basis=Bessel(num=num_radial, cutoff=PolynomialCutoff(p=5)),
        booster=BoosterConfig(level=boost_level),
        spline_intervals=spline_intervals,
        layers=_stack(first, inner, last, num_layers),
    )


def clebsch(
    *,
    elements: Sequence[str],
    size: Literal["S", "M", "L"] = "M",
    r_max: float = 4.0,
    spline_intervals: int | None = SPLINE_INTERVALS,
) -> MultiACEConfig:
    r"""The model to start with: deep MACE with gates and smooth radial functions of every element pair.

    .. math:: R_{pk}(r; z_i, z_j) \propto \sum_{n=1}^{8} W_{z_i z_j, n, pk}\; \frac{b_n(r)}{n}

    in place of a network (`RadialModel` "linear", `Bessel` with decay 1), so that what is learned first is smooth.
    It is for a handful of elements, as the weights grow with the square of their number. Chosen on validation data of
    acetylacetone, see docs/studies.md; to be trained with the optimiser Muon. Every layer has products of two factors,
    every layer but the last a tanh gate, and the sum over neighbours is divided by half the root of their number, so
    that features start with a size of 0.5 to 1.5 in molecules, and of 0.15 to 1.5 in dense solids.

    Args:
        elements: chemical symbols.
        size: S, 3 layers of 48 channels, messages up to vectors; M, 4 layers of 64 channels, messages up to tensors of
            second degree; L, M with 128 channels.
        r_max: cutoff in Å.
        spline_intervals: of the splines that carry the radial weights; None for the exact functions.

    Raises:
        ConfigError: another size.
    """
    sizes = {"S": (3, 48, 1), "M": (4, 64, 2), "L": (4, 128, 2)}
    if size not in sizes:
        raise ConfigError(f"size: expected one of {', '.join(sizes)}, got '{size}'")
    layers, channels, degree = sizes[size]
    config = mace(
        elements=elements,
        r_max=r_max,
        num_channels=channels,
        L_max=degree,
        num_layers=layers,
        correlation=2,
        spline_intervals=spline_intervals,
    )
    radial = RadialConfig(kind="linear")
    *inner, last = (layer.model_copy(update={"radial": radial}) for layer in config.layers)
    changes = {
        "neighbor_normalization": "sqrt",
        "neighbor_gain": 2.0,
        "radial_basis": config.radial_basis.model_copy(update={"decay": 1.0}),
        "layers": (*(layer.model_copy(update={"gate": "tanh"}) for layer in inner), last),
    }
    return config.model_copy(update=changes)


def _stack(first: LayerConfig, inner: LayerConfig, last: LayerConfig, num_layers: int) -> tuple[LayerConfig, ...]:
    """``num_layers`` layers; a single one is the first layer with the last one's result."""
    if num_layers < 1:
        raise ConfigError(f"num_layers: expected an integer >= 1, got {num_layers}; one layer sees atoms within r_max")
    if num_layers == 1:
        return (first.model_copy(update={"hidden_irreps": last.hidden_irreps, "readout": last.readout}),)
    return (first,) + (inner,) * (num_layers - 2) + (last,)


def _both_parities(l_max: int) -> str:
    return "+".join(f"{degree}{parity}" for degree in range(l_max + 1) for parity in "eo")


PRESETS: dict[str, Callable[..., MultiACEConfig]] = {
    function.__name__: function for function in (clebsch, linear_ace, nequip, botnet, mace, pace)
}
