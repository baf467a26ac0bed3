"""How far imported models of MACE's public architectures are from mace-torch: the table of docs/interop.md.

    python scripts/import_parity.py PYTHON [NAME ...] [--channels N] [--elements Z ...] [--folder FOLDER]

PYTHON has mace-torch. Models of `scripts/build_mace_models.py` are built there with random weights, one after another,
imported with ``--trust``, and removed. Numbers are the largest relative differences of all frames and heads.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from clebsch.interop import ImportOptions, ImportReport, import_published
from clebsch.models.serialization import read_potential_config

BUILDER = Path(__file__).with_name("build_mace_models.py")
INPUTS = {"omol-0": {"total_charge": 1, "total_spin": 2}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("python")
    parser.add_argument("names", nargs="*")
    parser.add_argument("--channels", default="0")
    parser.add_argument("--elements", nargs="*", default=[])
    parser.add_argument("--float32", action="store_true")
    arguments = parser.parse_args()
    options = ["--channels", arguments.channels, "--elements", *arguments.elements]
    options += ["--float32"] if arguments.float32 else []
    print("| model | elements | channels | heads | frames | energy | forces | stress | layers | seconds |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for name in arguments.names or names_of(arguments.python):
        with tempfile.TemporaryDirectory() as folder:
            build(arguments.python, folder, name, options)
            print(row(name, arguments.python, Path(folder)), flush=True)


def names_of(python: str) -> list[str]:
    """Names of all models that can be built."""
    code = f"import sys; sys.path.insert(0, {str(BUILDER.parent)!r}); import build_mace_models as b; print(*b.MODELS)"
    done = subprocess.run(
        [python, "-W", "ignore", "-c", code], env=environment(), capture_output=True, text=True, check=True
    )
    return done.stdout.split("\n")[-2].split()


def build(python: str, folder: str, name: str, options: list[str]) -> None:
    """Write the model ``name`` into ``folder``."""
    command = [python, "-W", "ignore", str(BUILDER), folder, name, *options]
    subprocess.run(command, env=environment(), check=True, stdout=sys.stderr)


def environment() -> dict[str, str]:
    return {**os.environ, "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1", "PYTHONPATH": ""}


def row(name: str, python: str, folder: Path) -> str:
    """Import one model and describe what came of it."""
    begin, output = time.perf_counter(), folder / "potential.safetensors"
    options = ImportOptions(trust=True, python=python, inputs=INPUTS.get(name, {}))
    report = import_published("mace", folder / f"{name}.model", output, options)
    seconds, config = time.perf_counter() - begin, read_potential_config(output).model
    sizes = [len(config.elements), config.num_channels, len(report.heads), len(report.parity)]
    cells = [name, *map(str, sizes), *largest(report), f"{seconds:.0f}"]
    return f"| {' | '.join(cells)} |"


def largest(report: ImportReport) -> list[str]:
    """The largest difference of every kind."""
    cells = []
    for kind in ("energy", "forces", "stress", "layers"):
        found = [getattr(entry.difference, kind) for entry in report.parity]
        cells.append(f"{max(value for value in found if value is not None):.0e}")
    return cells


if __name__ == "__main__":
    main()
