"""No defect is found in the public data sets but the one that is there."""

from __future__ import annotations

from pathlib import Path

import pytest

from clebsch.data import load_dataset
from clebsch.data.datasets.rmd17 import MOLECULES
from clebsch.doctor import examine

NAMES = ("acac", "3bpa", "ethanol", "lips", *(f"rmd17/{molecule}" for molecule in MOLECULES))


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_public_data_are_sound(data_root: Path, name: str) -> None:
    """The halves of the Li-P-S data were drawn from one trajectory: a third of the test set are near copies."""
    dataset = load_dataset(name, data_root)
    found = examine({"train": dataset.train, **dataset.tests}).of_level("error", "warning")
    assert [item.check for item in found] == (["near copies"] if name == "lips" else [])
