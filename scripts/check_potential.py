"""Errors of symmetry and derivatives of a trained potential, and its energy drift in molecular dynamics.

    python scripts/check_potential.py runs/acac_small/potential.safetensors test_MD_300K.xyz

The contract is checked in float64, the weights being those of the file. The dynamics start from the first configuration
of the file at 300 K, at constant energy, by velocity Verlet with a step of 0.5 fs, in both dtypes.
"""

from __future__ import annotations

import argparse

import torch

from clebsch.benchmark.dynamics import run_nve
from clebsch.data import read_configurations
from clebsch.models.serialization import load_potential
from clebsch.testing import run_contract


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("potential", help="saved potential")
    parser.add_argument("file", help="configurations; the first is where the dynamics start")
    parser.add_argument("--steps", type=int, default=2000, help="of the dynamics, 0.5 fs each")
    arguments = parser.parse_args()
    start = read_configurations(arguments.file, index=":1")[0].to_atoms()
    for result in run_contract(load_potential(arguments.potential, dtype=torch.float64)):
        print(result)
    for dtype in (torch.float32, torch.float64):
        trace = run_nve(load_potential(arguments.potential, dtype=dtype), start, steps=arguments.steps, seed=0)
        print(
            f"NVE {trace.times[-1]:.2f} ps in {dtype}: drift {trace.drift:+.4f} meV/atom/ps, spread {trace.spread:.4f}"
        )


if __name__ == "__main__":
    main()
