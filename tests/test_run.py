"""The main path: what a run leaves, how it goes on, and what it refuses."""

from __future__ import annotations

import json
import re
import shutil
from io import StringIO
from pathlib import Path
from typing import Any

import ase.io
import pytest
import safetensors.torch
import torch
import yaml
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from rich.console import Console

from clebsch.basis import Gaussian, SmoothCutoff
from clebsch.config import load_yaml
from clebsch.data import read_configurations
from clebsch.errors import ClebschError, ConfigError, DataError
from clebsch.evaluation import evaluate
from clebsch.models import MultiACEConfig
from clebsch.models.presets import PRESETS, mace
from clebsch.models.serialization import load_potential
from clebsch.models.tensor_file import read_tensor_file
from clebsch.recipe import FullModel, PresetModel, RunConfig, load_recipe, load_recorded, parse_recipe
from clebsch.run import RunResult, run
from clebsch.run.main import build_potential
from clebsch.training.checkpoint import CHECKPOINT, CHECKPOINT_NAME
from small_runs import MACE, recipe

ROOT = Path(__file__).resolve().parents[1]
RECIPES = sorted((ROOT / "recipes").glob("*.yaml"))


@pytest.fixture(scope="module")
def finished(alloy_file: Path, tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    return run(recipe(alloy_file, tmp_path_factory.mktemp("run") / "a"))


def test_what_a_run_leaves(finished: RunResult):
    names = {path.name for path in finished.directory.iterdir()}
    assert names == {
        "checkpoint.safetensors", "config.yaml", "learning_curve.png", "metrics.jsonl", "parity.png",
        "potential.safetensors", "results.json",
    }  # fmt: skip
    results = json.loads((finished.directory / "results.json").read_text())
    assert set(results["errors"]) == {"valid", "same"}
    assert results["errors"]["same"]["n"] == 12
    assert results["statistics"]["num_graphs"] == 9
    assert len((finished.directory / "metrics.jsonl").read_text().splitlines()) == 2


def test_the_saved_potential_is_the_judged_one(finished: RunResult, alloy_file: Path):
    loaded = load_potential(finished.directory / "potential.safetensors")
    again = evaluate(loaded, read_configurations(alloy_file))
    assert again["forces_rmse_meV_A"] == pytest.approx(finished.accuracies["same"]["forces_rmse_meV_A"], rel=1e-5)
    assert loaded.elements == ("Cu", "Au")


def test_the_recorded_recipe_repeats_the_run(finished: RunResult, tmp_path: Path):
    recorded = finished.directory / "config.yaml"
    again = run(load_recipe(recorded, [f"output={tmp_path / 'b'}"]))
    assert again.accuracies == finished.accuracies
    assert load_yaml(tmp_path / "b" / "config.yaml") == {**load_yaml(recorded), "output": str(tmp_path / "b")}


def test_going_on_is_exact(finished: RunResult, alloy_file: Path, tmp_path: Path):
    train = {"batch_size": 3, "loss": {"energy_weight": 1.0, "forces_weight": 10.0}}
    run(recipe(alloy_file, tmp_path / "c", train={**train, "max_epochs": 1}))
    resumed = run(recipe(alloy_file, tmp_path / "c", train={**train, "max_epochs": 2}))
    assert resumed.accuracies == finished.accuracies


def test_the_seed_reaches_weights_and_shuffling(finished: RunResult, alloy_file: Path, tmp_path: Path):
    config = recipe(alloy_file, tmp_path / "a", seed=5, train={"max_epochs": 1})
    _, header = read_tensor_file(run(config).directory / CHECKPOINT_NAME, CHECKPOINT)
    assert header["identity"]["seed"] == 5
    first, same, other = (
        build_potential(config.model_copy(update={"seed": seed}), finished.statistics).model.embedding
        for seed in (5, 5, 6)
    )
    assert torch.equal(first, same) and not torch.equal(first, other)


def test_other_settings_in_the_same_folder(finished: RunResult, alloy_file: Path):
    with pytest.raises(ConfigError, match=r"other settings(.|\n)*model.num_channels: 4 .* 6 now(.|\n)*another output"):
        run(recipe(alloy_file, finished.directory, model={**MACE, "num_channels": 6}))


def test_a_recipe_recorded_by_an_earlier_version(finished: RunResult, alloy_file: Path, tmp_path: Path):
    """When all optimisers and radial bases had all options: the run goes on, unless one was set that is no more."""
    shutil.copytree(finished.directory, tmp_path / "run")
    path = tmp_path / "run" / "config.yaml"
    recorded = load_yaml(path)
    recorded["train"]["optimizer"]["momentum"] = 0.95
    path.write_text(yaml.safe_dump(recorded))
    with pytest.raises(ConfigError, match=r"unknown key 'train\.optimizer\.momentum'"):
        load_recipe(path)
    assert load_recorded(path) == load_recipe(finished.directory / "config.yaml")
    assert run(recipe(alloy_file, tmp_path / "run")).accuracies == finished.accuracies
    recorded["train"]["optimizer"]["momentum"] = 0.9
    path.write_text(yaml.safe_dump(recorded))
    with pytest.raises(ConfigError, match=r"unknown key 'train\.optimizer\.momentum'"):
        load_recorded(path)
    basis = {"kind": "gaussian", "num": 4, "trainable": False, "decay": 0.0, "cutoff": {"kind": "smooth", "p": 5}}
    path.write_text(
        yaml.safe_dump({**recorded, "model": {"layers": [{"hidden_irreps": "0e"}], "radial_basis": basis}, "train": {}})
    )
    model = load_recorded(path).model
    assert isinstance(model, FullModel) and model.radial_basis == Gaussian(num=4, cutoff=SmoothCutoff())


def test_a_recipe_is_read_without_making_classes(alloy_file: Path, tmp_path: Path):
    assert type(recipe(alloy_file, tmp_path)) is RunConfig


def test_a_preset_that_has_changed(finished: RunResult, alloy_file: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(PRESETS, "mace", lambda **sizes: mace(**{**sizes, "correlation": 1}))
    with pytest.raises(ConfigError, match=r"of another model than its recipe stands for now: a preset has changed"):
        run(recipe(alloy_file, finished.directory))


def test_what_killed_writers_left_is_removed(finished: RunResult, alloy_file: Path, tmp_path: Path):
    folder = shutil.copytree(finished.directory, tmp_path / "run")
    for name in ("checkpoint.safetensors", "results.json", "config.yaml", "metrics.jsonl", "parity.png"):
        (folder / f".{name}.123.tmp").write_text("half")
    (folder / ".report.html.123.tmp").write_text("of another writer")
    run(recipe(alloy_file, folder))
    assert [path.name for path in folder.glob(".*")] == [".report.html.123.tmp"]


def test_a_run_of_which_only_the_checkpoint_before_is_left(finished: RunResult, alloy_file: Path, tmp_path: Path):
    """Such as one that was killed between two renames; other settings are refused as ever."""
    folder = tmp_path / "run"
    folder.mkdir()
    shutil.copy(finished.directory / "config.yaml", folder)
    shutil.copy(finished.directory / "checkpoint.safetensors", folder / "checkpoint.previous.safetensors")
    with pytest.raises(ConfigError, match="other settings"):
        run(recipe(alloy_file, folder, model={**MACE, "num_channels": 6}))
    console = Console(file=StringIO(), width=300)
    assert run(recipe(alloy_file, folder), console=console).accuracies == finished.accuracies
    assert "All 2 epochs are done" in console.file.getvalue()  # type: ignore[attr-defined]


def test_a_damaged_potential_is_written_again(finished: RunResult, alloy_file: Path, tmp_path: Path):
    folder = shutil.copytree(finished.directory, tmp_path / "run")
    path = folder / "potential.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    assert run(recipe(alloy_file, folder)).accuracies == finished.accuracies
    load_potential(path)


def test_no_error_advises_to_remove_a_folder():
    texts = {path: path.read_text() for path in (ROOT / "src").rglob("*.py")}
    assert not [path for path, text in texts.items() if re.search(r"(remove|delete) (that|the|this) folder", text)]


def test_reference_frames_hold_every_element(alloy_file: Path, tmp_path: Path):
    """Here only one frame of the training set has gold."""
    frames = list(ase.io.read(alloy_file, ":"))
    bare = [atoms for atoms in frames if "Au" not in atoms.get_chemical_symbols()]
    gold = next(atoms for atoms in frames if "Au" in atoms.get_chemical_symbols())
    copper = bare or [_all_copper(atoms) for atoms in frames if atoms is not gold]
    ase.io.write(tmp_path / "train.xyz", [*copper[:-3], gold])
    ase.io.write(tmp_path / "valid.xyz", copper[-3:])
    data = {"train": str(tmp_path / "train.xyz"), "valid": str(tmp_path / "valid.xyz")}
    folder = run(recipe(alloy_file, tmp_path / "run", data=data)).directory
    tensors = safetensors.torch.load_file(folder / "potential.safetensors")
    assert tensors["frames.num_atoms"].tolist() == [len(atoms) for atoms in (*copper[-3:], gold)]
    assert set(tensors["frames.numbers"].tolist()) == {29, 79}


def _all_copper(atoms: Atoms) -> Atoms:
    results = atoms.calc.results  # type: ignore[union-attr]
    changed = atoms.copy()
    changed.set_chemical_symbols(["Cu"] * len(atoms))
    changed.calc = SinglePointCalculator(changed, **{name: results[name] for name in ("energy", "forces")})
    return changed


def test_folder_of_a_run_that_came_to_nothing(alloy_file: Path, tmp_path: Path):
    data = {"train": str(alloy_file), "valid": 0}
    with pytest.raises(DataError, match="validation set is empty"):
        run(recipe(alloy_file, tmp_path / "d", data=data))
    assert run(recipe(alloy_file, tmp_path / "d", data={**data, "valid": 3})).directory == tmp_path / "d"


def test_linear_ace_by_least_squares(alloy_file: Path, tmp_path: Path):
    model = {"preset": "linear_ace", "r_max": 4.0, "num_channels": 4, "l_max": 2, "correlation": 2}
    train = {"method": "least_squares", "ridges": [1e-8]}
    first = run(recipe(alloy_file, tmp_path, model=model, train=train, dtype="float64"))
    assert first.accuracies["same"]["forces_rmse_meV_A"] < 100
    assert not (tmp_path / "checkpoint.safetensors").exists()
    assert run(recipe(alloy_file, tmp_path, model=model, train=train, dtype="float64")).accuracies == first.accuracies


def test_least_squares_needs_a_linear_model(alloy_file: Path, tmp_path: Path):
    with pytest.raises(ConfigError, match="linear_ace"):
        run(recipe(alloy_file, tmp_path, train={"method": "least_squares"}))


def test_a_finished_run_is_judged_on_other_sets(finished: RunResult, alloy_file: Path, tmp_path: Path):
    """And its training file may move: its content is what counts."""
    moved = tmp_path / "moved.xyz"
    shutil.copy(alloy_file, moved)
    folder = tmp_path / "a"
    shutil.copytree(finished.directory, folder)
    data = {"train": str(moved), "valid": 3, "tests": {"again": str(moved)}}
    found = run(recipe(alloy_file, folder, data=data))
    assert set(found.accuracies) == {"valid", "again"}
    assert found.accuracies["again"] == finished.accuracies["same"]
    assert len((folder / "metrics.jsonl").read_text().splitlines()) == 2
    ase.io.write(moved, ase.io.read(alloy_file, ":")[::-1])
    recorded = (folder / "config.yaml").read_text()
    assert "again" in recorded
    with pytest.raises(ClebschError, match="training set"):
        run(recipe(alloy_file, folder, data={**data, "tests": {"other": str(moved)}}))
    assert (folder / "config.yaml").read_text() == recorded


def test_atomic_numbers_name_elements(alloy_file: Path, tmp_path: Path):
    assert recipe(alloy_file, tmp_path, energy={"e0": {29: -1.0, "Au": -2.0}}).energy.e0 == {"Cu": -1.0, "Au": -2.0}
    for e0, said in (({29: -1.0, "Cu": -2.0}, "29 and Cu name one element"), ({"²": 1.0}, "'²' is no element")):
        with pytest.raises(ConfigError, match=said):
            recipe(alloy_file, tmp_path, energy={"e0": e0})


@pytest.mark.parametrize(
    ("e0", "message"),
    [
        ("isolated_atoms", "no isolated atom"),
        ("least_sqares", "Did you mean 'least_squares'"),
        ({"Cu": -1.0}, "no entry for Au"),
        ({"Cu": -1000.0, "Au": -1000.0}, "another method or unit"),
    ],
)
def test_reference_energies_that_do_not_fit(alloy_file: Path, tmp_path: Path, e0: Any, message: str):
    with pytest.raises(ClebschError, match=message):
        run(recipe(alloy_file, tmp_path, energy={"e0": e0}))


def test_a_cutoff_without_neighbours(alloy_file: Path, tmp_path: Path):
    with pytest.raises(DataError, match=r"closer than r_max = 0.5 Å.*larger model.r_max"):
        run(recipe(alloy_file, tmp_path, model={**MACE, "r_max": 0.5}))


def test_the_core_begins_where_the_data_end(alloy_file: Path, tmp_path: Path):
    """At 0.95 of the shortest distance of every pair; what is trained on is not changed."""
    energy = {"e0": "least_squares", "repulsion": "core"}
    console = Console(file=StringIO(), width=200)
    result = run(recipe(alloy_file, tmp_path / "a", energy=energy), console=console)
    shortest = result.statistics.shortest_distances
    assert set(shortest) <= {"Cu-Cu", "Cu-Au", "Au-Au"} and 2 < shortest["Cu-Cu"] < 2.6
    assert result.potential.config.core_radii == {pair: 0.95 * distance for pair, distance in shortest.items()}
    said = re.findall(r"([A-Z][a-z]-[A-Z][a-z]) (\d\.\d\d)(\*?)", console.file.getvalue())
    bonds = {"Cu-Cu": 2.64, "Cu-Au": 2.68, "Au-Cu": 2.68, "Au-Au": 2.72}  # sums of covalent radii
    assert {pair for pair, _, _ in said} == set(shortest)
    assert all((float(radius) > bonds[pair]) == bool(mark) for pair, radius, mark in said)
    bare = run(recipe(alloy_file, tmp_path / "b", energy={"e0": "least_squares"}))
    assert result.accuracies["same"] == bare.accuracies["same"]


@pytest.mark.parametrize(
    ("flags", "repulsion"),
    [({"zbl": True, "core": False}, "zbl"), ({"zbl": False, "core": True}, "core"), ({"zbl": False}, "none")],
)
def test_flags_of_recorded_recipes_are_one_choice_now(
    flags: dict[str, bool], repulsion: str, alloy_file: Path, tmp_path: Path
):
    recorded = recipe(alloy_file, tmp_path / "run").model_dump(mode="json")
    del recorded["energy"]["repulsion"]
    recorded["energy"].update(flags)
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(recorded))
    assert load_recorded(path).energy.repulsion == repulsion
    with pytest.raises(ConfigError, match=r"unknown key 'energy\.zbl'.*Known keys: .*repulsion"):
        load_recipe(path)


def test_a_sum_that_is_not_divided_has_no_number_of_neighbors(alloy_file: Path, tmp_path: Path):
    model = {"layers": [{"hidden_irreps": "0e", "readout": "linear"}], "avg_num_neighbors": 5}
    with pytest.raises(ConfigError, match="key 'model': neighbor_normalization is none, so the sum is not divided"):
        recipe(alloy_file, tmp_path, model={**model, "neighbor_normalization": "none"})
    for divided in (model, {"preset": "clebsch", "size": "S", "avg_num_neighbors": 5}):
        assert recipe(alloy_file, tmp_path, model=divided).model.build(("H",), 9.0).avg_num_neighbors == 5


def test_errors_of_a_preset_name_the_key(alloy_file: Path, tmp_path: Path):
    with pytest.raises(ConfigError, match="key 'model': r_max: Input should be greater than 0"):
        recipe(alloy_file, tmp_path, model={"preset": "clebsch", "r_max": 0})


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_shipped_recipes_are_valid(path: Path):
    config = load_recipe(path)
    assert config.output.name == {"rmd17": "rmd17_aspirin"}.get(path.stem, path.stem)
    assert isinstance(config.model.build(("H", "C", "O")), MultiACEConfig)


def test_the_recipes_that_the_docs_name_are_there():
    texts = [path.read_text() for path in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]]
    named = {name for text in texts for name in re.findall(r"recipes/[\w/]+\.yaml", text)}
    assert len(named) > 10 and not [name for name in named if not (ROOT / name).is_file()]


@pytest.mark.parametrize("name", PRESETS)
def test_presets_take_the_arguments_of_their_functions(alloy_file: Path, name: str):
    model = recipe(alloy_file, Path("a"), model={"preset": name, "r_max": 4.5}).model
    assert isinstance(model, PresetModel)
    assert model.build(("H", "O"), 7.0) == PRESETS[name](elements=("H", "O"), r_max=4.5).model_copy(
        update={"avg_num_neighbors": 7.0}
    )


def test_a_full_model(alloy_file: Path, tmp_path: Path):
    layer = {"hidden_irreps": "0e+1o", "correlation": 2, "readout": "mlp", "radial": {"kind": "linear"}}
    result = run(recipe(alloy_file, tmp_path, model={"r_max": 3.0, "num_channels": 4, "layers": [layer]}))
    model = result.potential.config.model
    assert model.elements == ("Cu", "Au")
    assert model.avg_num_neighbors == pytest.approx(result.statistics.average_num_neighbors)
    assert model.layers[0].radial.kind == "linear"


def test_a_full_model_may_fix_what_data_would_give(alloy_file: Path):
    given = {"layers": [{"hidden_irreps": "0e"}], "elements": ["H", "Cu", "Au"], "avg_num_neighbors": 9.0}
    model = recipe(alloy_file, Path("a"), model=given).model
    assert isinstance(model, FullModel)
    built = model.build(("Cu", "Au"), 5.0)
    assert (built.elements, built.avg_num_neighbors) == (("H", "Cu", "Au"), 9.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"modl": {}}, "unknown key 'modl'. Did you mean 'model'"),
        ({"model": {"preset": "pce"}}, "model.preset.*linear_ace, nequip, botnet, mace, pace.*Did you mean 'pace'"),
        ({"model": {"preset": "pace", "num_chanels": 4}}, "model.num_chanels'. Did you mean 'num_channels'"),
        ({"model": {"preset": "pace", "num_channels": 5}}, "num_channels 5 is not a multiple"),
        ({"model": {"preset": "mace", "r_max": -1}}, "greater than 0"),
        ({"train": {"method": "gradiant"}}, "train.method.*Did you mean 'gradient'"),
        ({"train": {"loss": {"energy_wight": 1}}}, "train.loss.energy_wight'. Did you mean 'energy_weight'"),
        ({"data": {"dataset": "acac", "test": []}}, "data.test'. Did you mean 'tests'"),
        ({"data": {"train": "a.xyz", "keys": {"enrgy": "E"}}}, "data.keys.enrgy'. Did you mean 'energy'"),
        ({"dtype": "float16"}, "float32"),
    ],
)
def test_mistakes_in_a_recipe(alloy_file: Path, changes: dict, message: str):
    with pytest.raises(ConfigError, match=message):
        recipe(alloy_file, Path("a"), **changes)


def test_a_dataset_by_name(data_root: Path, tmp_path: Path):
    data = {"dataset": "acac", "root": str(data_root), "valid": 450, "tests": ["test_H_transfer"]}
    model = {"preset": "mace", "num_channels": 2, "l_max": 1, "L_max": 0, "num_layers": 1, "correlation": 2}
    mapping = {"output": str(tmp_path), "data": data, "model": model, "train": {"max_epochs": 1, "batch_size": 25}}
    result = run(parse_recipe(mapping))
    assert result.statistics.e0["H"] == pytest.approx(-13.568, abs=1e-3)
    assert result.accuracies["test_H_transfer"].n == 15
    assert result.accuracies["test_H_transfer"].get("forces_rmse_meV_A") is None
