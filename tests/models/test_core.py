"""Core radii: where distances end that the network sees, and what atoms closer than the training data do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from pydantic import ValidationError

import clebsch
from clebsch.errors import ConfigError
from clebsch.models import CoreConfig, Potential, PotentialConfig, ZBLConfig
from clebsch.models.core import CoreRadii
from clebsch.models.terms import TermConfig
from clebsch.ops import Edges
from clebsch.testing import run_contract

ELEMENTS = ("O", "H", "C", "Au")
E0 = {"H": -13.6, "C": -1029.0, "O": -2041.0}


def seen(r: torch.Tensor, radius: float) -> torch.Tensor:
    """The distance between O and C that the network sees at the distances r, held below ``radius``."""
    vectors = r[:, None] * torch.tensor([0.6, 0.0, 0.8], dtype=torch.float64)
    ends = torch.zeros(len(r), dtype=torch.long), torch.ones(len(r), dtype=torch.long)
    edges = Edges.of(*ends, torch.tensor([0, 2]), len(ELEMENTS))
    kept = CoreRadii(ELEMENTS, 5.0, {"C-O": radius / 0.9}).keep_out(vectors, edges)
    torch.testing.assert_close(kept / kept.norm(dim=1, keepdim=True), vectors / vectors.norm(dim=1, keepdim=True))
    return kept.norm(dim=1)


def test_distances_from_the_radius_on_are_left_alone():
    r = torch.linspace(1.0, 4.0, 30, dtype=torch.float64)
    torch.testing.assert_close(seen(r, 1.0), r)


def test_shorter_distances_are_never_seen():
    r = torch.linspace(0.01, 0.9, 30, dtype=torch.float64)
    torch.testing.assert_close(seen(r, 1.0), torch.full_like(r, 0.95))


def test_two_derivatives_are_continuous():
    """The slope is that of a smooth step: 3 t² - 2 t³ between 0.9 R and R."""
    r = torch.linspace(0.85, 1.05, 41, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(seen(r, 1.0).sum(), r, create_graph=True)
    t = ((r.detach() - 0.9) / 0.1).clamp(0, 1)
    torch.testing.assert_close(slope.detach(), 3 * t**2 - 2 * t**3, atol=1e-10, rtol=0)
    between = torch.linspace(0.853, 1.047, 12, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda x: seen(x, 1.0), between)


def test_radii_by_pair():
    core = CoreRadii(ELEMENTS, 5.0, {"C-O": 1.1, "H-H": 1.3})
    species = torch.tensor([0, 1, 2])
    edges = Edges.of(torch.tensor([0, 0, 1, 2]), torch.tensor([2, 1, 1, 0]), species, len(ELEMENTS))
    torch.testing.assert_close(core.of(edges), torch.tensor([1.1, 0.66 + 0.31, 1.3, 1.1], dtype=torch.float64))


@pytest.mark.parametrize(
    ("radii", "message"),
    [
        ({"C-N": 1.0}, "'C-N' is no pair of O, H, C, Au"),
        ({"CO": 1.0}, "'CO' is no pair"),
        ({"C-O": 1.0, "O-C": 1.0}, "'O-C' is there twice"),
        ({"C-O": 5.0}, "'C-O' has the radius 5.0; expected one above 0 and below r_max, 5.0 Å"),
        ({"C-O": float("nan")}, "has the radius nan"),
    ],
)
def test_wrong_radii_are_errors(radii: dict[str, float], message: str):
    with pytest.raises(ConfigError, match=message):
        CoreRadii(ELEMENTS, 5.0, radii)


def potential(core: dict[str, float] | None, *others: TermConfig) -> Potential:
    model = clebsch.presets.mace(elements=tuple(E0), num_channels=4, l_max=2, L_max=1, r_max=4.0)
    terms = others if core is None else (CoreConfig(radii=core), *others)
    return Potential(PotentialConfig(model=model, terms=terms), e0=E0, scale=3.0, dtype=torch.float64)


def test_the_contract_holds_inside_the_core():
    """The molecules of the contract have distances of about 1 Å."""
    found = run_contract(potential({"C-O": 1.6, "H-H": 1.6, "C-H": 1.6, "H-O": 1.6, "C-C": 1.6, "O-O": 1.6}))
    assert not [str(result) for result in found if not result.passed]


def test_it_changes_nothing_outside_the_core():
    frame = Atoms("CO2", [[0, 0, 0], [0, 0, 1.2], [0, 0.1, -1.2]])
    energies = []
    for core in (None, {"C-O": 1.1, "O-O": 2.0}):
        frame.calc = clebsch.Calculator(potential(core))
        energies.append((frame.get_potential_energy(), frame.get_forces()))
    assert energies[0][0] == pytest.approx(energies[1][0], rel=1e-14)
    np.testing.assert_allclose(energies[0][1], energies[1][1], atol=1e-12)


def test_atoms_that_are_too_close_are_pushed_apart():
    """Below 0.81 of the radius the network is constant, whatever it has learned; the repulsion alone is left."""
    calculator = clebsch.Calculator(potential({"C-O": 1.3}))
    energies = []
    for r in np.linspace(0.2, 1.05, 60):
        dimer = Atoms("CO", [[0, 0, 0], [0, 0, r]], calculator=calculator)
        energies.append(dimer.get_potential_energy())
    assert np.all(np.diff(energies) < 0) and energies[0] - energies[-1] > 100


def test_a_core_for_a_finished_potential():
    """Outside the core it is the same potential, inside the one that was made with it."""
    bare, core = potential(None), {"C-O": 1.3}
    expected = potential(core)
    expected.load_state_dict(bare.state_dict())
    for r, same in ((1.4, bare), (1.25, expected), (0.7, expected)):
        energies = []
        for model in (bare.with_core(core), same):
            energies.append(
                Atoms("CO", [[0, 0, 0], [0, 0, r]], calculator=clebsch.Calculator(model)).get_potential_energy()
            )
        assert energies[0] == energies[1]
    assert potential(None, ZBLConfig()).with_core(core).config.terms == (CoreConfig(radii=core),)


def test_one_repulsion_only():
    with pytest.raises(ValidationError, match="the term core includes the repulsion of zbl; leave zbl out"):
        potential({"C-O": 1.0}, ZBLConfig())
    with pytest.raises(ValidationError, match="terms of one kind twice: core, core; keep one of each"):
        potential({"C-O": 1.0}, CoreConfig())


def test_it_is_saved(tmp_path: Path):
    """Also in the copy with splines: a squeezed molecule has the same energy."""
    one = potential({"C-O": 1.2, "H-O": 0.9})
    clebsch.save(one, tmp_path / "core.safetensors")
    again = clebsch.load(tmp_path / "core.safetensors")
    energies = []
    for model in (one, again, again.with_splines()):
        squeezed = Atoms("CO", [[0, 0, 0], [0, 0, 0.6]], calculator=clebsch.Calculator(model))
        energies.append(squeezed.get_potential_energy())
    assert energies[1] == energies[0] and energies[2] == pytest.approx(energies[0], abs=1e-6)
    assert energies[0] - sum(E0[symbol] for symbol in "CO") > 50
