"""How far this library is from the published codes, given their weights: a table of largest relative differences.

    python scripts/exactness.py [FILE ...]

Without files, the models of tests/exactness/fixtures; a file has the layout of docs/interop.md and its settings name
the ``model``. Each number is the largest over the frames, relative to the largest published value of its kind.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from clebsch.interop import PublishedModel, compare, from_botnet, from_mace, from_nequip, from_pace, read_published
from clebsch.models import Potential

FIXTURES = Path(__file__).parents[1] / "tests" / "exactness" / "fixtures"
READERS = {
    "ScaleShiftMACE": from_mace,
    "PACE": from_pace,
    "ScaleShiftNonLinearBodyOrderedModel": from_botnet,
    "NequIPGNNModel": from_nequip,
}
OTHER_SIGNS = {True: "0.6.0", False: "0.4.4"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path, default=sorted(FIXTURES.glob("*.safetensors")))
    print("| file | code | energy | forces | stress | layers | energy, signs of the other e3nn |")
    print("|---|---|---|---|---|---|---|")
    for path in parser.parse_args().files:
        model = read_published(path)
        cells = [path.stem, model.hyper["source"], *largest_differences(model)]
        print("| " + " | ".join(cells) + " |")


def largest_differences(model: PublishedModel) -> list[str]:
    """Energy, forces, stress and layers, then the energy with the wrong signs of couplings."""
    found = [compare(read(model), frame, average_energy=model.average_energy) for frame in model.frames]
    stresses = [difference.stress for difference in found if difference.stress is not None]
    wrong = read(model, OTHER_SIGNS[model.e3nn_version.startswith("0.4")])
    other = [compare(wrong, frame, average_energy=model.average_energy).energy for frame in model.frames]
    columns = [
        [difference.energy for difference in found],
        [difference.forces for difference in found],
        stresses,
        [difference.layers for difference in found],
        other,
    ]
    return [f"{max(column):.0e}" if column else "–" for column in columns]


def read(model: PublishedModel, e3nn_version: str | None = None) -> Potential:
    reader = READERS[model.hyper["model"]]
    return reader(model.state, model.hyper, e3nn_version=e3nn_version or model.e3nn_version)


if __name__ == "__main__":
    main()
