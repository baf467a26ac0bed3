"""What a run does with labels, weights, isolated atoms and elements."""

from __future__ import annotations

from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator

from clebsch.cli import main
from clebsch.data import Configuration, LabelKeys
from clebsch.data.quantities import QUANTITIES, STRESS_WEIGHT
from clebsch.errors import ConfigError, DataError
from clebsch.recipe import load_recorded
from clebsch.run import run
from clebsch.run.sets import Sets, read_sets, reference_energies
from small_runs import Lines, recipe


def test_e0_are_fitted_to_the_training_set_alone():
    """The energies of other sets are other numbers altogether."""
    positions = 1.5 * np.arange(3)[:, None] * [1.0, 0.0, 0.0]

    def frames(energy: float) -> list[Configuration]:
        labels = {"energy": np.array(energy)}
        return [Configuration(np.full(count, 29), positions[:count], labels={"energy": count * labels["energy"]})
                for count in (1, 2, 3)]  # fmt: skip

    sets = Sets(frames(-3.0), frames(-50.0), {"new": frames(40.0)}, None)
    assert reference_energies("least_squares", sets, ("Cu",))[0] == pytest.approx({"Cu": -3.0})


def test_weights_of_a_config_type_multiply_those_of_the_frames(alloy_file: Path, tmp_path: Path):
    frames = ase.io.read(alloy_file, ":4")
    for frame, kind in zip(frames, ("slab", "slab", "bulk", "gas"), strict=True):
        frame.info["config_type"] = kind
    frames[1].info["config_weight"] = 3.0
    ase.io.write(tmp_path / "kinds.xyz", frames)
    weights = {"slab": 0.5, "bulk": {"forces": 2.0}}
    data = {"train": str(tmp_path / "kinds.xyz"), "valid": str(alloy_file), "weights": weights}
    found = [frame.weights for frame in read_sets(recipe(alloy_file, tmp_path, data=data).data, 0).train]
    assert found == [dict.fromkeys(QUANTITIES, 0.5), dict.fromkeys(QUANTITIES, 1.5), {"forces": 2.0}, {}]


def test_stress_is_trained_and_judged(alloy_file: Path, tmp_path: Path):
    keys = {"energy": "energy", "forces": "forces", "stress": "stress"}
    data = {"train": str(alloy_file), "valid": 3, "tests": {"same": str(alloy_file)}, "keys": keys}
    train = {"max_epochs": 1, "loss": {"stress_weight": 100.0}}
    assert run(recipe(alloy_file, tmp_path, data=data, train=train)).accuracies["same"]["stress_rmse_meV_A3"] > 0


def test_stress_labels_are_trained_on_unless_the_recipe_says_otherwise(alloy_file: Path, tmp_path: Path):
    lines = Lines()
    found = run(recipe(alloy_file, tmp_path / "a"), console=lines)
    assert "stress_rmse_meV_A3" in found.accuracies["same"].errors
    assert lines.holds("training labels: energy 9, forces 9, stress 9") and not lines.holds("not trained on")
    (record, *_) = found.fit.history
    assert record["train_loss_stress"] > 0
    assert load_recorded(tmp_path / "a" / "config.yaml").train.loss.stress_weight == STRESS_WEIGHT
    train = {"max_epochs": 1, "loss": {"stress_weight": 0.0}}
    found = run(recipe(alloy_file, tmp_path / "b", train=train), console=lines)
    assert "train_loss_stress" not in found.fit.history[0]
    assert lines.holds("not trained on: stress; train.loss.stress_weight is 0")


def test_frames_with_some_of_the_labels(alloy_file: Path, tmp_path: Path):
    """Crystals with all labels or energies alone, molecules with forces alone, one of another weight."""
    frames = ase.io.read(alloy_file, ":")
    for number, frame in enumerate(frames):
        results = dict(frame.calc.results)
        kept = {0: ("energy", "forces", "stress"), 1: ("energy",), 2: ("forces",)}[number % 3]
        if number % 3 == 2:
            frame.pbc, frame.cell = False, np.zeros((3, 3))
        frame.calc = SinglePointCalculator(frame, **{name: results[name] for name in kept})
    frames[0].info["config_weight"] = 2.0
    path, lines = tmp_path / "some.xyz", Lines()
    ase.io.write(path, frames)
    data = {"train": str(path), "valid": 3, "tests": {"same": str(path)}, "weights": {"slab": 0.5}}
    with pytest.raises(ConfigError, match=r"data\.weights: no training configuration has the config_type 'slab'"):
        run(recipe(alloy_file, tmp_path / "a", data=data))
    data.pop("weights")
    found = run(recipe(alloy_file, tmp_path / "b", data=data), console=lines)
    assert lines.holds("training labels: energy")
    assert {"energy_rmse_meV", "forces_rmse_meV_A", "stress_rmse_meV_A3"} <= set(found.accuracies["same"].errors)
    losses = [record[f"train_loss_{name}"] for record in found.fit.history for name in ("energy", "forces", "stress")]
    assert np.isfinite(losses).all() and min(losses) > 0


def test_isolated_atoms_of_other_sets_are_left_aside(alloy_file: Path, tmp_path: Path):
    frames = ase.io.read(alloy_file, ":3")
    free = Atoms("Cu", cell=[12.0] * 3, pbc=True, info={"energy": -45_000.0})
    path, lines = tmp_path / "test.xyz", Lines()
    ase.io.write(path, [*frames, free])
    data = {"train": str(alloy_file), "valid": 3, "tests": {"same": str(path)}}
    found = run(recipe(alloy_file, tmp_path / "a", data=data), console=lines)
    assert found.accuracies["same"].n == 3
    assert lines.holds("isolated atoms: 1 of the same set left aside")


def test_a_fit_of_energies_that_compositions_do_not_determine_says_so(
    alloy_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """And of test sets of other compositions, also later, from the file of the potential."""
    path, lines = tmp_path / "copper.xyz", Lines()
    copper = bulk("Cu", cubic=True)
    copper.calc = EMT()
    copper.get_forces()
    ase.io.write(path, [copper, *ase.io.read(alloy_file, ":2")])
    data = {"train": str(alloy_file), "valid": 3, "tests": {"copper": str(path)}}
    run(recipe(alloy_file, tmp_path / "a", data=data), console=lines)
    assert lines.holds("E0 by least squares: The compositions determine only 1 of 2 combinations of E0")
    said = "1 of 3 configurations have compositions that the fit of E0 does not determine"
    assert lines.holds(f"copper: {said}") and not lines.holds("valid: ")
    with pytest.raises(SystemExit) as stopped:
        main(["evaluate", str(tmp_path / "a" / "potential.safetensors"), str(path)])
    assert stopped.value.code == 0 and f"{path}: {said}" in capsys.readouterr().err


def test_an_unknown_element_in_a_test_set_is_found_before_training(alloy_file: Path, tmp_path: Path):
    path = tmp_path / "silver.xyz"
    path.write_text('1\nProperties=species:S:1:pos:R:3 energy=-1.5 pbc="T T T" Lattice="3 0 0 0 3 0 0 0 3"\nAg 0 0 0\n')
    data = {"train": str(alloy_file), "valid": 3, "tests": {"silver": str(path)}}
    with pytest.raises(DataError, match=r"silver.xyz, frame 0: atom 0 is Ag"):
        run(recipe(alloy_file, tmp_path / "a", data=data))
    assert not (tmp_path / "a").exists()


def test_a_weight_without_labels_stops_before_training(alloy_file: Path, tmp_path: Path):
    train = {"max_epochs": 1, "loss": {"dipole_weight": 1.0}}
    with pytest.raises(DataError, match=r"dipole_weight.*alloy.xyz, frame"):
        run(recipe(alloy_file, tmp_path, train=train))


def test_isolated_atoms_among_the_training_frames(alloy_file: Path, tmp_path: Path):
    frames = ase.io.read(alloy_file, ":")
    for symbol, energy in (("Cu", -1.0), ("Au", -2.0)):
        frames.append(Atoms(symbol, info={"config_type": "IsolatedAtom", "energy": energy}))
    path = tmp_path / "with_atoms.xyz"
    ase.io.write(path, frames)
    data = {"train": str(path), "valid": 0.25}
    result = run(recipe(alloy_file, tmp_path / "run", data=data, energy={"e0": "isolated_atoms"}))
    assert result.statistics.e0 == {"Cu": -1.0, "Au": -2.0}
    assert result.statistics.num_graphs == 9


def test_energies_alone(alloy_file: Path, tmp_path: Path):
    data = {"train": str(alloy_file), "valid": 3, "keys": {"energy": "energy", "forces": None}}
    train = {"max_epochs": 1, "loss": {"energy_weight": 1.0, "forces_weight": 0.0}}
    with pytest.raises(DataError, match=r"energy.scale is 'force_rms'"):
        run(recipe(alloy_file, tmp_path, data=data, train=train))
    energy = {"e0": "least_squares", "scale": "energy_std"}
    result = run(recipe(alloy_file, tmp_path, data=data, train=train, energy=energy))
    assert result.accuracies["valid"].get("forces_rmse_meV_A") is None


def test_labels_under_other_names(alloy_file: Path, tmp_path: Path):
    frames = ase.io.read(alloy_file, ":")
    for atoms in frames:
        energy, forces = atoms.get_potential_energy(), atoms.get_forces()
        atoms.calc = None
        atoms.info["REF_energy"], atoms.arrays["REF_forces"] = energy, forces
    path = tmp_path / "ref.xyz"
    ase.io.write(path, frames)
    keys = LabelKeys(energy="REF_energy", forces="REF_forces")
    data = {"train": str(path), "valid": 3, "keys": keys.model_dump()}
    assert np.isfinite(run(recipe(alloy_file, tmp_path / "a", data=data)).accuracies["valid"]["forces_rmse_meV_A"])
    data["keys"] = {}
    with pytest.raises(DataError, match=r"ref.xyz.*'energy'.*REF_energy"):
        run(recipe(alloy_file, tmp_path / "b", data=data))
