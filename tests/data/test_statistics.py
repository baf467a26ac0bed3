"""Statistics and reference energies against values worked out by hand."""

from __future__ import annotations

import dataclasses
import resource
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms

from clebsch.data import (
    Configuration,
    build_graphs,
    compute_statistics,
    find_elements,
    fit_e0,
    load_dataset,
    undetermined,
)
from clebsch.errors import DataError

E0 = {"H": -13.5, "O": -2041.0}


def molecule(formula: str, energy: float | None, force: float = 0.0) -> Configuration:
    numbers = Atoms(formula).numbers
    positions = np.arange(len(numbers))[:, None] * [1.0, 0.0, 0.0]
    labels = {"forces": np.full((len(numbers), 3), force), **({} if energy is None else {"energy": energy})}
    return Configuration(numbers, positions, labels=labels, origin=formula)


def reference(formula: str) -> float:
    return sum(E0[symbol] for symbol in Atoms(formula).get_chemical_symbols())


def test_statistics_by_hand():
    configurations = [molecule("H2", reference("H2") - 4.0, 1.0), molecule("OH2", reference("OH2") - 12.0, -2.0)]
    found = compute_statistics(build_graphs(configurations, ("H", "O"), 1.5), ("H", "O"), E0)
    assert found.e0 == E0
    assert found.average_num_neighbors == pytest.approx((2 + 4) / 5)
    assert found.force_rms == pytest.approx(np.sqrt((2 * 1 + 3 * 4) / 5))
    assert found.energy_mean_per_atom == pytest.approx(-3.0)
    assert found.energy_std_per_atom == pytest.approx(1.0)
    assert (found.num_graphs, found.num_atoms) == (2, 5)
    distances = [configurations[0].to_atoms().get_distance(0, 1), configurations[1].to_atoms().get_distance(0, 1)]
    assert found.shortest_distances == pytest.approx({"H-H": distances[0], "H-O": distances[1]})


def test_statistics_without_labels_or_edges():
    lonely = dataclasses.replace(molecule("H", None), labels={})
    found = compute_statistics(build_graphs([lonely], ("H",), 5.0), ("H",), {"H": 0.0})
    assert (found.force_rms, found.energy_mean_per_atom, found.energy_std_per_atom) == (None, None, None)
    assert found.average_num_neighbors == 0.0


def test_precision_of_large_energies():
    """The spread of 1e-7 eV on energies of 1e5 eV survives."""
    configurations = [molecule("H2", -1e5 + shift) for shift in (0.0, 2e-7)]
    found = compute_statistics(build_graphs(configurations, ("H",), 1.5), ("H",), {"H": -5e4})
    assert found.energy_std_per_atom == pytest.approx(5e-8, rel=1e-3)


def test_e0_must_fit_the_elements_and_the_energies():
    graphs = build_graphs([molecule("OH2", reference("OH2"))], ("H", "O"), 1.5)
    with pytest.raises(DataError, match=r"E0 has no entry for O; it has H.*fit E0"):
        compute_statistics(graphs, ("H", "O"), {"H": -13.5})
    with pytest.raises(DataError, match=r"mean energy is -68.* eV per atom; expected a few eV"):
        compute_statistics(graphs, ("H", "O"), {"H": -1.1, "O": -1.5})
    assert compute_statistics(graphs, ("H", "O"), {"H": 0.0, "O": 0.0}).energy_mean_per_atom is not None
    with pytest.raises(DataError, match="at least one graph"):
        compute_statistics([], ("H",), E0)


def test_fit_finds_e0():
    fit = fit_e0([molecule(formula, reference(formula)) for formula in ("H2", "OH2", "O2", "O3")], ("H", "O"))
    assert fit.e0 == pytest.approx(E0)
    assert (fit.rank, fit.note) == (2, "The compositions determine every E0.")
    assert fit.rmse_per_atom == pytest.approx(0.0, abs=1e-9)


def test_every_energy_counts_alike_in_a_fit_whatever_the_size():
    """Of (2 x + 10)^2 + (4 x + 40)^2 the least is at x = -9; energies per atom would have x = -7.5."""
    fit = fit_e0([molecule("H2", -10.0), molecule("H4", -40.0)], ("H",))
    assert fit.e0 == pytest.approx({"H": -9.0})
    assert fit.rmse_per_atom == pytest.approx(np.sqrt((4.0**2 + 1.0**2) / 2))


def test_fit_of_one_composition_is_of_smallest_norm():
    fit = fit_e0([molecule("OH2", -300.0), molecule("OH2", -306.0)], ("H", "O"))
    assert fit.rank == 1
    assert "determine only 1 of 2" in fit.note
    assert fit.e0 == pytest.approx({"H": -303.0 * 2 / 5, "O": -303.0 * 1 / 5})
    assert fit.rmse_per_atom == pytest.approx(1.0)


def test_compositions_that_a_fit_does_not_determine():
    elements = ("H", "O")
    fit = fit_e0([molecule("OH2", -300.0), molecule("OH2", -306.0)], elements)
    same, other = [molecule("OH2", 0.0), molecule("O2H4", 0.0)], [molecule("O2", 0.0), molecule("OH2", 0.0)]
    assert undetermined(fit.compositions, elements, same) is None
    assert "1 of 2 configurations have compositions" in str(undetermined(fit.compositions, elements, other))
    whole = fit_e0([molecule("OH2", -300.0), molecule("H2", -27.0)], elements)
    assert undetermined(whole.compositions, elements, other) is None


def test_energies_of_weight_zero_play_no_part():
    bad = dataclasses.replace(molecule("OH2", -900.0), weights={"energy": 0.0})
    good = [molecule("OH2", -300.0), molecule("H2", -27.0)]
    assert fit_e0([*good, bad], ("H", "O")).e0 == fit_e0(good, ("H", "O")).e0
    found, expected = (
        compute_statistics(build_graphs(frames, ("H", "O"), 1.5), ("H", "O"), {"H": 0.0, "O": 0.0})
        for frames in ([*good, bad], good)
    )
    assert found.energy_mean_per_atom == expected.energy_mean_per_atom


def test_a_fit_to_many_frames_of_one_composition_takes_little_memory():
    frames = [molecule("OH2", -300.0)] * 30_000  # a square matrix of them is 7 GB
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert fit_e0(frames, ("H", "O")).compositions is not None
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000


def test_fit_of_an_element_that_does_not_occur():
    fit = fit_e0([molecule("H2", -27.0)], ("H", "O"))
    assert fit.e0 == pytest.approx({"H": -13.5, "O": 0.0})
    assert "No configuration holds O" in fit.note


def test_fit_needs_energies_of_known_elements():
    with pytest.raises(DataError, match="no configuration has an energy"):
        fit_e0([molecule("OH2", None)], ("H", "O"))
    with pytest.raises(DataError, match=r"element list \(OH2\) has no entry for O"):
        fit_e0([molecule("OH2", -1.0)], ("H",))
    with pytest.raises(DataError, match="no configuration has an energy"):
        fit_e0([], ("H",))


def test_acetylacetone(data_root: Path):
    dataset = load_dataset("acac", data_root, tests=())
    elements = find_elements(dataset.train)
    assert elements == ("H", "C", "O")
    assert dataset.isolated_atoms is not None
    graphs = build_graphs(dataset.train[:100], elements, 5.0)
    found = compute_statistics(graphs, elements, dataset.isolated_atoms)
    assert found.average_num_neighbors == pytest.approx(12.1, abs=0.2)
    assert found.energy_mean_per_atom == pytest.approx(-4.865, abs=0.01)
    assert found.force_rms == pytest.approx(1.05, abs=0.05)
