"""Acetylacetone, PBE+D3/def2-SVP, trained at 300 K or 600 K (arXiv 2205.06643); eV, eV/Å.

``valid_600K`` is the public ``train_600K``: by it, not by a test set, settings are chosen that are to hold beyond the
domain of ``train_300K``.
"""

from __future__ import annotations

from clebsch.data.datasets.source import BOTNET_DATASETS, DataFile, Source

SOURCE = Source(
    name="acac",
    folder="dataset_acac",
    train={
        "train_300K": DataFile("sha256:8f5706d6902360555a5be59395612d2afc3489a75688388a58e7275fdad68af3"),
        "train_600K": DataFile("sha256:180c2538508f7810a623c279426f44953ee7cfb2af77e48ea3986ff97645a71c"),
    },
    tests={
        "test_MD_300K": DataFile("sha256:2291f3186a3cc6a5e05e92952c84a9237ca53f862d78fd3316a769360719ec43"),
        "test_MD_600K": DataFile("sha256:d5a5bba154ec43f915eb7529f86ec3af60e6f911743859daba030181a0378ff7"),
        "test_H_transfer": DataFile(
            "sha256:ea4d76c79cf4cfccd2f93eaf755172b0b648886c4907eb0f82dff07a77530743", forces=False
        ),
        "test_dihedral": DataFile(
            "sha256:0c2246a593579de5a4450698d5f4ba5802b095824b7f211aa5889339967c6809", forces=False
        ),
    },
    isolated_atoms=(
        "isolated_atoms",
        DataFile("sha256:b74f321b453374621b447d65c60979f70df1b7182c8ee0215388b2c574f33823", forces=False),
    ),
    held_out={"valid_600K": "train_600K"},
    is_molecule=True,
    url=f"{BOTNET_DATASETS}/dataset_acac",
    homepage="https://github.com/davkovacs/BOTNet-datasets",
)
load = SOURCE.load
