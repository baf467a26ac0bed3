"""The size of the features of every untrained model of a study, layer by layer, on ten training configurations.

    python scripts/feature_sizes.py recipes/studies/depth.yaml

prints the root mean square over atoms, components and channels, in float64.
"""

from __future__ import annotations

import argparse

from clebsch.data import collate
from clebsch.evaluation import feature_sizes
from clebsch.run import build_potential, read_training_graphs
from clebsch.sweep.study import load_study, name_of

CONFIGURATIONS = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", help="YAML file of the study")
    parser.add_argument("overrides", nargs="*", help="dotted.key=value, as of clebsch sweep")
    arguments = parser.parse_args()
    study, cells = load_study(arguments.study, ["base.dtype=float64", *arguments.overrides])
    for cell in cells:
        config = cell.config(study.output)
        graphs, statistics = read_training_graphs(config)
        sizes = feature_sizes(build_potential(config, statistics), collate(graphs[:CONFIGURATIONS]))
        print(f"{name_of(cell.labels):<50}", *(f"{size:9.2g}" for size in sizes))


if __name__ == "__main__":
    main()
