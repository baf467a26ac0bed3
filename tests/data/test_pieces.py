"""Files read in pieces: what reading them whole gives, from one process or two."""

from __future__ import annotations

import itertools
from pathlib import Path
from types import SimpleNamespace

import ase.io
import numpy as np
import pytest
from ase import Atoms

from clebsch.cli import main
from clebsch.data import LabelKeys, Pack, pieces, read_configurations
from clebsch.data.pieces import read_in_pieces
from clebsch.errors import DataError
from clebsch.run import pack as packing
from clebsch.run import pack_files
from small_runs import Lines


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several pieces of a short file."""
    monkeypatch.setattr(pieces, "FRAMES_PER_PIECE", 5)


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("processes", [1, 2])
def test_pieces_are_the_whole(alloy_file: Path, processes: int):
    whole = read_configurations(alloy_file)
    readings = list(read_in_pieces(alloy_file, LabelKeys(), processes=processes))
    found = [frame for reading in readings for frame in reading.configurations]
    assert [len(reading.configurations) for reading in readings] == [5, 5, 2]
    assert [frame.origin for frame in found] == [frame.origin for frame in whole]
    for one, other in zip(found, whole, strict=True):
        assert np.array_equal(one.positions, other.positions)
        assert all(np.array_equal(one.labels[name], other.labels[name]) for name in other.labels)


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("processes", [1, 2])
def test_errors_come_with_file_and_frame(alloy_file: Path, tmp_path: Path, processes: int):
    lines = alloy_file.read_text().splitlines()
    broken = [*lines[: 6 * 8 + 3], lines[6 * 8 + 3].replace("Cu", "Xx"), *lines[6 * 8 + 4 :]]
    path = tmp_path / "broken.xyz"
    path.write_text("\n".join(broken) + "\n")
    with pytest.raises(DataError, match=r"broken\.xyz, frame 8, line 52: 'Xx' is no element"):
        list(read_in_pieces(path, LabelKeys(), processes=processes))


@pytest.mark.usefixtures("small_pieces")
def test_labels_under_another_name(alloy_file: Path, tmp_path: Path):
    """A label may be missing in one piece and be there in another, but not be missing everywhere under its name."""
    frames = ase.io.read(alloy_file, ":")
    assert isinstance(frames, list)
    bare = [Atoms(frame.numbers, frame.positions, info={"energy": float(i)}) for i, frame in enumerate(frames)]
    ase.io.write(tmp_path / "some.xyz", [*bare[:5], *frames[5:]])
    assert len(list(read_in_pieces(tmp_path / "some.xyz", LabelKeys()))) == 3
    for frame in frames:
        frame.arrays["REF_forces"] = frame.get_forces()
        frame.info["energy"] = frame.get_potential_energy()
        frame.calc = None
    ase.io.write(tmp_path / "other.xyz", frames)
    with pytest.raises(DataError, match="Did you mean 'REF_forces'"):
        list(read_in_pieces(tmp_path / "other.xyz", LabelKeys(stress=None)))


def test_the_command(alloy_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as stopped:
        main(["data", "pack", str(alloy_file), "--output", str(tmp_path / "pack"), "--units", "energy=kcal/mol"])
    assert stopped.value.code == 0 and "12 configurations, 48 atoms of Cu, Au" in capsys.readouterr().out
    whole, pack = read_configurations(alloy_file, units={"energy": "kcal/mol"}), Pack.open(tmp_path / "pack")
    assert float(pack[7].labels["energy"]) == float(whole[7].labels["energy"])
    for wrong, message in (
        (["--types", "Cu=1"], "--types: expected a number=value"),
        (["--units", "energy"], "--units: expected a name=value"),
    ):
        with pytest.raises(SystemExit) as stopped:
            main(["data", "pack", str(alloy_file), "--output", str(tmp_path / "other"), *wrong])
        assert stopped.value.code == 2
        assert message in " ".join(capsys.readouterr().err.replace("│", " ").split())


@pytest.mark.usefixtures("small_pieces")
def test_packing_says_every_ten_seconds_how_far_it_is(
    alloy_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """By a clock that goes on by six seconds from look to look: one at the start, one after each of three pieces."""
    looks, lines = itertools.count(100, 6), Lines()
    monkeypatch.setattr(packing, "time", SimpleNamespace(monotonic=lambda: next(looks)))
    pack_files([alloy_file], tmp_path / "pack", console=lines)
    said = [line for line in lines.file.getvalue().splitlines() if "read, now" in line]  # type: ignore[attr-defined]
    assert said == [f"10 configurations read, now {alloy_file}"]


@pytest.mark.usefixtures("small_pieces")
def test_a_nan_is_none_if_asked(alloy_file: Path, tmp_path: Path):
    frames = ase.io.read(alloy_file, ":")
    assert isinstance(frames, list)
    frames[3].calc.results["forces"][1, 2] = np.nan
    frames[4].calc.results["energy"] = np.nan
    path = tmp_path / "nan.xyz"
    ase.io.write(path, frames)
    with pytest.raises(DataError, match=r"frame 3: forces must be finite"):
        read_configurations(path)
    whole = read_configurations(path, nan_is_none=True)
    parts = [
        frame for reading in read_in_pieces(path, LabelKeys(), nan_is_none=True) for frame in reading.configurations
    ]
    for found in (whole, parts):
        assert [name for name in ("energy", "forces", "stress") if name in found[3].labels] == ["energy", "stress"]
        assert "energy" not in found[4].labels and "forces" in found[4].labels
