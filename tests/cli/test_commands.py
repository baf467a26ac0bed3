"""The command line: what it prints, how fast it answers, and that it stays as it is."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import ase.io
import pytest
import torch
import yaml
from ase.build import molecule

from clebsch.cli import main
from clebsch.models import Potential, PotentialConfig
from clebsch.models.presets import mace, nequip
from clebsch.models.serialization import save_potential
from clebsch.version import __version__


@pytest.fixture(scope="module")
def potential_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained potential of copper and gold."""
    model = mace(elements=("Cu", "Au"), r_max=3.5, num_channels=4, l_max=1, L_max=1, correlation=2)
    path = tmp_path_factory.mktemp("potential") / "potential.safetensors"
    save_potential(Potential(PotentialConfig(model=model), e0={"Cu": 0.0, "Au": 0.0}, dtype=torch.float64), path)
    return path


@pytest.fixture
def recipe_file(alloy_file: Path, tmp_path: Path) -> Path:
    mapping: dict[str, Any] = {
        "output": str(tmp_path / "run"),
        "data": {"train": str(alloy_file), "valid": 3, "tests": {"same": str(alloy_file)}},
        "model": {"preset": "mace", "r_max": 3.5, "num_channels": 2, "l_max": 1, "L_max": 1, "correlation": 2},
        "energy": {"e0": "least_squares"},
        "train": {"max_epochs": 5},
    }
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(mapping))
    return path


def call(capsys: pytest.CaptureFixture[str], *arguments: Any) -> str:
    """Standard output of a command that succeeds."""
    with pytest.raises(SystemExit) as stopped:
        main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    assert stopped.value.code in (0, None), captured.err
    return captured.out


def test_help_loads_nothing_heavy():
    code = (
        "import sys; from clebsch.cli import main\ntry: main(['--help'])\nfinally: print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert "typer" in done.stderr.split()
    assert not {"torch", "numpy", "ase", "pydantic", "matplotlib", "llvmlite"} & set(done.stderr.split())


def test_the_commands_and_their_options(capsys: pytest.CaptureFixture[str]):
    """An option is added here on purpose or not at all."""
    assert [line.split()[0] for line in call(capsys, "--help").split("Commands:")[1].splitlines() if line] == [
        "train", "doctor", "evaluate", "import", "md", "relax", "phonons", "descriptors", "info", "bench", "sweep",
        "benchmark", "report", "schema", "demo", "compile", "verify", "data", "lammps",
    ]  # fmt: skip
    expected = {
        "train": {"--nproc"},
        "doctor": {"--json", "--html", *(f"--{name}-key" for name in ("energy", "forces", "stress"))},
        "data pack": {
            "--output",
            *(f"--{name}-key" for name in ("energy", "forces", "stress", "dipole")),
            "--units",
            "--types",
            "--nan-is-none",
            "--processes",
        },
        "evaluate": {
            "--json",
            *(f"--{name}-key" for name in ("energy", "forces", "stress", "dipole")),
            "--dtype",
            "--device",
            "--batch-size",
        },
        "compile": {"--output", "--cpu", "--dtype", "--splines", "--compiler", "--header"},
        "verify": set(),
        "lammps build": {"--output", "--lmp", "--headers", "--mpi", "--compiler"},
        "md": {
            "--output",
            "--ensemble",
            "--temperature",
            "--pressure",
            "--timestep",
            "--steps",
            "--seed",
            "--velocities",
            "--thermostat-time",
            "--barostat-time",
            "--every",
            "--hottest",
            "--dtype",
            "--device",
        },
        "relax": {
            "--output",
            "--optimizer",
            "--fmax",
            "--steps",
            "--cell",
            "--pressure",
            "--dtype",
            "--device",
        },
        "phonons": {"--output", "--supercell", "--length", "--displacement", "--symprec", "--device"},
        "descriptors": {"--output", "--layer", "--all", "--dtype", "--device"},
        "import": {
            "--trust",
            "--python",
            "--head",
            "--elements",
            "--inputs",
            "--frames",
            "--settings",
            "--spline",
            "--json",
        },
        "info": set(),
        "report": {"--output"},
        "sweep": {"--engine", "--processes", "--threads", "--address"},
        "benchmark": {"--output", "--data", "--picoseconds"},
        "bench": {
            "--model",
            "--task",
            "--system",
            "--atoms",
            "--batch-size",
            "--dtype",
            "--threads",
            "--backend",
            "--repeats",
            "--keep-memory",
            "--no-keep-memory",
            "--json",
            "--profile",
        },
        "schema": set(),
        "demo": {"--output"},
    }
    for command, options in expected.items():
        words = call(capsys, *command.split(), "--help").replace(",", " ").split()
        assert {word for word in words if word.startswith("--")} - {"--help"} == options


def test_version(capsys: pytest.CaptureFixture[str]):
    assert call(capsys, "--version") == f"clebsch {__version__}\n"


def test_as_a_module():
    result = subprocess.run([sys.executable, "-m", "clebsch", "--version"], capture_output=True, text=True, check=True)
    assert result.stdout == f"clebsch {__version__}\n"


def test_train_with_overrides_then_evaluate(capsys: pytest.CaptureFixture[str], recipe_file: Path, alloy_file: Path):
    output = recipe_file.parent / "other"
    printed = call(capsys, "train", recipe_file, "train.max_epochs=2", f"output={output}")
    assert "9 to train, 3 to validate" in printed
    assert "max_epochs after epoch 2" in printed
    assert f"Saved {output / 'potential.safetensors'}" in printed
    assert not (recipe_file.parent / "run").exists()

    rows = json.loads(call(capsys, "evaluate", output / "potential.safetensors", alloy_file, "--json"))
    results = json.loads((output / "results.json").read_text())
    for name in ("energy_mae_meV", "forces_rmse_meV_A"):
        assert rows[str(alloy_file)][name] == pytest.approx(results["errors"]["same"][name], rel=1e-4)


def test_evaluate_prints_units(capsys: pytest.CaptureFixture[str], potential_file: Path, alloy_file: Path):
    printed = call(capsys, "evaluate", potential_file, alloy_file, "--dtype", "float32", "--batch-size", 5)
    assert all(unit in printed for unit in ("meV/atom", "meV/Å", "forces RMSE by element"))
    assert all(symbol in printed for symbol in ("Cu", "Au"))


def test_evaluate_json_of_several_files(
    capsys: pytest.CaptureFixture[str], potential_file: Path, alloy_file: Path, tmp_path: Path
):
    """One object per file, without the forces of a file that has none."""
    energies = tmp_path / "energies.xyz"
    energies.write_text('2\nProperties=species:S:1:pos:R:3 energy=-1.5 pbc="F F F"\nCu 0 0 0\nAu 0 0 2.5\n')
    rows = json.loads(call(capsys, "evaluate", potential_file, energies, alloy_file, "--json"))
    assert list(rows) == [str(energies), str(alloy_file)]
    for row in rows.values():
        assert {"n", "energy_mae_meV", "energy_rmse_meV", "energy_per_atom_rmse_meV"} <= set(row)
    assert "forces_mae_meV_A" not in rows[str(energies)]
    assert "forces_rmse_meV_A" not in rows[str(energies)]
    assert rows[str(energies)]["n"] == 1
    assert rows[str(alloy_file)]["forces_rmse_meV_A"] > 0


def test_evaluate_with_other_keys(capsys: pytest.CaptureFixture[str], potential_file: Path, tmp_path: Path):
    path = tmp_path / "named.xyz"
    path.write_text("2\nProperties=species:S:1:pos:R:3:f:R:3 E=-1.5\nCu 0 0 0 0 0 1\nAu 0 0 2.5 0 0 -1\n")
    rows = json.loads(
        call(capsys, "evaluate", potential_file, path, "--energy-key", "E", "--forces-key", "f", "--json")
    )
    assert rows[str(path)]["forces_mae_meV_A"] > 0


def test_evaluate_stress(capsys: pytest.CaptureFixture[str], potential_file: Path, alloy_file: Path):
    assert "meV/Å³" in call(capsys, "evaluate", potential_file, alloy_file)
    assert "meV/Å³" not in call(capsys, "evaluate", potential_file, alloy_file, "--stress-key", "")


def test_info_of_a_potential(capsys: pytest.CaptureFixture[str], potential_file: Path):
    printed = call(capsys, "info", potential_file)
    for expected in ("Cu Au", "2 layers × r_max = 7 Å", "body order", "polynomial degree", "0e+1o", "flop per edge"):
        assert expected in printed


def test_info_of_a_recipe(capsys: pytest.CaptureFixture[str], recipe_file: Path):
    printed = call(capsys, "info", recipe_file)
    assert "Cu Au" in printed
    assert "layers.1.readout" in printed
    assert not (recipe_file.parent / "run").exists()


def test_info_counts_the_neighbors_of_the_data(capsys: pytest.CaptureFixture[str], recipe_file: Path):
    """Whatever the sums are normalised by."""
    found = []
    for arguments in ((), ("train.max_epochs=1",), ("train.max_epochs=1", "model.avg_num_neighbors=2.5")):
        path = recipe_file
        if arguments:
            folder = recipe_file.parent / f"run{len(arguments)}"
            call(capsys, "train", recipe_file, *arguments, f"output={folder}")
            path = folder / "potential.safetensors"
        (line,) = [line for line in call(capsys, "info", path).splitlines() if line.startswith("neighbours")]
        found.append(line)
    assert len(set(found)) == 1 and "2.5" not in found[0]


def test_info_of_unbounded_orders(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    model = nequip(elements=("H",), num_channels=2, l_max=1, num_layers=2)
    save_potential(Potential(PotentialConfig(model=model), e0={"H": 0.0}), tmp_path / "gated.safetensors")
    assert "unbounded" in call(capsys, "info", tmp_path / "gated.safetensors")


def test_schema(capsys: pytest.CaptureFixture[str]):
    schema = json.loads(call(capsys, "schema"))
    assert {"output", "data", "model", "energy", "train"} <= set(schema["properties"])
    assert set(schema["required"]) == {"output", "data", "model"}
    assert {"pace_preset", "mace_preset", "FullModel", "GradientFit", "LeastSquaresFit"} <= set(schema["$defs"])
    assert schema["$defs"]["pace_preset"]["properties"]["num_channels"]["type"] == "integer"
    assert schema["additionalProperties"] is False
    # A section without its kind may look like several forms, which is no mistake.
    for section, key in (("GradientFit", "optimizer"), ("FullModel", "radial_basis")):
        assert "anyOf" in (forms := schema["$defs"][section]["properties"][key]) and "oneOf" not in forms
    # The key that picks a form of a section is required in it, or an editor would take one form for another.
    assert "preset" in schema["$defs"]["pace_preset"]["required"]
    assert "method" in schema["$defs"]["LeastSquaresFit"]["required"]


def test_relax_then_dynamics_that_goes_on(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    ase.io.write(tmp_path / "start.xyz", molecule("CH3CH2OH"))
    relaxed, run = tmp_path / "relaxed.xyz", tmp_path / "run"
    printed = call(capsys, "relax", "ethanol", tmp_path / "start.xyz", "--output", relaxed, "--fmax", 0.02)
    assert printed.startswith("converged after ") and f"Saved {relaxed}" in printed
    assert "energy" in ase.io.read(relaxed).calc.results
    with pytest.raises(SystemExit) as stopped:
        main(["relax", "ethanol", str(relaxed), "--output", str(tmp_path / "b.xyz"), "--steps", "1", "--fmax", "1e-9"])
    assert stopped.value.code == 1 and (tmp_path / "b.xyz").exists()
    assert "NOT converged after 1 step:" in capsys.readouterr().out
    arguments = ["md", "ethanol", relaxed, "--output", run, "--ensemble", "nve", "--temperature", 100, "--every", 5]
    assert "temperature: " in call(capsys, *arguments, "--steps", 10)
    assert "Goes on at step 10 of 20" in call(capsys, *arguments, "--steps", 20)
    log = (run / "log.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in log] == ["step", "0", "5", "10", "15", "20"]
