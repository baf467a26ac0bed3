"""Features of atoms: what rotations do to them, batches, layers, and the file of the command."""

from __future__ import annotations

from pathlib import Path

import ase.io
import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule

import clebsch
from clebsch import Potential, PotentialConfig, descriptors, presets
from clebsch.deploy.write_descriptors import write_descriptors
from clebsch.errors import ConfigError, DataError

E0 = {"H": -13.0, "C": -1030.0, "O": -2040.0, "Cu": -1.0}


@pytest.fixture(scope="module")
def potential() -> Potential:
    model = presets.pace(elements=tuple(E0), r_max=3.5, num_channels=4, l_max=2, L_max=1, correlation=2)
    model = model.model_copy(update={"avg_num_neighbors": 8.0})
    return Potential(PotentialConfig(model=model), e0=E0, scale=20.0, dtype=torch.float64, seed=1)


@pytest.fixture
def frames() -> list[Atoms]:
    return [molecule("CH3CH2OH"), bulk("Cu", cubic=True), molecule("H2O"), molecule("C6H6")]


def test_shapes(potential: Potential, frames: list[Atoms]):
    """Two layers of four channels: 0e + 1o, then what the preset leaves in the last."""
    first = descriptors(potential, frames, layer=1)
    assert [block.shape for block in first] == [(len(atoms), 4) for atoms in frames]
    whole = descriptors(potential, frames, layer=1, invariant=False)
    assert whole[0].shape == (9, 16) and whole[0].dtype == np.float64
    np.testing.assert_array_equal(whole[0][:, :4], first[0])
    both = descriptors(potential, frames)
    last = descriptors(potential, frames, layer=-1)
    np.testing.assert_array_equal(both[1], np.hstack([first[1], last[1]]))
    np.testing.assert_array_equal(last[1], descriptors(potential, frames, layer=2)[1])
    assert descriptors(potential, []) == []


def test_batches_change_nothing(potential: Potential, frames: list[Atoms]):
    together = descriptors(potential, frames, invariant=False)
    for size in (1, 10, 13):
        for block, other in zip(descriptors(potential, frames, invariant=False, atoms_per_call=size), together):
            np.testing.assert_allclose(block, other, atol=1e-12)


def test_rotations(potential: Potential):
    """Scalars stay, vectors turn; the components of l = 1 are x, y and z."""
    atoms = molecule("CH3CH2OH")
    turned = atoms.copy()
    turned.rotate(40, (1, 2, 3))
    turn = np.linalg.lstsq(atoms.positions - atoms.positions[0], turned.positions - turned.positions[0], rcond=None)[0]
    before, after = descriptors(potential, [atoms, turned], layer=1, invariant=False)
    assert np.abs(before[:, 4:]).max() > 1e-3
    np.testing.assert_allclose(after[:, :4], before[:, :4], atol=1e-12)
    vectors = before[:, 4:].reshape(9, 3, 4)
    np.testing.assert_allclose(after[:, 4:].reshape(9, 3, 4), np.einsum("axk,xy->ayk", vectors, turn), atol=1e-12)


def test_equal_atoms_are_equal(potential: Potential):
    (benzene,) = descriptors(potential, [molecule("C6H6")])
    carbon, hydrogen = benzene[:6], benzene[6:]
    assert np.ptp(carbon, axis=0).max() < 1e-4 < np.abs(carbon[0] - hydrogen[0]).max()


def test_labels_play_no_part(potential: Potential, frames: list[Atoms]):
    plain = descriptors(potential, frames)
    labelled = [atoms.copy() for atoms in frames]
    labelled[0].info["energy"] = np.nan
    np.testing.assert_array_equal(descriptors(potential, labelled)[0], plain[0])


def test_what_is_refused(potential: Potential, frames: list[Atoms]):
    for layer in (0, 3, -3):
        with pytest.raises(ConfigError, match=f"layer: expected 1 to 2, or -1 for the last, got {layer}"):
            descriptors(potential, frames, layer=layer)
    with pytest.raises(DataError, match="frame 1: atom 0 is Au"):
        descriptors(potential, [frames[0], Atoms("Au")])


def test_files(potential: Potential, frames: list[Atoms], tmp_path: Path):
    ase.io.write(tmp_path / "a.xyz", frames[:2])
    ase.io.write(tmp_path / "b.xyz", frames[2:])
    names = [tmp_path / "a.xyz", tmp_path / "b.xyz"]
    assert write_descriptors(potential, names, tmp_path / "features.npz", layer=1) == (9 + 4 + 3 + 12, 4)
    found = np.load(tmp_path / "features.npz")
    np.testing.assert_allclose(found["features"], np.concatenate(descriptors(potential, frames, layer=1)), atol=1e-7)
    assert found["numbers"].tolist() == [number for atoms in frames for number in atoms.numbers]
    assert found["file_index"].tolist() == [0] * 13 + [1] * 15
    assert found["frame"].tolist() == [0] * 9 + [1] * 4 + [0] * 3 + [1] * 12
    assert found["potential_sha256"] == potential.fingerprint() and found["files"].tolist() == list(map(str, names))
    with pytest.raises(ConfigError, match=r"an \.npz file, got 'features\.txt'"):
        write_descriptors(potential, names, "features.txt")
    assert len(clebsch.descriptors(clebsch.load("ethanol"), [frames[0]])[0]) == 9
