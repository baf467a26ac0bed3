"""Li-P-S electrolyte of the NequIP paper (arXiv 2101.03164): a periodic solid of 83 atoms; eV, eV/Å."""

from __future__ import annotations

from clebsch.data.datasets.source import DataFile, Source

SOURCE = Source(
    name="lips",
    folder="dataset_LiPS",
    train={"train": DataFile()},
    tests={"test": DataFile()},
    homepage="https://github.com/M3RG-IITD/MDBENCHGNN (npz; written as train.xyz and test.xyz)",
)
load = SOURCE.load
