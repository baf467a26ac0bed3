"""Build models of the public architectures of MACE with random weights, with the Python that has mace-torch.

    TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD=1 python scripts/build_mace_models.py FOLDER [NAME ...] [--channels N]

Every model is written as the code's own file FOLDER/NAME.model. Sizes are the published ones unless made smaller;
weights are those of the code's initialisation, drawn with a seed, and those that start near zero or at a constant are
moved away from it, so that all of them matter.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from e3nn import o3
from mace import modules

PLAIN, RESIDUAL = "RealAgnosticInteractionBlock", "RealAgnosticResidualInteractionBlock"
DENSITY, DENSITY_RESIDUAL = "RealAgnosticDensityInteractionBlock", "RealAgnosticDensityResidualInteractionBlock"
NONLINEAR = "RealAgnosticResidualNonLinearInteractionBlock"
MATERIALS = [number for number in range(1, 95) if number not in (84, 85, 86, 87, 88)]
ORGANIC = [1, 6, 7, 8, 9, 15, 16, 17, 35, 53]
MP = {"numbers": MATERIALS, "r_max": 6.0, "num_bessel": 10, "blocks": (RESIDUAL, RESIDUAL), "channels": 128}
AGNESI = {"pair_repulsion": True, "distance_transform": "Agnesi"}
DENSE = {**MP, "blocks": (DENSITY, DENSITY_RESIDUAL), **AGNESI}
OFF = {"numbers": ORGANIC, "r_max": 5.0, "num_bessel": 8, "blocks": (PLAIN, RESIDUAL), "channels": 128}
MH_HEADS = ["matpes_r2scan", "mp_pbe_refit_add", "spice_wB97M", "oc20_usemppbe", "omol", "omat_pbe"]
NEW = {
    "blocks": (NONLINEAR, NONLINEAR),
    "apply_cutoff": False,
    "use_agnostic_product": True,
    "use_last_readout_only": True,
    "readout_cls": modules.NonLinearBiasReadoutBlock,
    "use_edge_irreps_first": True,
}
CHARGES = {
    "total_charge": {"type": "categorical", "num_classes": 201, "emb_dim": 1024, "per": "graph", "offset": 100},
    "total_spin": {"type": "categorical", "num_classes": 101, "emb_dim": 1024, "per": "graph", "offset": 0},
}

# What is published of every model; "L" is the highest degree of the hidden irreps.
MODELS: dict[str, dict[str, Any]] = {
    "mp-0-small": {**MP, "L": 0},
    "mp-0-medium": {**MP, "L": 1},
    "mp-0-large": {**MP, "L": 2},
    "mp-0b-medium": {**MP, **AGNESI, "blocks": (PLAIN, RESIDUAL), "L": 1},
    "mp-0b2-small": {**DENSE, "L": 0},
    "mp-0b2-large": {**DENSE, "L": 2},
    "mp-0b3-medium": {**DENSE, "L": 1},
    "mpa-0-medium": {**DENSE, "L": 1},
    "omat-0-small": {**DENSE, "L": 0},
    "omat-0-medium": {**DENSE, "L": 1},
    "matpes-pbe-0": {**DENSE, "L": 1},
    "off23-small": {**OFF, "channels": 96, "r_max": 4.5, "L": 0},
    "off23-medium": {**OFF, "L": 1},
    "off23-large": {**OFF, "channels": 192, "L": 2},
    "off24-medium": {**OFF, "r_max": 6.0, "L": 1},
    "ani-cc": {**OFF, "numbers": [1, 6, 7, 8], "channels": 192, "L": 2, "blocks": (RESIDUAL, RESIDUAL)},
    "mh-0": {**DENSE, "L": 1, "heads": MH_HEADS},
    "mh-1": {**MP, **AGNESI, **NEW, "channels": 512, "L": 1, "heads": MH_HEADS, "edge_channels": 128, "edge_L": 1},
    "omol-0": {
        **NEW,
        "numbers": list(range(1, 84)),
        "r_max": 6.0,
        "num_bessel": 8,
        "channels": 1024,
        "L": 2,
        "correlation": 2,
        "num_interactions": 3,
        "radial_MLP": [128, 128, 128],
        "edge_channels": 128,
        "edge_L": 2,
        "use_edge_irreps_first": False,
        "heads": ["omol"],
        "embedding_specs": CHARGES,
        "use_embedding_readout": True,
    },
    "gaussian-soft": {**OFF, "L": 1, "radial_type": "gaussian", "distance_transform": "Soft", "apply_cutoff": False},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*", default=list(MODELS))
    parser.add_argument("--channels", type=int, default=0, help="channels instead of the published number")
    parser.add_argument("--elements", type=int, nargs="*", default=[], help="atomic numbers instead of the published")
    parser.add_argument("--float32", action="store_true", help="in the precision that most files have")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    torch.set_default_dtype(torch.float32 if arguments.float32 else torch.float64)
    for name in arguments.names:
        model = build(MODELS[name], arguments.channels, arguments.elements)
        torch.save(model, arguments.folder / f"{name}.model")
        print(f"{name}: {sum(parameter.numel() for parameter in model.parameters()):,} parameters", flush=True)


def build(published: dict[str, Any], channels: int, elements: list[int]) -> torch.nn.Module:
    """A ScaleShiftMACE with these settings and random weights."""
    torch.manual_seed(7)
    rng = np.random.default_rng(7)
    settings = dict(published)
    numbers, width, degree = settings.pop("numbers"), settings.pop("channels"), settings.pop("L")
    numbers = [number for number in numbers if number in elements] if elements else numbers
    smaller = channels / width if channels else 1.0
    width, first, later = channels or width, *settings.pop("blocks")
    heads = settings.setdefault("heads", ["Default"])
    if "edge_channels" in settings:
        sent = max(2, int(settings.pop("edge_channels") * smaller))
        settings["edge_irreps"] = irreps(sent, settings.pop("edge_L"))
    if channels and "embedding_specs" in settings:
        specs = settings["embedding_specs"]
        settings["embedding_specs"] = {name: {**spec, "emb_dim": channels} for name, spec in specs.items()}
    defaults = {"num_interactions": 2, "correlation": 3, "radial_MLP": [64, 64, 64]}
    model = modules.ScaleShiftMACE(
        **{**defaults, **settings},
        num_polynomial_cutoff=5,
        max_ell=3,
        interaction_cls_first=modules.interaction_classes[first],
        interaction_cls=modules.interaction_classes[later],
        num_elements=len(numbers),
        atomic_numbers=numbers,
        hidden_irreps=irreps(width, degree),
        MLP_irreps=o3.Irreps("16x0e"),
        atomic_energies=rng.normal(-100, 50, (len(heads), len(numbers))),
        avg_num_neighbors=30.0,
        gate=torch.nn.functional.silu,
        use_reduced_cg=False,
        atomic_inter_scale=list(rng.uniform(0.6, 1.4, len(heads))),
        atomic_inter_shift=list(rng.normal(0, 0.3, len(heads))),
    )
    with torch.no_grad():
        for name, parameter in model.named_parameters():  # what starts near zero or constant would not be seen
            if name.endswith(("bias", "_embedding.weight")) and "node_embedding" not in name:
                parameter.add_(0.3 * torch.randn_like(parameter))
            elif name.endswith(("alpha", "beta")) and "transform" not in name:
                parameter.copy_(torch.tensor(3.0 if name.endswith("alpha") else 0.7))
    return model


def irreps(channels: int, degree: int) -> o3.Irreps:
    """Natural parities up to ``degree``, of equal multiplicity."""
    return (channels * o3.Irreps.spherical_harmonics(degree)).sort()[0].simplify()


if __name__ == "__main__":
    main()
