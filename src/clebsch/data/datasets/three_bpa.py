"""3-(benzyloxy)pyridin-2-amine, ωB97X/6-31G(d) (doi 10.1021/acs.jctc.1c00647); eV, eV/Å.

``test_mixedT`` is the public ``train_mixedT`` (300, 600 and 1200 K) less the configurations that are trained on.
"""

from __future__ import annotations

from clebsch.data.datasets.source import BOTNET_DATASETS, DataFile, Source

SOURCE = Source(
    name="3bpa",
    folder="dataset_3BPA",
    train={
        "train_300K": DataFile("sha256:d109971fab90e2231ad931a83eb704c8d940f5c7d7a8de27fe3b84ea18634c0a"),
        "train_mixedT": DataFile("sha256:bc108532964b2ed259eaaabf82e5dfaffa5bda9ac384fc2afabcce192a49250b"),
    },
    tests={
        "test_300K": DataFile("git:6ea840dfce31bd7667a26e592f3625729c90441b"),
        "test_600K": DataFile("git:681d24eeb4e9193644e6db58193b50e205a5bc0f"),
        "test_1200K": DataFile("git:94beb5238c3573e4be4d368928460f951e07e513"),
        "test_dih": DataFile("git:7bdd390b9aed0a677dd8036a3a5055a0b648d1f5"),
    },
    isolated_atoms=(
        "iso_atoms",
        DataFile("sha256:e12a2465a2612bf38fd5dabdf64d4b57fc58ce9610a858c54ea1142d517c053f", forces=False),
    ),
    held_out={"test_mixedT": "train_mixedT"},
    is_molecule=True,
    url=f"{BOTNET_DATASETS}/dataset_3BPA",
    homepage="https://github.com/davkovacs/BOTNet-datasets",
)
load = SOURCE.load
