"""Every mistake a user can make is one screen that names the file, the frame or key, and the cure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
import torch
import yaml
from ase import Atoms

from clebsch.cli import main
from clebsch.models import Potential, PotentialConfig
from clebsch.models.presets import linear_ace
from clebsch.models.serialization import save_potential

SCREEN = 24


@pytest.fixture(scope="module")
def potential_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = linear_ace(elements=("Cu", "Au"), r_max=3.5, num_channels=2, l_max=1, correlation=2, num_radial=3)
    path = tmp_path_factory.mktemp("potential") / "potential.safetensors"
    save_potential(Potential(PotentialConfig(model=model), e0={"Cu": 0.0, "Au": 0.0}, dtype=torch.float64), path)
    return path


def error(capsys: pytest.CaptureFixture[str], *arguments: Any, status: int = 1) -> str:
    """The message of a command that fails, unwrapped; it fits a screen and shows no traceback."""
    with pytest.raises(SystemExit) as stopped:
        main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    assert stopped.value.code == status
    assert "Traceback" not in captured.err
    assert len(captured.err.splitlines()) <= SCREEN
    lines = captured.err.splitlines()
    assert lines[0].startswith("╭"), captured.err
    return " ".join(line.strip("│ ") for line in lines[1:-1])


def wrapped(text: str | Path) -> str:
    """A path may have been broken anywhere by the panel."""
    return str(text).replace(" ", "")


def assert_names(message: str, *items: str | Path) -> None:
    for item in items:
        assert wrapped(item) in wrapped(message), f"'{item}' is not in: {message}"


def alloy(path: Path, alloy_file: Path, change: Any = None) -> Path:
    """A copy of the alloy file with one change to its frames."""
    frames = ase.io.read(alloy_file, ":")
    if change is not None:
        change(frames)
    ase.io.write(path, frames)
    return path


def detach(atoms: Atoms, **labels: Any) -> None:
    """Replace the labels of a frame: forces into its arrays, all else into its info."""
    atoms.calc = None
    for name, value in labels.items():
        (atoms.arrays if np.ndim(value) == 2 else atoms.info)[name] = value


def recipe(tmp_path: Path, train: Path, **changes: Any) -> Path:
    mapping = {
        "output": str(tmp_path / "run"),
        "data": {"train": str(train), "valid": 3},
        "model": {"preset": "mace", "r_max": 3.5, "num_channels": 2, "l_max": 1, "L_max": 0, "num_layers": 1},
        "energy": {"e0": "least_squares"},
        "train": {"max_epochs": 1},
    }
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump({**mapping, **changes}))
    return path


def test_missing_label(capsys: pytest.CaptureFixture[str], tmp_path: Path, alloy_file: Path):
    def drop(frames: list[Atoms]) -> None:
        for atoms in frames:
            detach(atoms)

    path = alloy(tmp_path / "bare.xyz", alloy_file, drop)
    message = error(capsys, "train", recipe(tmp_path, path))
    assert_names(message, path, "none of the 12 frames", "energy", "null")


def test_misnamed_label(capsys: pytest.CaptureFixture[str], tmp_path: Path, alloy_file: Path, potential_file: Path):
    def rename(frames: list[Atoms]) -> None:
        for atoms in frames:
            detach(atoms, energy_dft=atoms.get_potential_energy(), forces_dft=atoms.get_forces())

    path = alloy(tmp_path / "named.xyz", alloy_file, rename)
    for arguments in (("train", recipe(tmp_path, path)), ("evaluate", potential_file, path)):
        assert_names(error(capsys, *arguments), path, "'energy'", "energy_dft", "Did you mean")


def test_forces_under_another_name_at_evaluation(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, alloy_file: Path, potential_file: Path
):
    def rename(frames: list[Atoms]) -> None:
        for atoms in frames:
            detach(atoms, energy=atoms.get_potential_energy(), REF_forces=atoms.get_forces())

    path = alloy(tmp_path / "half.xyz", alloy_file, rename)
    assert_names(error(capsys, "evaluate", potential_file, path), path, "'forces'", "REF_forces")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_numbers_that_are_not_finite(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, alloy_file: Path, value: float
):
    def spoil(frames: list[Atoms]) -> None:
        forces = frames[4].get_forces()
        forces[2, 1] = value
        detach(frames[4], energy=0.0, forces=forces)

    path = alloy(tmp_path / "spoilt.xyz", alloy_file, spoil)
    message = error(capsys, "train", recipe(tmp_path, path))
    assert_names(message, path, "frame 4", "atom 2", "forces", "finite", "Remove or recompute")


def test_label_in_some_frames_only(capsys: pytest.CaptureFixture[str], tmp_path: Path, alloy_file: Path):
    path = alloy(tmp_path / "some.xyz", alloy_file, lambda frames: detach(frames[7]))
    message = error(capsys, "train", recipe(tmp_path, path))
    assert_names(message, path, "frame 7", "no label of what is fitted", "leave it out")


def test_unknown_element_at_evaluation(capsys: pytest.CaptureFixture[str], tmp_path: Path, potential_file: Path):
    path = tmp_path / "iron.xyz"
    path.write_text("1\nProperties=species:S:1:pos:R:3 energy=-1.5\nFe 0 0 0\n")
    message = error(capsys, "evaluate", potential_file, path)
    assert_names(message, path, "frame 0", "Fe", "(Cu, Au)", "Use a model that knows this element")


def test_zero_edges(capsys: pytest.CaptureFixture[str], tmp_path: Path, potential_file: Path, alloy_file: Path):
    """At evaluation atoms out of reach of each other are no mistake; a training set of them is."""
    path = tmp_path / "far.xyz"
    path.write_text("2\nProperties=species:S:1:pos:R:3 energy=0.0\nCu 0 0 0\nAu 0 0 20\n")
    with pytest.raises(SystemExit) as stopped:
        main(["evaluate", str(potential_file), str(path), "--json"])
    assert stopped.value.code in (0, None)
    assert '"energy_mae_meV": 0.0' in capsys.readouterr().out
    path = recipe(tmp_path, alloy_file, model={"preset": "linear_ace", "r_max": 1.0})
    assert_names(error(capsys, "train", path), "r_max = 1.0 Å", "nothing to learn", "larger model.r_max")


def test_atoms_too_close(capsys: pytest.CaptureFixture[str], tmp_path: Path, alloy_file: Path):
    def collide(frames: list[Atoms]) -> None:
        labels = {"energy": frames[3].get_potential_energy(), "forces": frames[3].get_forces()}
        frames[3].positions[1] = frames[3].positions[0] + 0.02
        detach(frames[3], **labels)

    path = alloy(tmp_path / "close.xyz", alloy_file, collide)
    message = error(capsys, "train", recipe(tmp_path, path))
    assert_names(message, path, "frame 3", "atoms 0 and 1", "0.1 Å", "remove duplicates")


@pytest.mark.parametrize(("name", "lines"), [("empty.xyz", 0), ("truncated.xyz", 9)])
def test_empty_and_truncated_files(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, alloy_file: Path, name: str, lines: int
):
    path = tmp_path / name
    path.write_text("".join(alloy_file.read_text().splitlines(keepends=True)[:lines]))
    message = error(capsys, "train", recipe(tmp_path, path))
    assert_names(message, path, *(["truncated", "frame 1", "whole file"] if lines else ["no frame"]))


def test_missing_files(capsys: pytest.CaptureFixture[str], tmp_path: Path, alloy_file: Path, potential_file: Path):
    assert_names(error(capsys, "train", tmp_path / "no.yaml", status=2), "no.yaml", "does not exist")
    assert_names(error(capsys, "train", recipe(tmp_path, tmp_path / "no.xyz")), "no.xyz", "no such file")
    assert_names(error(capsys, "evaluate", tmp_path / "no.safetensors", alloy_file, status=2), "no.safetensors")
    typo = alloy_file.with_name("aloy.xyz")
    assert_names(error(capsys, "evaluate", potential_file, typo), "Did you mean 'alloy.xyz'")


def test_e0_missing_for_an_element(capsys: pytest.CaptureFixture[str], tmp_path: Path, alloy_file: Path):
    path = recipe(tmp_path, alloy_file, energy={"e0": {"Cu": 0.0}})
    assert_names(error(capsys, "train", path), "E0", "no entry for Au", "it has Cu", "fit E0")


def test_unknown_key(capsys: pytest.CaptureFixture[str], tmp_path: Path, alloy_file: Path):
    path = recipe(tmp_path, alloy_file)
    message = error(capsys, "train", path, "train.max_epoch=3", "train.optimizer.learning=1", status=2)
    assert_names(message, path, "'train.max_epoch'", "Did you mean 'max_epochs'", "'train.optimizer.learning'")
    assert not (tmp_path / "run").exists()


def test_malformed_override_and_yaml(capsys: pytest.CaptureFixture[str], tmp_path: Path, alloy_file: Path):
    assert_names(error(capsys, "train", recipe(tmp_path, alloy_file), "max_epochs", status=2), "key=value")
    path = tmp_path / "broken.yaml"
    path.write_text("output: [1")
    assert_names(error(capsys, "train", path, status=2), path, "not valid YAML")


def test_checkpoint_of_another_architecture(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, alloy_file: Path, potential_file: Path
):
    path = recipe(tmp_path, alloy_file)
    with pytest.raises(SystemExit) as stopped:
        main(["train", str(path)])
    assert stopped.value.code in (0, None), capsys.readouterr().err
    message = error(capsys, "train", path, "model.num_channels=4", status=2)
    assert_names(message, "model.num_channels", "2", "4", "Give another output")
    # Without the recipe beside it the checkpoint speaks for itself.
    (tmp_path / "run" / "config.yaml").unlink()
    message = error(capsys, "train", path, "model.num_channels=4")
    assert_names(message, "checkpoint.safetensors", "num_channels", "another directory")
    message = error(capsys, "evaluate", tmp_path / "run" / "checkpoint.safetensors", alloy_file)
    assert_names(message, "checkpoint.safetensors", "training checkpoint", "path of a potential")


def test_damaged_potential(capsys: pytest.CaptureFixture[str], tmp_path: Path, alloy_file: Path, potential_file: Path):
    path = tmp_path / "cut.safetensors"
    path.write_bytes(potential_file.read_bytes()[:-100])
    for arguments in (("evaluate", path, alloy_file), ("info", path)):
        assert_names(error(capsys, *arguments), path)


def test_dtype_and_device(capsys: pytest.CaptureFixture[str], potential_file: Path, alloy_file: Path):
    message = error(capsys, "evaluate", potential_file, alloy_file, "--dtype", "float23", status=2)
    assert_names(message, "--dtype", "float23", "Did you mean 'float32'")


def test_override_that_is_no_yaml(capsys: pytest.CaptureFixture[str], tmp_path: Path, alloy_file: Path):
    message = error(capsys, "train", recipe(tmp_path, alloy_file), "data.tests=[a", status=2)
    assert_names(message, "data.tests=[a", "not valid YAML", "brackets")


def test_output_that_is_a_file(capsys: pytest.CaptureFixture[str], tmp_path: Path, alloy_file: Path):
    message = error(capsys, "train", recipe(tmp_path, alloy_file, output=str(alloy_file)), status=2)
    assert_names(message, "output", alloy_file, "Give a folder")


def test_device_that_is_not_there(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, alloy_file: Path, potential_file: Path
):
    for arguments in (
        ("train", recipe(tmp_path, alloy_file, device="cuda:99")),
        ("evaluate", potential_file, alloy_file, "--device", "cuda:99"),
    ):
        assert_names(error(capsys, *arguments), "device", "cuda:99", "Use 'cpu'")


def test_a_folder_or_a_name_where_a_potential_is_expected(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, alloy_file: Path, potential_file: Path
):
    """The folder of a run stands for its potential, a name for one that comes with the library."""

    def printed(*arguments: Any) -> str:
        with pytest.raises(SystemExit) as stopped:
            main([str(argument) for argument in arguments])
        assert not stopped.value.code
        return capsys.readouterr().out

    folder = potential_file.parent
    assert printed("evaluate", potential_file, alloy_file) == printed("evaluate", folder, alloy_file)
    assert "parameters" in printed("info", folder) and "parameters" in printed("info", "acac")
    assert_names(error(capsys, "evaluate", tmp_path, alloy_file, status=2), "is a folder without", "potential.safe")
    assert_names(error(capsys, "evaluate", "acas", alloy_file, status=2), "'acas' is neither a file", "mean 'acac'?")
    assert_names(error(capsys, "evaluate", "acac", alloy_file), "atom 0 is Au", "(H, C, O)")


def test_dynamics(capsys: pytest.CaptureFixture[str], tmp_path: Path, potential_file: Path, alloy_file: Path):
    """What cannot be run is refused before a folder is made."""
    out, water = tmp_path / "run", tmp_path / "water.xyz"
    water.write_text("3\n\nO 0 0 0\nH 0.96 0 0\nH 0 0.96 0\n")
    far = tmp_path / "far.xyz"
    far.write_text("2\n\nCu 0 0 0\nAu 0 0 3\n")
    run = ["--output", out]
    message = error(capsys, "md", potential_file, alloy_file, *run, "--temperature", -3, status=2)
    assert_names(message, "'temperature'", "greater than 0", "-3")
    assert_names(error(capsys, "md", potential_file, water, *run), "atom 0 is O", "(Cu, Au)")
    assert_names(error(capsys, "md", potential_file, far, *run, "--ensemble", "npt"), "npt needs a cell", "pbc")
    assert_names(error(capsys, "md", potential_file, tmp_path / "no.xyz", *run), "no.xyz", "no such file")
    assert_names(error(capsys, "md", "acas", alloy_file, *run, status=2), "Did you mean 'acac'")
    assert_names(error(capsys, "relax", potential_file, far, *run, "--cell"), "Relaxation of the cell needs", "pbc")
    name = tmp_path / "relaxed.nonsense"
    assert_names(error(capsys, "relax", potential_file, far, "--output", name, "--steps", 0), name, "relaxed.xyz")
    assert not out.exists() and not name.exists()
