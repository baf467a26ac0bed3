"""Reading files: every format, and every way in which a file or its labels can be wrong."""

from __future__ import annotations

import bz2
import gzip
import lzma
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import ase.db
import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from frames import WATER, water, xyz_frame

from clebsch.data import LabelKeys, neighbor_list, read_configurations, read_isolated_atoms
from clebsch.errors import DataError

REF = LabelKeys(energy="REF_energy", forces="REF_forces")
Write = Callable[..., Path]


@pytest.mark.parametrize("suffix", ["", ".xz", ".gz", ".bz2"])
def test_extended_xyz(tmp_path: Path, suffix: str):
    path = tmp_path / f"frames.xyz{suffix}"
    opener = {"": open, ".xz": lzma.open, ".gz": gzip.open, ".bz2": bz2.open}[suffix]
    with opener(path, "wt") as file:
        file.write(xyz_frame(energy=-1.25) + xyz_frame(energy=-2.5, extra="config_type=hot"))
    first, second = read_configurations(path)
    assert (first.labels["energy"], second.labels["energy"]) == (-1.25, -2.5)
    assert second.origin == f"{path}, frame 1"
    assert second.config_type == "hot"
    np.testing.assert_array_equal(second.labels["forces"], np.arange(1.0, 10.0).reshape(3, 3))
    np.testing.assert_array_equal(second.positions, WATER)


@pytest.mark.parametrize("key", ["energy", "Energy", "REF_energy", "free_energy"])
def test_wherever_ase_puts_the_energy(write: Write, key: str):
    (configuration,) = read_configurations(write(xyz_frame(energy_key=key)), LabelKeys(energy=key))
    assert configuration.labels["energy"] == -10.5


def test_files_that_ase_writes(tmp_path: Path):
    path = tmp_path / "ase.xyz"
    ase.io.write(path, [water(), water()])
    assert [frame.labels["energy"] for frame in read_configurations(path, REF)] == [-10.5, -10.5]


@pytest.mark.parametrize("suffix", [".db", ".aselmdb"])
def test_ase_database(tmp_path: Path, suffix: str):
    path = tmp_path / f"frames{suffix}"
    labelled, database = read_labelled(tmp_path), cast(Any, ase.db.connect(path))
    with database:
        database.write(labelled)
        database.write(labelled)
        database.write(water(), REF_energy=-3.0, data={"REF_forces": np.ones((3, 3))})
    first, second = read_configurations(path, index=":2")
    assert (first.labels["energy"], second.origin) == (-10.5, f"{path}, frame 1")
    (third,) = read_configurations(path, REF, index=-1)
    assert third.labels["energy"] == -3.0
    np.testing.assert_array_equal(third.labels["forces"], np.ones((3, 3)))


def read_labelled(folder: Path) -> ase.Atoms:
    path = folder / "one.xyz"
    path.write_text(xyz_frame())
    return ase.io.read(path)  # type: ignore[return-value]


def test_other_formats_of_ase(tmp_path: Path):
    path = tmp_path / "frames.traj"
    ase.io.write(path, [read_labelled(tmp_path)] * 2)
    assert [frame.labels["energy"] for frame in read_configurations(path)] == [-10.5, -10.5]


@pytest.mark.parametrize(
    ("index", "frames"),
    [
        (":", [0, 1, 2, 3]),
        ("1:3", [1, 2]),
        ("::2", [0, 2]),
        (-1, [3]),
        (2, [2]),
        ("1", [1]),
        ("-2:", [2, 3]),
        ("::-1", [3, 2, 1, 0]),
    ],
)
def test_index_counts_from_zero(write: Write, index: str | int, frames: list[int]):
    path = write(*(xyz_frame(energy=float(-number)) for number in range(4)))
    configurations = read_configurations(path, index=index)
    assert [-int(frame.labels["energy"]) for frame in configurations] == frames
    assert [frame.origin for frame in configurations] == [f"{path}, frame {number}" for number in frames]


@pytest.mark.parametrize("index", ["9:", 4, "first", "1:2:3:4"])
def test_index_that_picks_nothing(write: Write, index: str | int):
    with pytest.raises(DataError, match=r"holds no frame in index|index must be"):
        read_configurations(write(xyz_frame()), index=index)


def test_stress_in_the_calculator(write: Write):
    extra = 'Lattice="9 0 0 0 9 0 0 0 9" stress="1 6 5 6 2 4 5 4 3" pbc="T T T"'
    (configuration,) = read_configurations(write(xyz_frame(extra=extra)), LabelKeys(stress="stress"))
    np.testing.assert_array_equal(configuration.labels["stress"], [[1, 6, 5], [6, 2, 4], [5, 4, 3]])
    (configuration,) = read_configurations(write(xyz_frame(extra=extra)), LabelKeys(stress=None))
    assert "stress" not in configuration.labels


def test_missing_file_suggests_a_neighbour(write: Write):
    path = write(xyz_frame(), name="train_300K.xyz")
    with pytest.raises(DataError, match=r"no such file. Did you mean 'train_300K.xyz'\?"):
        read_configurations(path.with_name("train_30K.xyz"))
    with pytest.raises(DataError, match="no such file"):
        read_configurations(path.parent / "nowhere" / "train.xyz")


@pytest.mark.parametrize("name", ["empty.xyz", "empty.extxyz", "empty.db", "empty.traj", "empty"])
def test_empty_file(write: Write, name: str):
    with pytest.raises(DataError, match=r"empty.* (holds no frame|cannot be read)"):
        read_configurations(write("", name=name))


def test_truncated_file(write: Write):
    text = xyz_frame() + xyz_frame()
    lines = text.splitlines(keepends=True)
    with pytest.raises(DataError, match=r"frame 1: the file is truncated: line 6 promises 3 atoms, found 1"):
        read_configurations(write(*lines[:-2]))
    with pytest.raises(DataError, match=r"frame 1, line 10: the row has 2 columns, expected 7"):
        read_configurations(write(text[:-20]))
    with pytest.raises(DataError, match=r"frame 1: the file is truncated: line 6 promises 3 atoms, found 0"):
        read_configurations(write(*lines[:-4]))


def test_blank_lines_do_not_hide_frames(write: Write):
    assert len(read_configurations(write(xyz_frame(), xyz_frame(), "\n \n"))) == 2
    with pytest.raises(DataError, match="line 6 is blank but more follows"):
        read_configurations(write(xyz_frame(), "\n", xyz_frame()))


def test_header_that_is_no_number(write: Write):
    with pytest.raises(DataError, match=r"frame 1: line 6 must be the number of atoms, got 'H 0.0"):
        read_configurations(write(xyz_frame(), "H 0.0 0.0 0.0\n"))


@pytest.mark.parametrize("suffix", [".xz", ".gz", ".bz2"])
def test_corrupt_compressed_file(tmp_path: Path, suffix: str):
    compress = {".xz": lzma.compress, ".gz": gzip.compress, ".bz2": bz2.compress}[suffix]
    content = compress("".join(xyz_frame(energy=-float(number)) for number in range(300)).encode())
    path = tmp_path / f"frames.xyz{suffix}"
    broken = bytearray(content)
    broken[len(broken) // 2] ^= 0xFF
    for damaged in (content[: len(content) // 2], b"no archive", bytes(broken)):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=r"frames.xyz.*(cannot be read|must be|truncated|stands twice)"):
            read_configurations(path)


def test_label_in_no_frame(write: Write):
    path = write(xyz_frame(energy_key="Energy"), xyz_frame(energy_key="Energy"))
    with pytest.raises(DataError, match=r"none of the 2 frames read has the energy label 'energy'.*: Energy\. Did you"):
        read_configurations(path)
    with pytest.raises(DataError, match=r"forces label 'REF_forces'. Keys that could hold forces: forces\. Did you"):
        read_configurations(path, LabelKeys(energy="Energy", forces="REF_forces"))
    with pytest.raises(DataError, match=r"energy label 'E'. Keys that could hold energy: Energy"):
        read_configurations(path, LabelKeys.only(energy="E", stress="stress"))
    assert set(read_configurations(path, LabelKeys(energy="Energy"))[0].labels) == {"energy", "forces"}
    assert "energy" not in read_configurations(path, LabelKeys(energy=None))[0].labels


def test_label_in_some_frames(write: Write):
    path = write(xyz_frame(), xyz_frame(forces=None), xyz_frame(energy=None), xyz_frame(forces=None))
    labels = [set(frame.labels) for frame in read_configurations(path)]
    assert labels == [{"energy", "forces"}, {"energy"}, {"forces"}, {"energy"}]


@pytest.mark.parametrize("bad", ["nan", "inf", "-inf"])
def test_numbers_that_are_none(write: Write, bad: str):
    def frames(**changes: object) -> Path:
        return write(xyz_frame(), xyz_frame(**changes))  # type: ignore[arg-type]

    with pytest.raises(DataError, match="frame 1: energy must be a finite number"):
        read_configurations(frames(energy=bad))
    with pytest.raises(DataError, match=r"frame 1: forces must be finite numbers.*atom 2"):
        read_configurations(frames(forces=[(0.5, 0, 0), (0, 0, 0), (0, bad, 0)]))
    with pytest.raises(DataError, match=r"frame 1: positions must be finite numbers.*atom 1"):
        read_configurations(frames(positions=[(0.5, 0, 0), (bad, 0, 0), (0, 1, 0)]))
    with pytest.raises(DataError, match="frame 1: cell must be finite numbers"):
        read_configurations(frames(extra=f'Lattice="9.0 0 0 0 {bad} 0 0 0 9" pbc="T T T"'))


def test_unknown_symbol_and_close_atoms(write: Write):
    with pytest.raises(DataError, match=r"frame 0, line 3: 'Xx' is no element"):
        read_configurations(write(xyz_frame(symbols=["Xx", "H", "H"])))
    with pytest.raises(DataError, match="frame 0: atom 0 has atomic number 0"):
        read_configurations(write(xyz_frame(symbols=["X", "H", "H"])))
    with pytest.raises(DataError, match=r"frame 1: atoms 0 and 1 are 0.0100 Å apart"):
        read_configurations(write(xyz_frame(), xyz_frame(positions=[(0, 0, 0), (0, 0, 0.01), (0, 1, 0)])))


def test_pbc_without_volume(write: Write):
    with pytest.raises(DataError, match=r"frame 0: pbc is .* span no volume"):
        read_configurations(write(xyz_frame(extra='pbc="T T T"')))


def test_the_largest_of_several_boxes_of_an_atom_counts(write: Write):
    """An energy-volume curve of one atom ends in boxes that are as good as empty."""

    def boxed(size: int, energy: float) -> str:
        extra = f'Lattice="{size} 0 0 0 {size} 0 0 0 {size}" pbc="T T T"'
        return xyz_frame(energy, forces=None, positions=[(0, 0, 0)], symbols=["H"], extra=extra)

    path = write(xyz_frame(), boxed(4, -14.5), boxed(12, -13.5), boxed(9, -13.6))
    assert read_isolated_atoms(path) == {"H": -13.5}


def test_weights_and_kind_of_a_database_row(tmp_path: Path):
    atoms = Atoms("H2", [[0, 0, 0], [0, 0, 0.8]])
    atoms.calc = SinglePointCalculator(atoms, energy=-30.0)
    ase.db.connect(tmp_path / "rows.db").write(atoms, energy_weight=0.0, config_type="dimer")
    (found,) = read_configurations(tmp_path / "rows.db")
    assert (found.weights, found.config_type) == ({"energy": 0.0}, "dimer")


def test_isolated_atoms_among_the_frames(write: Write):
    def atom(symbol: str, energy: float | None, extra: str = "") -> str:
        return xyz_frame(energy, forces=None, positions=[(0, 0, 0)], symbols=[symbol], extra=extra)

    periodic = 'Lattice="9 0 0 0 9 0 0 0 9" pbc="T T T"'
    path = write(xyz_frame(), atom("H", -13.6), atom("O", -2041.5, f"config_type=IsolatedAtom {periodic}"))
    assert read_isolated_atoms(path) == {"H": -13.6, "O": -2041.5}
    configurations = read_configurations(path)
    assert [configuration.is_isolated_atom for configuration in configurations] == [False, True, True]
    np.testing.assert_array_equal(configurations[1].labels["forces"], np.zeros((1, 3)))
    with pytest.raises(DataError, match=r"energy label 'REF_energy'.*Did you mean 'energy'"):
        read_isolated_atoms(path, "REF_energy")
    with pytest.raises(DataError, match=r"frame 1: the isolated atom H has energy -13.5 eV here and -13.6 eV"):
        read_isolated_atoms(write(atom("H", -13.6), atom("H", -13.5)))
    assert read_isolated_atoms(write(atom("H", -13.6), atom("H", -13.6000005))) == {"H": -13.6}
    with pytest.raises(DataError, match=r"has energy -13.600002 eV here"):
        read_isolated_atoms(write(atom("H", -13.6), atom("H", -13.600002)))
    with pytest.raises(DataError, match="no frame is an isolated atom"):
        read_isolated_atoms(write(xyz_frame(), atom("Cu", -3.0, periodic.replace("9", "3"))))


def test_molecules_in_a_box_are_not_periodic(data_root: Path):
    configurations = read_configurations(data_root / "dataset_3BPA" / "train_300K.xyz", index=":20")
    assert not any(configuration.pbc.any() for configuration in configurations)
    assert all(configuration.cell[0, 0] == 50.0 for configuration in configurations)
    first = configurations[0]
    outside = first.positions + np.where(np.arange(27) % 2, 50.0, 0.0)[:, None]
    assert len(neighbor_list(outside, first.cell, first.pbc, 5.0)[0]) < len(
        neighbor_list(first.positions, first.cell, first.pbc, 5.0)[0]
    ), "an atom moved by a box length would be its own image in a periodic box"


def test_published_files(data_root: Path):
    configurations = read_configurations(data_root / "dataset_acac" / "train_300K.xyz")
    assert len(configurations) == 500
    assert configurations[0].labels["energy"] == pytest.approx(-9391.45554428476, abs=1e-9)
    assert len(read_configurations(data_root / "dataset_LiPS" / "test.xyz.xz", index=":10")) == 10
    with pytest.raises(DataError, match="Did you mean 'Energy'"):
        read_configurations(data_root / "rmd17" / "benzene" / "train_01.xyz.xz")
