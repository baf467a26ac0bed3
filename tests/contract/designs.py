"""The potentials the contract is checked on: the members of the family, and points of the design space between them."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import torch

from clebsch.models import MultiACEConfig, Potential, PotentialConfig, ZBLConfig
from clebsch.models.presets import botnet, linear_ace, mace, nequip, pace

ELEMENTS = ("H", "C", "O")
E0 = {"H": -13.6, "C": -1029.4, "O": -2042.1}
SMALL: dict[str, Any] = {"elements": ELEMENTS, "r_max": 3.5, "num_channels": 4, "l_max": 2}

MEMBERS = {
    "linear_ace": linear_ace(**SMALL),
    "nequip": nequip(num_layers=3, **SMALL),
    "botnet": botnet(num_layers=3, **SMALL),
    "mace": mace(L_max=1, **SMALL),
    "pace": pace(L_max=1, **SMALL),
}


def design(*layers: dict[str, Any], **settings: Any) -> MultiACEConfig:
    """A configuration with small networks; ``layers`` and ``settings`` as the fields are called."""
    full = []
    for layer in layers:
        radial = {"hidden": (8,), **layer.get("radial", {})}
        full.append({"hidden_irreps": "0e+1o", "readout_hidden": 4, **layer, "radial": radial})
    return MultiACEConfig.model_validate({**SMALL, "avg_num_neighbors": 4.0, **settings, "layers": tuple(full)})


BOOSTER = {"level": 1, "hidden": (8,)}
SILENT = {"readout": "none"}

DESIGNS = {
    "correlation_2_three_layers_element_pairs_silu": design(
        *[{"correlation": 2, "radial": {"kind": "linear"}, "residual": "element", "gate": "silu"}] * 3
    ),
    "boosted_paths_mixed_linearly": design(
        {"radial": {"kind": "none"}}, {"radial": {"kind": "mlp"}, "residual": "linear"}, booster=BOOSTER
    ),
    "boosted_level_0": design({"correlation": 2}, booster={"level": 0, "hidden": ()}),
    "boosted_level_3": design(
        {"radial": {"kind": "mlp_pair"}, "path_mixing": "sum"}, {}, booster={**BOOSTER, "level": 3}, num_channels=8
    ),
    "exp_bernstein_trained": design({}, {}, radial_basis={"kind": "exp_bernstein", "num": 5, "trainable": True}),
    "bessel_trained_smooth_cutoff": design(
        {}, radial_basis={"kind": "bessel", "num": 5, "trainable": True, "cutoff": {"kind": "smooth"}}
    ),
    "chebyshev_pairs_without_booster": design(
        {"radial": {"kind": "mlp_pair"}}, {}, radial_basis={"kind": "chebyshev", "num": 4, "cutoff": {"p": 2}}
    ),
    "gaussian_linear_radial_network": design(
        {"radial": {"hidden": ()}, "correlation": 2}, radial_basis={"kind": "gaussian", "num": 6, "cutoff": {"p": 8}}
    ),
    "both_parities_paths_summed": design(
        *[{"hidden_irreps": "0e+0o+1e+1o+2e", "path_mixing": "sum", "residual": "linear"}] * 3
    ),
    "both_parities_correlation_3": design(
        {"hidden_irreps": "0o+1e+0e+1o+2o"},
        {"hidden_irreps": "1o+0e+1e", "correlation": 3, "residual": "element"},
        {},
    ),
    "botnet_with_gates": design(
        *[{"hidden_irreps": "0e+0o+1o+1e", "element_message": True, "gate": "tanh", "residual": "element"}] * 2
    ),
    "absolute_value_gate": design(*[{"gate": "abs", "residual": "linear"}] * 2),
    "distinct_factors_without_linear": design(
        {"correlation": 3, "distinct_factors": True, "product_linear": False, "element_message": True},
        {"correlation": 2, "product_linear": False},
    ),
    "first_layer_read_out": design({"correlation": 2}, {**SILENT, "gate": "silu"}),
    "scalars_only_in_the_end": design({**SILENT, "hidden_irreps": "1o+2e"}, {**SILENT, "hidden_irreps": "1o"}, {}),
    "unordered_and_unreachable_irreps": design({"hidden_irreps": "2e+3o+0e+1o+0o"}, {"hidden_irreps": "1o+3o+0e"}),
    "second_layer_without_features": design({"residual": "linear"}, {"node_features": False, "residual": "linear"}),
    "transformed_distances_and_densities": design(
        {"correlation": 2, "density": {}},
        {"correlation": 2, "density": {"trainable": True}, "residual": "element"},
        distance_transform={"kind": "agnesi"},
        neighbor_normalization="none",
    ),
    "soft_distances_and_pairs": design(
        {"radial": {"kind": "linear"}},
        {"radial": {"kind": "mlp_pair", "cutoff": "weights"}, "density": {}},
        distance_transform={"kind": "soft"},
        spline_intervals=64,
    ),
    "nonlinear_interactions": design(
        *[
            {
                "correlation": 2,
                "radial": {"kind": "mlp_elements"},
                "edge_channels": 3,
                "basis_gate": True,
                "density": {"elements": True, "hidden": (4,), "trainable": True},
                "residual": "linear",
                "readout": "mlp",
                "readout_layers": 2,
                "readout_bias": True,
            }
        ]
        * 2
    ),
    "boosted_transformed_distances": design(
        {"radial": {"kind": "none"}},
        {"radial": {"kind": "mlp_pair"}, "path_mixing": "sum"},
        distance_transform={"kind": "agnesi", "radii": {"H": 0.5}},
        booster={"level": 1, "hidden": (8,)},
        spline_intervals=64,
    ),
    "no_angles": design({"hidden_irreps": "0e"}, {"hidden_irreps": "0e", "gate": "silu"}, l_max=0),
    "five_body_one_element": linear_ace(**{**SMALL, "elements": ("C",), "num_channels": 2}, correlation=4),
    "high_degree": design({"hidden_irreps": "0e+1o+3o", "correlation": 2}, {"hidden_irreps": "0e+4e"}, l_max=4),
    "four_elements_one_channel": design({}, {}, elements=("O", "H", "N", "C"), num_channels=1),
}


@lru_cache
def potential_of(
    name: str, zbl: bool = False, dtype: torch.dtype = torch.float64, backend: str = "reference"
) -> Potential:
    """The potential of a member or a design, with scales and shifts of its elements."""
    config = (MEMBERS | DESIGNS)[name]
    e0 = {"N": -1488.0, **E0}
    scale = {symbol: 0.7 + 0.2 * index for index, symbol in enumerate(config.elements)}
    shift = {symbol: 0.3 - 0.1 * index for index, symbol in enumerate(config.elements)}
    options = {"dtype": dtype, "backend": backend, "seed": 1}
    potential = PotentialConfig(model=config, terms=(ZBLConfig(),) if zbl else ())
    return Potential(potential, e0=e0, scale=scale, shift=shift, **options)


def random_design(seed: int) -> MultiACEConfig:
    """A random point of the design space, of gates that can be differentiated."""
    rng = np.random.default_rng(seed)
    l_max, boosted = int(rng.integers(1, 4)), bool(rng.random() < 0.4)
    kind = str(rng.choice(["bessel", "chebyshev", "gaussian", "exp_bernstein"]))
    layers = [_random_layer(rng, l_max, boosted) for _ in range(rng.integers(1, 4))]
    layers[-1] = {**layers[-1], "readout": "mlp"}
    basis: dict[str, Any] = {"kind": kind, "num": int(rng.integers(1, 7))}
    if kind in ("bessel", "exp_bernstein"):
        basis["trainable"] = bool(rng.random() < 0.5)
    basis["cutoff"] = {"kind": str(rng.choice(["polynomial", "smooth"]))}
    p = int(rng.choice([2, 3, 5, 6, 9]))
    if basis["cutoff"]["kind"] == "polynomial":
        basis["cutoff"]["p"] = p
    booster = {"level": int(rng.choice([0, 1])), "hidden": (8,)} if boosted else None
    average, gain = str(rng.choice(["average", "sqrt", "none"])), float(rng.uniform(0.5, 2))
    total = {"neighbor_normalization": average, "neighbor_gain": gain}
    return design(*layers, l_max=l_max, radial_basis=basis, booster=booster, **total)


def _random_layer(rng: np.random.Generator, l_max: int, boosted: bool) -> dict[str, Any]:
    def draw(*options: Any) -> Any:
        return options[rng.integers(len(options))]

    others = ["0o", "1o", "1e", "2e", "2o", "3o", "3e"][: 2 * l_max + 1]
    chosen = ["0e", *rng.choice(others, rng.integers(1, 4), replace=False)]
    gate = draw("none", "none", "silu", "tanh")
    return {
        "hidden_irreps": "+".join(rng.permutation(chosen)),
        "node_features": draw(True, True, True, False),
        "linear_up": draw(True, False),
        "radial": {"kind": draw(*["none"] * boosted, "linear", "mlp", "mlp_pair"), "hidden": draw((), (8,), (8, 8))},
        "path_mixing": draw("linear", "sum"),
        "element_message": draw(True, False),
        "correlation": draw(1, 1, 2, 3),
        "distinct_factors": draw(True, False),
        "product_linear": gate != "none" or draw(True, False),
        "residual": draw("none", "linear", "element"),
        "gate": gate,
        "readout": draw("none", "linear", "mlp"),
    }
