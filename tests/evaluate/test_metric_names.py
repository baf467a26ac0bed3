"""Metrics have one name each; files of earlier versions are read with theirs."""

from __future__ import annotations

import json

from clebsch.data import QUANTITIES
from clebsch.evaluate.metrics import FORMER_NAMES, compared, present_names, table_cell, table_title
from clebsch.pretrained import pretrained_index
from clebsch.train import read_metrics

NAMES = {
    item.metric(statistic, per_atom=per_atom)
    for item in QUANTITIES.values()
    for statistic in ("rmse", "mae")
    for per_atom in (False, True)
}


def test_names_by_hand():
    assert [item.metric("rmse") for item in QUANTITIES.values()] == [
        "energy_rmse_meV", "forces_rmse_meV_A", "stress_rmse_meV_A3", "dipole_rmse_me_A",
    ]  # fmt: skip
    assert [item.validation_metric for item in QUANTITIES.values()] == [
        "energy_per_atom_rmse_meV", "forces_rmse_meV_A", "stress_rmse_meV_A3", "dipole_per_atom_rmse_me_A",
    ]  # fmt: skip
    assert QUANTITIES["energy"].metric("mae", per_atom=True) == "energy_per_atom_mae_meV"
    assert [item.milli_unit() for item in QUANTITIES.values()] == ["meV", "meV/Å", "meV/Å³", "me Å"]


def test_former_names_become_present_ones():
    results = {
        "errors": {"valid": {"n": 2, "energy_rmse_meV": 1.0, "energy_rmse_meV_per_atom": 0.5, "force_mae_meV_A": None}},
        "groups": [{"mean": {"valid/force_rmse_meV_A": 3.0, "seconds": 1.0}}],
        "force_rmse_meV_A_of_element": {"H": 1.0},
    }
    now = present_names(results)
    assert now == {
        "errors": {
            "valid": {"n": 2, "energy_rmse_meV": 1.0, "energy_per_atom_rmse_meV": 0.5, "forces_mae_meV_A": None}
        },
        "groups": [{"mean": {"valid/forces_rmse_meV_A": 3.0, "seconds": 1.0}}],
        "forces_rmse_meV_A_of_element": {"H": 1.0},
    }
    assert present_names(now) == now
    assert set(FORMER_NAMES.values()) <= NAMES and not set(FORMER_NAMES) & NAMES


def test_metrics_of_earlier_runs_are_read(tmp_path):
    record = {"epoch": 1, "valid_energy_rmse_meV_per_atom": 1.0, "valid_forces_rmse_meV_per_angstrom": 2.0}
    (tmp_path / "metrics.jsonl").write_text(json.dumps(record) + "\n")
    (found,) = read_metrics(tmp_path / "metrics.jsonl")
    assert found == {"epoch": 1, "valid_energy_per_atom_rmse_meV": 1.0, "valid_forces_rmse_meV_A": 2.0}


def test_the_index_of_potentials_has_present_names():
    for entry in pretrained_index().values():
        assert all(set(errors) - {"n"} <= NAMES for errors in entry["errors"].values())


def test_a_table_has_a_number_for_every_quantity_of_any_set():
    sets = [{"energy_rmse_meV": 1.0, "forces_rmse_meV_A": 5.0}, {"energy_rmse_meV": 2.0, "stress_rmse_meV_A3": 0.3}]
    quantities = compared(sets, "rmse")
    assert table_title(quantities, "rmse") == (
        "RMSE, energy (meV per configuration) / forces (meV/Å) / stress (meV/Å³)"
    )
    cells = [table_cell(errors.get(item.metric("rmse")) for item in quantities) for errors in sets]
    assert cells == ["1.00 / 5.00 / –", "2.00 / – / 0.30"]
    assert [item.name for item in compared([{}], "mae")] == ["energy", "forces"]
