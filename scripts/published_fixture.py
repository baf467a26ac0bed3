"""Write what a published code gives for a pickled model into a small file, for the tests of exactness.

    python scripts/published_fixture.py PYTHON CHECKPOINT OUT.safetensors [--inputs total_charge=1,total_spin=2]

PYTHON has mace-torch. The frames are those of tests/exactness/fixtures/mace.safetensors. Couplings, which follow from
the version of e3nn, are left out, and weights are kept in float32 where they are no finer.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from clebsch.interop import read_published
from clebsch.interop.confinement import run_published

FIXTURES = Path(__file__).parents[1] / "tests" / "exactness" / "fixtures"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("python")
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--inputs", default="")
    arguments = parser.parse_args()
    pairs = [item.split("=") for item in arguments.inputs.split(",") if item]
    inputs = {name: int(value) for name, value in pairs}
    frames = [frame.configuration for frame in read_published(FIXTURES / "mace.safetensors").frames]
    model, _ = run_published("mace", arguments.checkpoint, arguments.python, frames=frames, inputs=inputs)
    tensors = {f"weights/{name}": smaller(value) for name, value in model.state.items() if "U_matrix" not in name}
    for index, frame in enumerate(model.frames):
        found = frame.configuration
        quantities = {"numbers": found.numbers, "positions": found.positions, "cell": found.cell}
        quantities |= {"pbc": found.pbc.astype(np.uint8), "node_layer_energy": frame.layer_energy}
        quantities |= {name: np.asarray(value) for name, value in found.labels.items()}
        tensors |= {f"frames/{index}/{name}": np.ascontiguousarray(value) for name, value in quantities.items()}
    settings = {**model.hyper, "inputs": inputs}
    save_file(tensors, arguments.output, metadata={"config": json.dumps(settings)})
    print(f"{arguments.output}: {arguments.output.stat().st_size / 1000:.0f} kB, {len(model.frames)} frames")


def smaller(value: np.ndarray) -> np.ndarray:
    """In float32 where nothing is lost."""
    rounded = value.astype(np.float32) if value.dtype == np.float64 else value
    return rounded if np.array_equal(rounded, value) else value


if __name__ == "__main__":
    main()
