"""The public data sets: their tables, their layouts, and what is said where something is missing."""

from __future__ import annotations

import dataclasses
import hashlib
import lzma
import tarfile
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from frames import WATER, xyz_frame

from clebsch.data import Configuration, load_dataset
from clebsch.data.datasets import NAMES, SOURCES, acac, rmd17, three_bpa
from clebsch.data.datasets.download import verify
from clebsch.data.datasets.source import DataFile, Source, without
from clebsch.errors import DataError


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """Address of a server on this machine, and the folder it serves."""
    folder = tmp_path / "server"
    folder.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=folder))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", folder
    server.shutdown()
    thread.join()
    server.server_close()


def moved(distance: float) -> str:
    """A frame whose last atom is moved."""
    positions = [*map(tuple, WATER[:2].tolist()), (*WATER[2, :2].tolist(), distance)]
    return xyz_frame(energy=-10.5 + distance, positions=positions)


@pytest.fixture
def three_bpa_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "dataset_3BPA"
    folder.mkdir()
    (folder / "train_300K.xyz").write_text(moved(0.0) + moved(0.1))
    (folder / "train_mixedT.xyz").write_text(moved(0.2) + moved(0.1) + moved(0.3))
    with lzma.open(folder / "test_600K.xyz.xz", "wt") as file:
        file.write(moved(0.4))
    (folder / "iso_atoms.xyz").write_text(xyz_frame(-13.6, forces=None, positions=[(0, 0, 0)], symbols=["H"]))
    return folder


def test_held_out_test_set(three_bpa_folder: Path):
    dataset = load_dataset("3bpa", three_bpa_folder.parent)
    assert len(dataset.train) == 2
    assert {name: len(test) for name, test in dataset.tests.items()} == {"test_600K": 1, "test_mixedT": 2}
    assert [test.positions[2, 2] for test in dataset.tests["test_mixedT"]] == [0.2, 0.3]
    assert dataset.isolated_atoms == {"H": -13.6}
    assert dataset.keys == three_bpa.SOURCE.keys()


def test_nothing_is_tested_that_is_trained_on(three_bpa_folder: Path):
    dataset = load_dataset("3bpa", three_bpa_folder.parent, train="train_mixedT")
    assert len(dataset.train) == 3
    assert list(dataset.tests) == ["test_600K"]


def test_root(three_bpa_folder: Path, monkeypatch: pytest.MonkeyPatch):
    assert len(load_dataset("3bpa", three_bpa_folder, tests=()).train) == 2
    monkeypatch.setenv("CLEBSCH_DATA", str(three_bpa_folder.parent))
    assert load_dataset("3bpa", tests=()).tests == {}
    with pytest.raises(DataError, match=r"acac: .*dataset_3BPA.dataset_acac holds no train_300K.xyz"):
        load_dataset("acac", three_bpa_folder)
    monkeypatch.delenv("CLEBSCH_DATA")
    with pytest.raises(DataError, match=r"Name it as root, or set \$CLEBSCH_DATA"):
        load_dataset("3bpa")


def test_unknown_names(three_bpa_folder: Path):
    root = three_bpa_folder.parent
    with pytest.raises(DataError, match=r"no data set '3pba'. Did you mean '3bpa'"):
        load_dataset("3pba", root)
    with pytest.raises(DataError, match=r"no training set 'train_30K'. Did you mean 'train_300K'"):
        load_dataset("3bpa", root, train="train_30K")
    with pytest.raises(DataError, match=r"no test set 'test_60K'. Did you mean 'test_600K'"):
        load_dataset("3bpa", root, tests=["test_60K"])
    with pytest.raises(DataError, match=r"no molecule 'ethanoll'. Did you mean 'ethanol'"):
        load_dataset("rmd17/ethanoll", root)
    with pytest.raises(DataError, match="splits 1 to 5, got 6"):
        load_dataset("rmd17/ethanol/6", root)
    with pytest.raises(DataError, match="a number from 1 to 5, got 'two'"):
        load_dataset("rmd17/ethanol/two", root)
    with pytest.raises(DataError, match="no data set 'rmd17'"):
        load_dataset("rmd17", root)


def test_missing_test_set_that_is_asked_for(three_bpa_folder: Path):
    with pytest.raises(DataError, match=r"holds no test_1200K.xyz .*download=True.*github.com/davkovacs"):
        load_dataset("3bpa", three_bpa_folder.parent, tests=["test_1200K"])


def test_a_training_set_is_no_test_set_of_its_own(data_root: Path):
    with pytest.raises(DataError, match="acac: 'valid_600K' is the training set 'train_600K' itself"):
        load_dataset("acac", data_root, train="train_600K", tests=["valid_600K"])
    assert "valid_600K" not in load_dataset("acac", data_root).tests, "settings are chosen by it"


def test_a_zero_has_no_sign_where_sets_are_compared():
    """A coordinate that is rounded to zero from below is that which is rounded from above."""
    first, same, other = ([Configuration(np.array([8, 1]), np.array([[0.0, 0.0, z], [0.0, -z, 1.0]]))]
                          for z in (1e-9, -1e-9, 1e-3))  # fmt: skip
    assert without(first, same) == [] and without(first, other) == first


def small_source(url: str, folder: Path) -> Source:
    """The table of acetylacetone with the checksums of small stand-ins."""
    files = {}
    for stem, text in {"train_300K": moved(0.0), "test_MD_300K": moved(0.1)}.items():
        (folder / f"{stem}.xyz").write_text(text)
        files[stem] = DataFile(f"sha256:{hashlib.sha256(text.encode()).hexdigest()}")
    return dataclasses.replace(
        acac.SOURCE,
        url=url,
        isolated_atoms=None,
        train={"train_300K": files["train_300K"]},
        tests={"test_MD_300K": files["test_MD_300K"]},
        held_out={},
    )


def test_download_of_missing_files(server: tuple[str, Path], tmp_path: Path):
    url, folder = server
    source = small_source(url, folder)
    root = tmp_path / "root"
    assert len(source.load(root, download=True).tests["test_MD_300K"]) == 1
    assert sorted(path.name for path in root.rglob("*.*")) == ["test_MD_300K.xyz", "train_300K.xyz"]
    (folder / "train_300K.xyz").unlink()
    assert len(source.load(root, download=True).train) == 1, "what is there is not fetched again"


def test_download_of_changed_files(server: tuple[str, Path], tmp_path: Path):
    url, folder = server
    source = small_source(url, folder)
    (folder / "train_300K.xyz").write_text(moved(0.7))
    with pytest.raises(DataError, match=r"train_300K.xyz: the content is not the published one"):
        source.load(tmp_path / "root", download=True)
    assert not list((tmp_path / "root").rglob("*.*"))


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """A small stand-in for the figshare release of rMD17."""
    folder = tmp_path / "release" / "rmd17"
    (folder / "npz_data").mkdir(parents=True)
    (folder / "splits").mkdir()
    np.savez(
        folder / "npz_data" / "rmd17_ethanol.npz",
        nuclear_charges=np.array([8, 1, 1], dtype=np.uint8),
        coords=WATER + np.arange(6.0)[:, None, None],
        energies=-100.0 - np.arange(6.0),
        forces=np.ones((6, 3, 3)),
    )
    (folder / "splits" / "index_train_02.csv").write_text("5\n0\n3\n")
    (folder / "splits" / "index_test_02.csv").write_text("1\n2\n")
    return folder


@pytest.mark.parametrize("below", [False, True])
def test_rmd17_release(release: Path, below: bool):
    dataset = load_dataset("rmd17/ethanol/2", release if below else release.parent)
    assert [
        round(frame.labels["energy"] / rmd17.KCAL_PER_MOL, 9) for frame in dataset.train if frame.labels["energy"]
    ] == [
        -105,
        -100,
        -103,
    ]
    assert len(dataset.tests["test_02"]) == 2
    assert dataset.isolated_atoms is None
    first = dataset.train[0]
    np.testing.assert_allclose(first.positions, WATER + 5.0)
    np.testing.assert_allclose(first.labels["forces"], 0.0433641 * np.ones((3, 3)), rtol=1e-6)
    assert first.origin.endswith("rmd17_ethanol.npz, index 5")
    assert not first.pbc.any()


def test_rmd17_release_that_is_not_as_expected(release: Path):
    with pytest.raises(DataError, match=r"holds neither npz_data/rmd17_ethanol.npz with splits/index_train_01.csv"):
        load_dataset("rmd17/ethanol", release)
    (release / "splits" / "index_train_02.csv").write_text("0\n6\n")
    with pytest.raises(DataError, match="indices from 0 to 5"):
        load_dataset("rmd17/ethanol/2", release)
    (release / "splits" / "index_train_02.csv").write_text("index\n0\n")
    with pytest.raises(DataError, match="one index in a line"):
        load_dataset("rmd17/ethanol/2", release)
    np.savez(release / "npz_data" / "rmd17_ethanol.npz", coords=WATER)
    with pytest.raises(DataError, match="cannot be read as npz"):
        load_dataset("rmd17/ethanol/2", release)
    (release / "npz_data" / "rmd17_ethanol.npz").write_bytes(b"PK no archive")
    with pytest.raises(DataError, match="cannot be read as npz"):
        load_dataset("rmd17/ethanol/2", release)


def test_rmd17_download(release: Path, server: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    url, folder = server
    with tarfile.open(folder / "rmd17.tar.bz2", "w:bz2") as tar:
        tar.add(release, "rmd17")
    monkeypatch.setattr(rmd17, "ARCHIVE", f"{url}/rmd17.tar.bz2")
    dataset = load_dataset("rmd17/ethanol/2", tmp_path / "root", download=True)
    assert (len(dataset.train), len(dataset.tests["test_02"])) == (3, 2)
    assert len(load_dataset("rmd17/ethanol/2", tmp_path / "root").train) == 3


def test_rmd17_extended_xyz(tmp_path: Path):
    folder = tmp_path / "rmd17" / "uracil"
    folder.mkdir(parents=True)
    box = 'Lattice="50 0 0 0 50 0 0 0 50" pbc="T T T"'
    for stem in ("train_03", "test_03"):
        (folder / f"{stem}.xyz").write_text(xyz_frame(energy_key="Energy", extra=box))
    dataset = load_dataset("rmd17/uracil/3", tmp_path)
    assert dataset.keys.energy == "Energy"
    assert dataset.train[0].labels["energy"] == -10.5
    assert not dataset.train[0].pbc.any(), "a molecule in a box without pbc is read as periodic by ASE"
    assert len(load_dataset("rmd17/uracil/3", tmp_path / "rmd17").tests["test_03"]) == 1


def test_names():
    assert NAMES[:5] == ("acac", "3bpa", "ethanol", "lips", "rmd17/aspirin")
    assert len(NAMES) == 14


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_checksums_of_the_published_files(source: Source, data_root: Path):
    files = {**source.train, **source.tests}
    if source.isolated_atoms is not None:
        files[source.isolated_atoms[0]] = source.isolated_atoms[1]
    for stem, file in files.items():
        path = source.find_folder(data_root) / f"{stem}.xyz"
        if path.is_file():
            verify(path, file.checksum)


@pytest.mark.parametrize(
    ("name", "train", "tests", "elements"),
    [
        ("acac", 500, {"test_MD_300K": 650, "test_MD_600K": 650, "test_H_transfer": 15, "test_dihedral": 45}, "HCO"),
        ("acac", 500, {"valid_600K": 500}, "HCO"),
        ("3bpa", 500, {"test_mixedT": 469}, "HCNO"),
        ("ethanol", 1000, {"test_H_removal": 60, "test_norm_mode_874": 37, "test_dimers": 429}, "HCNO"),
        ("lips", 500, {}, None),
        ("rmd17/aspirin", 1000, {}, None),
    ],
)  # fmt: skip
def test_published(name: str, train: int, tests: dict[str, int], elements: str | None, data_root: Path):
    dataset = load_dataset(name, data_root, tests=tests)
    assert len(dataset.train) == train
    assert {key: len(value) for key, value in dataset.tests.items()} == tests
    assert (dataset.isolated_atoms is None) == (elements is None)
    assert elements is None or set(dataset.isolated_atoms or {}) == set(elements)
    assert all("forces" in frame.labels for frame in dataset.train)
    for scan in ("test_H_transfer", "test_dihedral", "test_dimers"):
        assert all(list(frame.labels) == ["energy"] for frame in dataset.tests.get(scan, []))
    assert dataset.train[0].pbc.all() == (name == "lips")
