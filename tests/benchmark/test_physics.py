"""Two atoms, fragments and dynamics, on potentials whose answers are known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ase import Atoms, units

from clebsch.benchmark import body_order_terms, dimer_curves, dynamics, judge_dimer, run_langevin, run_nve
from clebsch.benchmark.dimers import DimerCurve
from clebsch.benchmark.dynamics import DynamicsError, what_broke
from clebsch.data import Configuration
from clebsch.errors import ConfigError
from clebsch.models import MultiACEConfig, Potential, PotentialConfig, ZBLConfig
from clebsch.models.presets import linear_ace, mace
from clebsch.models.terms import TermConfig

SMALL = {"elements": ("H", "O"), "r_max": 3.5, "num_channels": 4, "l_max": 2}
E0 = {"H": -13.6, "O": -2042.1}


def potential_of(model: MultiACEConfig, *terms: TermConfig) -> Potential:
    return Potential(PotentialConfig(model=model, terms=terms), e0=E0, dtype=torch.float64, seed=1)


def molecule(count: int = 6) -> Configuration:
    rng = np.random.default_rng(0)
    positions = 1.3 * rng.permutation(np.array(list(np.ndindex(2, 2, 2)), dtype=float))[:count]
    return Configuration(rng.choice([1, 8], count), positions + 0.1 * rng.normal(size=(count, 3)))


@pytest.mark.parametrize("correlation", [1, 2, 3])
def test_linear_ace_has_the_body_order_of_its_correlation(correlation: int):
    """ν factors correlate ν neighbours with the centre; beyond that, nothing is left."""
    terms = body_order_terms(potential_of(linear_ace(correlation=correlation, **SMALL)), molecule(), highest=5)
    size = max(abs(term) for term in terms[1:])
    assert abs(terms[correlation]) > 1e-3 * size
    np.testing.assert_allclose(terms[correlation + 1 :], 0, atol=1e-10 * max(1.0, size))


def test_the_terms_sum_to_the_energy():
    potential, atoms = potential_of(mace(L_max=1, **SMALL)), molecule()
    terms = body_order_terms(potential, atoms, highest=3)
    assert terms[0] == pytest.approx(sum(E0[symbol] for symbol in atoms.symbols))
    assert abs(terms[-1]) > 1e-6  # two layers: no end
    with pytest.raises(ConfigError, match=r"expected 1 … 5 for 6 atoms, got 6"):
        body_order_terms(potential, atoms, highest=6)


def test_curves_of_two_atoms():
    curves = dimer_curves(potential_of(linear_ace(correlation=1, **SMALL), ZBLConfig()))
    assert [curve.pair for curve in curves] == ["HH", "HO", "OO"]
    for curve in curves:
        assert curve.distances[0] == 0.5 and curve.distances[-1] == 3.5 and curve.energies[-1] == 0


def test_judging_a_curve():
    r = np.linspace(0.5, 5, 300)
    morse = 4.0 * ((1 - np.exp(-2 * (r - 1.1))) ** 2 - 1)
    found = judge_dimer(DimerCurve("OO", r, morse))
    assert found["repulsive"] and found["spurious_minima"] == 0
    assert found["well_meV"] == pytest.approx(-4000, rel=1e-3)
    hole = judge_dimer(DimerCurve("OO", r, morse - 80 * np.exp(-(((r - 0.6) / 0.05) ** 2))))
    assert not hole["repulsive"] and hole["spurious_minima"] == 1
    collapsing = judge_dimer(DimerCurve("OO", r, -3 / r**2))
    assert not collapsing["repulsive"]
    assert judge_dimer(DimerCurve("OO", r, 3 / r**2))["repulsive"]


def test_what_broke():
    water = Atoms("OH2", positions=[[0, 0, 0], [0.76, 0.59, 0], [-0.76, 0.59, 0]])
    assert what_broke(water, 1000.0) == ""
    apart, close = water.copy(), water.copy()
    apart.positions[1] *= 3
    close.positions[1] *= 0.4
    assert what_broke(apart, 1000.0) == "the molecule fell apart"
    assert what_broke(close, 1000.0) == "atoms 0 and 1 collapsed"
    water.set_momenta(np.full((3, 3), 5.0))
    assert what_broke(water, 1000.0).startswith("temperature of")


def test_dynamics_of_free_atoms_break_and_conserve_energy():
    """Weights of zero make a free gas: energy is conserved exactly, and the molecule does not hold together."""
    potential = potential_of(linear_ace(correlation=1, **SMALL))
    with torch.no_grad():
        for parameter in potential.parameters():
            parameter.zero_()
    water = Atoms("OH2", positions=[[0, 0, 0], [0.76, 0.59, 0], [-0.76, 0.59, 0]])
    trace = run_nve(potential, water, steps=20, seed=0)
    assert abs(trace.drift) < 1e-9 and trace.spread < 1e-9
    with pytest.raises(DynamicsError, match=r"after 0\.\d+ ps at constant energy: (the molecule fell apart|atoms)"):
        run_nve(potential, water, steps=4000, seed=0)
    found = run_langevin(potential, water, temperature=600.0, picoseconds=1.0, seed=0)
    assert found.reason and found.picoseconds < found.wanted == 1.0


def free_gas(count: int = 216) -> Atoms:
    """Oxygen and hydrogen too far apart to feel each other."""
    positions = 20.0 * np.array(list(np.ndindex(6, 6, 6)), dtype=float)[:count]
    return Atoms("OH" * (count // 2), positions)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[Atoms]:
    """The atoms after every step of dynamics, in which nothing counts as broken."""
    atoms: list[Atoms] = []
    monkeypatch.setattr(dynamics, "what_broke", lambda after, hottest: (atoms.append(after.copy()), "")[1])
    return atoms


def test_dynamics_at_constant_energy_begin_at_300_kelvin(seen: list[Atoms]):
    run_nve(potential_of(linear_ace(correlation=1, **SMALL)), free_gas(), steps=1, seed=0)
    assert seen[0].get_temperature() == pytest.approx(300, rel=0.08)  # two standard deviations of 648 momenta
    for number in (1, 8):
        (momenta, masses) = (
            values[seen[0].numbers == number] for values in (seen[0].get_momenta(), seen[0].get_masses())
        )
        kelvin = np.mean(momenta**2 / masses[:, None]) / units.kB
        assert kelvin == pytest.approx(300, rel=0.16)


@pytest.mark.usefixtures("seen")
def test_a_drift_is_in_meV_per_atom_and_picosecond(monkeypatch: pytest.MonkeyPatch):
    """An energy that grows by 1 meV per atom in every step of half a femtosecond."""
    energies = iter(range(100))
    monkeypatch.setattr(Atoms, "get_total_energy", lambda atoms: 1e-3 * len(atoms) * next(energies))
    trace = run_nve(potential_of(linear_ace(correlation=1, **SMALL)), free_gas(4), steps=10, seed=0)
    assert trace.drift == pytest.approx(2000) and trace.spread < 1e-9
    np.testing.assert_allclose(trace.times, np.linspace(0, 0.005, 11))
    np.testing.assert_allclose(trace.energies, np.arange(11), atol=1e-9)


def test_the_thermostat_forgets_velocities_within_100_femtoseconds(seen: list[Atoms]):
    """Of free atoms, ⟨v(0) v(t)⟩ / ⟨v²⟩ = exp(-γ t)."""
    potential = potential_of(linear_ace(correlation=1, **SMALL))
    found = run_langevin(potential, free_gas(), temperature=500.0, picoseconds=0.1, seed=0)
    first, last = (atoms.get_velocities() * np.sqrt(atoms.get_masses())[:, None] for atoms in (seen[0], seen[-1]))
    assert seen[0].get_temperature() == pytest.approx(500, rel=0.08)
    assert len(seen) == 200 and found.picoseconds == pytest.approx(0.1) and not found.reason
    assert np.mean(first * last) / np.mean(first**2) == pytest.approx(np.exp(-1), abs=0.08)
    assert found.mean_temperature == pytest.approx(500, rel=0.08)


@pytest.mark.parametrize("scale", [30.0, 300.0])
def test_an_exploding_potential_is_a_result_and_no_error(scale: float):
    """Random weights, far too large: atoms collapse between two steps, or fly away at once."""
    model = linear_ace(correlation=3, **SMALL)
    potential = Potential(PotentialConfig(model=model), e0=E0, scale=scale, dtype=torch.float64, seed=2)
    water = Atoms("OH2", positions=[[0, 0, 0], [0.76, 0.59, 0], [-0.76, 0.59, 0]])
    assert run_langevin(potential, water, temperature=600.0, picoseconds=0.2, seed=0).reason
    with pytest.raises(DynamicsError):
        run_nve(potential, water, steps=400, seed=0)
