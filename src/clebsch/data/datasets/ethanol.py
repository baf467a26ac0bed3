"""Ethanol (rMD17) and methanol, PBE/def2-SVP, with scans that leave the training data; eV, eV/Å."""

from __future__ import annotations

from clebsch.data.datasets.source import BOTNET_DATASETS, DataFile, Source

SOURCE = Source(
    name="ethanol",
    folder="dataset_ethanol",
    train={
        "train": DataFile("sha256:a26a16d8910581fa321fedc3bd3dfe31f2460e8cbfdc7a8f65243f4fd7250dd0"),
        "train_eth_meth": DataFile("sha256:2aea243261f05b7d556cca37d73de335a98573d198441f32dc6f835cd948e3a0"),
    },
    tests={
        "test_MD": DataFile("sha256:b8726933d5b9083989d8e3cc7013c18e0950cf0cbc6f6cd570fdb9759001031c"),
        "test_eth_meth": DataFile("sha256:e9109584eb66d2ffe7509dd792c436e4b54bed2583a4de555bda9b2cd4799adf"),
        "test_H_removal": DataFile(
            "sha256:8d9f13272eb1c7570edaf6afc31e6f8670df38c41b82611504878576708b1a1c", forces=False
        ),
        "test_norm_mode_874": DataFile(
            "sha256:13f363e0c141dc25af4d8f59668623a27e024c781a07a52f8565fc6bb0e58f99", forces=False
        ),
        "test_norm_mode_3005": DataFile(
            "sha256:9412f0ac3562ee3f307e823eae5f6a9b793e1805feea908f58c9d24a0068f6b0", forces=False
        ),
        "test_dimers": DataFile(
            "sha256:6beaf368c2caed6493a39c643438317246926675f14b188b7a2dcbd7868f7342", forces=False
        ),
    },
    isolated_atoms=(
        "isolated_atoms",
        DataFile("sha256:a2a662390f31ad623ce493038e680bc34214f88d4432566bf8fbd0761be57583", forces=False),
    ),
    is_molecule=True,
    url=f"{BOTNET_DATASETS}/dataset_ethanol",
    homepage="https://github.com/davkovacs/BOTNet-datasets",
)
load = SOURCE.load
