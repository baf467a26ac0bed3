"""What a run says about the files it reads, and which files a name stands for."""

from __future__ import annotations

import shutil
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from clebsch.errors import ConfigError, DataError
from clebsch.recipe import parse_recipe
from clebsch.run import Sets, read_sets
from data.frames import vasprun


@pytest.fixture
def folder(tmp_path: Path, alloy_file: Path) -> Path:
    """Three files of twelve frames, in a folder and one below it."""
    (tmp_path / "data/deep").mkdir(parents=True)
    for name in ("data/a.xyz", "data/b.dat", "data/deep/c.xyz"):
        shutil.copy(alloy_file, tmp_path / name)
    (tmp_path / "data/.hidden").write_text("no configurations")
    return tmp_path


def read(**data: Any) -> tuple[Sets, list[str]]:
    """The sets of a source, and what is said while they are read."""
    data = {name: str(value) if isinstance(value, Path) else value for name, value in data.items()}
    config = parse_recipe({"output": "o", "model": {"preset": "mace"}, "data": {"valid": 2, **data}})
    out = StringIO()
    sets = read_sets(config.data, 0, Console(file=out, width=500))
    return sets, out.getvalue().splitlines()


def test_a_line_for_every_source(folder: Path):
    sets, lines = read(train=folder / "data/a.xyz", tests={"b": str(folder / "data/b.dat")})
    found = "12 frames, 48 atoms of Cu, Au; labels energy in all ('energy'), forces in all ('forces'), stress in all"
    assert [line.partition("; labels")[0] for line in lines] == [
        f"{folder}/data/{name}: {found.partition('; labels')[0]}" for name in ("a.xyz", "b.dat")
    ]
    assert all(found in line for line in lines) and len(sets.train) == 10


@pytest.mark.parametrize(
    ("name", "files"), [("data", 2), ("data/*", 2), ("data/**/*.xyz", 2), ("data/[ab].*", 2), ("data/?.xyz", 1)]
)
def test_folders_and_patterns(folder: Path, name: str, files: int):
    sets, lines = read(train=folder / name)
    assert len(sets.train) == 12 * files - 2
    assert lines[0].startswith(f"{folder / name}: {f'{files} files, ' if files > 1 else ''}{12 * files} frames, ")


def test_names_that_stand_for_nothing(folder: Path):
    with pytest.raises(DataError, match="no file fits this pattern"):
        read(train=folder / "*.xyz")
    (folder / "empty").mkdir()
    with pytest.raises(DataError, match="the folder holds no files"):
        read(train=folder / "empty")
    with pytest.raises(DataError, match=r"no such file. Did you mean 'a.xyz'"):
        read(train=folder / "data/aa.xyz")


def test_a_file_is_read_once(folder: Path):
    with pytest.raises(DataError, match=r"a.xyz is read twice, as '.*a.xyz' and as '.*data'"):
        read(train=[str(folder / "data/a.xyz"), str(folder / "data")])


def test_training_files_that_are_test_files(folder: Path):
    _, lines = read(train=folder / "data", tests={"hot": str(folder / "data/a.xyz")})
    assert f"note: {folder}/data/a.xyz of the set 'hot' is a training file too" in lines[-1]
    assert len(lines) == 3


def test_other_labels_are_said(folder: Path):
    path = folder / "data/a.xyz"
    path.write_text(path.read_text().replace(" energy=", " REF_energy=-1.0 energy="))
    _, lines = read(train=path)
    assert lines[1].startswith(f"note: {path}: reads 'energy', but 'REF_energy' (differs by up to ")
    config = parse_recipe({"output": "o", "model": {"preset": "mace"}, "data": {"train": str(path)}})
    with pytest.warns(UserWarning, match="reads 'energy', but 'REF_energy'"):
        read_sets(config.data, 0)


def test_units_and_types_of_a_recipe(folder: Path):
    plain, _ = read(train=folder / "data/a.xyz")
    sets, lines = read(train=folder / "data/a.xyz", units={"energy": "meV"})
    assert sets.train[0].labels["energy"] == pytest.approx(plain.train[0].labels["energy"] / 1000)
    assert lines[0].endswith("; units: energy meV")
    rows = "\n".join(["ITEM: ATOMS id type x y z fx fy fz", "1 1 0 0 0 1 2 3", "2 2 1.5 0 0 4 5 6"])
    header = "ITEM: TIMESTEP\n0\nITEM: NUMBER OF ATOMS\n2\nITEM: BOX BOUNDS pp pp pp\n0 7\n0 8\n0 9\n"
    (folder / "dump").write_text(f"{header}{rows}\n")
    sets, lines = read(train=[str(folder / "dump"), str(folder / "data")], types={1: "Cu", 2: "Au"})
    assert lines[0] == f"{folder}/dump: 1 frame, 2 atoms of Cu, Au; labels forces in all ('forces')"
    (folder / "empty").write_text("")
    with pytest.raises(DataError, match="empty: "):
        read(train=folder / "empty", types={1: "Cu"})
    with pytest.raises(ConfigError, match=r"data.types.*'Gold' is no element"):
        read(train=folder / "dump", types={2: "Gold"})
    with pytest.raises(ConfigError, match=r"data.units.length': no such unit of length; known: Å, bohr, nm"):
        read(train=folder / "dump", units={"length": "pm"})


def test_units_are_for_formats_without_their_own(folder: Path):
    """In one recipe: those of an extended XYZ are converted, those of VASP are left alone."""
    (folder / "vasprun.xml").write_text(vasprun((-7.0, -6.75)))
    units = {"energy": "meV"}
    plain, _ = read(train=folder / "data/a.xyz", tests={"vasp": str(folder / "vasprun.xml")})
    sets, _ = read(train=folder / "data/a.xyz", tests={"vasp": str(folder / "vasprun.xml")}, units=units)
    assert sets.train[0].labels["energy"] == pytest.approx(plain.train[0].labels["energy"] / 1000)
    assert sets.tests["vasp"][0].labels["energy"] == plain.tests["vasp"][0].labels["energy"]
