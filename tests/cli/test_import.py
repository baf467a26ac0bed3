"""``clebsch import``: safetensors and pickles in, a potential and a report out."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from clebsch.cli import main
from clebsch.data import Configuration
from clebsch.errors import CheckpointError
from clebsch.interop import ImportOptions, compare, import_published, read_published
from clebsch.interop.confinement import find_confinement, run_published
from clebsch.interop.importing import random_frames, real_frames
from clebsch.models.serialization import load_potential, read_potential_header

FIXTURES = Path(__file__).parents[1] / "exactness" / "fixtures"


def run(*arguments: object) -> None:
    with pytest.raises(SystemExit) as end:
        main(["import", *map(str, arguments)])
    assert end.value.code == 0


def test_a_state_dict_with_its_results(tmp_path, capsys):
    output = tmp_path / "potential.safetensors"
    run("mace", FIXTURES / "mace_density.safetensors", output, "--head", "two", "--json")
    report = json.loads(capsys.readouterr().out)
    assert report["heads"] == ["two", "one"] and len(report["parity"]) == 8 and report["largest"] < 1e-10
    model = read_published(FIXTURES / "mace_density.safetensors")
    for head in ("one", "two"):
        potential = load_potential(output, head=head)
        found = [compare(potential, frame).largest for frame in model.frames if frame.head == head]
        assert len(found) == 4 and max(found) < 1e-10
    imported = read_potential_header(output)["metadata"]["imported"]
    assert imported["code"] == "mace" and "mace-torch 0.3.16" in imported["source"]


def test_the_table_and_splines(tmp_path, capsys):
    output = tmp_path / "potential.safetensors"
    run("nequip", FIXTURES / "nequip.safetensors", output, "--spline", 64)
    shown = " ".join(capsys.readouterr().out.split())
    assert "nequip.safetensors, frame 2" in shown
    assert "largest relative differences to mir-group/nequip (nequip 0.19.1)" in shown and "Saved" in shown
    assert load_potential(output).config.model.spline_intervals == 64


def test_inputs_of_structures(tmp_path):
    options = ImportOptions(inputs={"total_charge": 1, "total_spin": 2})
    report = import_published("mace", FIXTURES / "mace_omol.safetensors", tmp_path / "a.safetensors", options)
    assert report.heads == ("omol",) and report.largest < 1e-10
    other = ImportOptions(inputs={"total_charge": 1, "total_spin": 3})
    with pytest.raises(CheckpointError, match=r"does not give what mace-torch .* gives: .*Nothing was saved"):
        import_published("mace", FIXTURES / "mace_omol.safetensors", tmp_path / "b.safetensors", other)
    assert not (tmp_path / "b.safetensors").exists()


def error_of(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    with pytest.raises(SystemExit):
        main(["import", *map(str, arguments)])
    return " ".join(capsys.readouterr().err.replace("│", " ").split())


def test_what_is_refused(tmp_path, capsys):
    pickle, out = tmp_path / "mace.model", tmp_path / "out.safetensors"
    pickle.write_bytes(b"no matter what")
    assert "give --trust" in error_of(capsys, "mace", pickle, out)
    assert "expected the path of a Python" in error_of(capsys, "mace", pickle, out, "--trust", "--python", "no-python")
    assert "could not be read by" in error_of(capsys, "mace", pickle, out, "--trust")
    assert "'missing.model' is no file" in error_of(capsys, "mace", "missing.model", out, "--trust")
    assert "expected one of mace, pace" in error_of(capsys, "allegro", pickle, out)
    density = FIXTURES / "mace_density.safetensors"
    assert "--head: expected one of one, two, got 'x'" in error_of(capsys, "mace", density, out, "--head", "x")
    assert "=an integer, separated by commas" in error_of(capsys, "mace", density, out, "--inputs", "total_charge=much")
    botnet = FIXTURES / "botnet.safetensors"
    assert "read with all elements" in error_of(capsys, "botnet", botnet, out, "--elements", "H")
    settings = tmp_path / "settings.json"
    settings.write_text("[1]")
    assert "expected an object of settings" in error_of(capsys, "mace", density, out, "--settings", settings)
    assert not out.exists()


def pickled_state(name: str, path: Path) -> dict[str, object]:
    """A pickle of the state_dict of a fixture, and its settings."""
    model = read_published(FIXTURES / f"{name}.safetensors")
    torch.save({key: torch.from_numpy(np.array(value)) for key, value in model.state.items()}, path)
    return {key: value for key, value in model.hyper.items() if key != "frame_heads"}


def test_a_pickle_is_read_in_another_process(tmp_path, capsys):
    """Of codes whose models are not evaluated, the weights come back; the settings are given."""
    pickle, settings, output = tmp_path / "pace.pt", tmp_path / "pace.json", tmp_path / "pace.safetensors"
    settings.write_text(json.dumps(pickled_state("pace", pickle)))
    run("pace", pickle, output, "--trust", "--settings", settings)
    assert "nothing was compared" in capsys.readouterr().out
    model = read_published(FIXTURES / "pace.safetensors")
    potential = load_potential(output)
    assert max(compare(potential, frame, average_energy=model.average_energy).largest for frame in model.frames) < 1e-10


def test_a_bare_state_dict_with_given_settings(tmp_path):
    from safetensors.numpy import save_file

    model = read_published(FIXTURES / "mace.safetensors")
    save_file({name: np.ascontiguousarray(value) for name, value in model.state.items()}, tmp_path / "bare.safetensors")
    options = ImportOptions(settings=model.hyper)
    report = import_published("mace", tmp_path / "bare.safetensors", tmp_path / "out.safetensors", options)
    assert not report.parity and np.isnan(report.largest)
    assert compare(load_potential(tmp_path / "out.safetensors"), model.frames[0]).largest < 1e-10


class Harm:
    """A pickle that makes a file and then has a state_dict."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self):
        return os.system, (f"touch '{self.target}'",)


def test_unpickled_code_does_no_harm(tmp_path):
    if "read-only" not in find_confinement().description:
        pytest.skip("this system has no namespaces for users")
    target, pickle = tmp_path / "harm", tmp_path / "harm.pt"
    torch.save({"state_dict": {"a": torch.ones(2)}, "harm": Harm(target)}, pickle)
    model, description = run_published("pace", pickle, sys.executable, frames=[], settings={"e3nn": "0.4.4"})
    assert model.state["a"].tolist() == [1, 1] and "no network" in description
    assert not target.exists()


def test_frames_that_are_compared():
    names = {frame.origin for frame in real_frames(("H", "C", "O", "Cu"))}
    assert names == {"H2O", "CH3CH2OH", "C6H6", "Cu"}
    frames = random_frames(("H", "O"))
    assert all(isinstance(frame, Configuration) and {"H", "O"} >= set(frame.symbols) for frame in frames)
    assert [frame.num_atoms for frame in frames] == [6, 6, 1]
