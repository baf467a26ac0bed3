"""Files and recipes are read and examined, by Python and by command; training looks before it starts."""

from __future__ import annotations

import json
from pathlib import Path

import ase.io
import pytest
import yaml
from ase import Atoms

import clebsch
from clebsch.cli import main
from clebsch.doctor import Diagnosis
from clebsch.errors import ConfigError
from clebsch.run import run
from small_runs import Lines, recipe


def checks(found: Diagnosis, *levels: str) -> set[tuple[str, str]]:
    """Check and subject of findings."""
    return {(item.check, item.subject) for item in found.findings if item.level in levels}


def test_sets_of_a_recipe_and_further_files(alloy_file: Path, tmp_path: Path) -> None:
    """The valid part is drawn as in training, the keys hold for other files, and what cannot be read is a finding."""
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe(alloy_file, tmp_path / "run").model_dump(mode="json")))
    broken = tmp_path / "broken.xyz"
    broken.write_text("2\nProperties=species:S:1:pos:R:3\nH 0 0 0\n")
    found = clebsch.diagnose([path, "data.valid=4", broken])
    assert ("reading", str(broken)) in checks(found, "error")
    assert ("copies", "train and same") in checks(found, "warning")  # The test set of this recipe is its training file.
    assert ("unit of length", "valid") in checks(found, "ok")


def test_energies_of_isolated_atoms(alloy_file: Path, tmp_path: Path) -> None:
    frames = ase.io.read(alloy_file, ":")
    for energy, level in ((3.0, "ok"), (-3.0, "warning"), (-3000.0, "error")):
        atoms = [Atoms(symbol, info={"energy": energy, "config_type": "IsolatedAtom"}) for symbol in ("Cu", "Au")]
        path = tmp_path / f"{level}.xyz"
        ase.io.write(path, [*atoms, *frames])
        assert ("energies of isolated atoms", path.name) in checks(clebsch.diagnose([path]), level)


def test_compositions_that_a_fit_of_e0_does_not_determine(tmp_path: Path) -> None:
    """Water alone leaves hydrogen and oxygen open, and oxygen is beyond it; isolated atoms leave nothing to fit."""
    frames = {
        "train": [Atoms("OH2", [[0, 0, 0], [0.8, 0.6, 0], [-0.8, 0.6, 0]], info={"energy": -15.0 - i}) for i in (0, 1)],
        "test": [Atoms("O2", [[0, 0, 0], [0, 0, 1.2]], info={"energy": -12.0})],
        "atoms": [Atoms(symbol, info={"energy": -4.0, "config_type": "IsolatedAtom"}) for symbol in "HO"],
    }
    paths = {name: tmp_path / f"{name}.xyz" for name in ("train", "test", "whole")}
    for name in ("train", "test"):
        ase.io.write(paths[name], frames[name])
    ase.io.write(paths["whole"], [*frames["atoms"], *frames["train"]])
    found = clebsch.diagnose([paths["train"], paths["test"]])
    assert ("fit of E0", "train.xyz") in checks(found, "note") and ("fit of E0", "test.xyz") in checks(found, "warning")
    found = clebsch.diagnose([paths["whole"], paths["test"]])
    assert "fit of E0" not in {item.check for item in found.findings}


def test_what_cannot_be_examined(alloy_file: Path) -> None:
    with pytest.raises(ConfigError, match="nothing to examine"):
        clebsch.diagnose([])
    with pytest.raises(ConfigError, match=r"changes a recipe, but there is none"):
        clebsch.diagnose([alloy_file, "data.valid=3"])
    with pytest.raises(ConfigError, match="One recipe at a time"):
        clebsch.diagnose(["a.yaml", "b.yaml"])


def test_the_command(alloy_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A table, JSON and HTML; status 1 if there is an error."""
    page = tmp_path / "<img src=x>.html"
    with pytest.raises(SystemExit) as stopped:
        main(["doctor", str(alloy_file), "--json", "--html", str(page)])
    found = json.loads(capsys.readouterr().out)
    assert stopped.value.code == 0 and {"level", "check", "subject", "text", "cure"} == set(found["findings"][0])
    assert "unit of stress" in page.read_text()
    with pytest.raises(SystemExit) as stopped:
        main(["doctor", str(tmp_path / "missing.xyz")])
    assert stopped.value.code == 1
    assert "no such file" in " ".join(capsys.readouterr().out.split())


def test_training_looks_at_the_data_first(alloy_file: Path, tmp_path: Path) -> None:
    """What takes a moment to see is said before the first epoch."""
    lines = Lines()
    run(recipe(alloy_file, tmp_path / "run"), console=lines)
    assert lines.holds("stand in both") and lines.holds("clebsch doctor")
