"""Checks of what is far away: isolated atoms, locality, smoothness at the cutoff."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch
from ase.data import atomic_numbers

from clebsch.data import Configuration
from clebsch.models import Prediction
from clebsch.o3 import random_rotation
from clebsch.testing.contract import (
    CheckResult,
    Comparison,
    PotentialLike,
    largest,
    make_batch,
    predict,
    sizes_of,
)
from clebsch.testing.systems import cluster, deformed, displaced, isolated_atom, reordered

USUAL = (1e-9, 1e-4)
# A second derivative is not exactly zero one step before the cutoff: it goes to zero with the step.
USUAL_CURVATURE = (0.01, 0.5)
CUTOFF_STEP = {torch.float64: 1e-4, torch.float32: 5e-3}  # in units of r_max


def check_isolated_atom(potential: PotentialLike, *, tolerance: float | None = None, seed: int = 0) -> CheckResult:
    r"""Check that atoms without neighbours have one energy per element and no force, and that far apart they add up.

    .. math:: E = \sum_i E_{z_i}, \qquad F_i = 0, \qquad
              E_z = E_0(z) + \text{shift} + \text{the model's value without neighbours}

    Args:
        potential: the potential.
        tolerance: largest relative error; None for 1e-9 in float64, 1e-4 in lower precision.
        seed: of the random systems.

    Raises:
        ContractViolation: the error is larger.
    """
    meaning = "Without neighbours an atom must have one energy per element, the same everywhere, and no force."
    comparison = Comparison("isolated_atom", meaning, tolerance, USUAL, potential.dtype)
    rng = np.random.default_rng(seed)
    typical = predict(potential, [cluster(potential.elements, rng)])
    sizes, reach = sizes_of(typical), receptive_field(typical, potential)
    atoms = [isolated_atom(element) for element in potential.elements]
    alone = predict(potential, atoms)
    nothing = torch.zeros(len(atoms), 3, dtype=torch.float64, device=alone.energy.device)
    comparison.add("forces on isolated atoms", alone.forces, nothing, sizes["forces"], "eV/Å")
    moved = [displaced(atom, 100.0 * rng.normal(size=3)) for atom in atoms]
    comparison.add_prediction("isolated atoms elsewhere", predict(potential, moved), alone, sizes)
    boxes = [replace(atom, cell=2.0 * reach * np.eye(3), pbc=np.ones(3, dtype=bool)) for atom in atoms]
    comparison.add_prediction("isolated atoms in large periodic cells", predict(potential, boxes), alone, sizes)
    numbers = np.concatenate([atom.numbers for atom in atoms] * 2)
    line = Configuration(numbers, 1.1 * reach * np.arange(len(numbers))[:, None] * np.eye(3)[0])
    apart, where = predict(potential, [line]), "atoms beyond reach of each other"
    comparison.add(f"energy of {where}", apart.energy[0], 2 * alone.energy.sum(), sizes["energy"], "eV")
    comparison.add(f"node_energy of {where}", apart.node_energy, alone.node_energy.repeat(2), sizes["energy"], "eV")
    comparison.add(f"forces on {where}", apart.forces, nothing.repeat(2, 1), sizes["forces"], "eV/Å")
    return comparison.result()


def check_locality(potential: PotentialLike, *, tolerance: float | None = None, seed: int = 0) -> CheckResult:
    """Check that an atom's energy knows nothing beyond layers * r_max, and that edges longer than r_max add nothing.

    The atoms of a chain that lie beyond the receptive field of its first atom are moved, then removed. The number of
    layers is read off ``Prediction.layer_energy``. Edges beyond r_max come from neighbour lists with a skin.

    Args:
        potential: the potential.
        tolerance: largest relative error; None for 1e-9 in float64, 1e-4 in lower precision.
        seed: of the random chain.

    Raises:
        ContractViolation: the error is larger.
    """
    meaning = "The energy of an atom must be a function of the atoms within layers * r_max of it."
    comparison = Comparison("locality", meaning, tolerance, USUAL, potential.dtype)
    rng = np.random.default_rng(seed)
    reach = receptive_field(predict(potential, [cluster(potential.elements, rng)]), potential)
    chain = _chain(potential, reach, rng)
    expected = predict(potential, [chain])
    size = sizes_of(expected)["energy"]
    far = np.linalg.norm(chain.positions - chain.positions[0], axis=1) > reach
    steps = 0.3 * potential.r_max * rng.uniform(size=(chain.num_atoms, 3)) * far[:, None]
    changed = {"moved": displaced(chain, steps), "removed": reordered(chain, np.flatnonzero(~far))}
    for what, configuration in changed.items():
        found = predict(potential, [configuration]).node_energy[0]
        where = f"node energy with atoms beyond {reach:.1f} Å {what}"
        comparison.add(where, found, expected.node_energy[0], size, "eV")
    found = potential(make_batch(potential, [chain], skin=0.5 * potential.r_max))
    comparison.add_prediction("a chain with edges up to 1.5 r_max", found, expected)
    return comparison.result()


def check_smoothness(potential: PotentialLike, *, tolerance: float | None = None, seed: int = 0) -> CheckResult:
    r"""Check that energy, forces and second derivatives are continuous where a neighbour crosses r_max.

    A probe atom leaves the neighbourhood of another and is alone from then on. With the step h,

    .. math:: \frac{E(r_{max} - h) - E_\infty}{h}, \quad \frac{F(r_{max} - h) - F_\infty}{h}, \quad
              \frac{F(r_{max} - 2h) - F(r_{max} - h)}{h}

    must vanish, relative to the largest force and to the largest such slope of the forces well inside r_max.

    Args:
        potential: the potential.
        tolerance: largest relative error; None for 0.01 in float64 (h = 1e-4 r_max), 0.5 in lower precision
            (h = 5e-3 r_max). With two continuous derivatives the error is of order h / r_max, with one it is about 1.
        seed: of the random surroundings.

    Raises:
        ContractViolation: the error is larger.
    """
    meaning = "A neighbour that crosses r_max must not make energy, forces or second derivatives jump."
    comparison = Comparison("smoothness", meaning, tolerance, USUAL_CURVATURE, potential.dtype)
    rng = np.random.default_rng(seed)
    step = potential.r_max * CUTOFF_STEP.get(potential.dtype, CUTOFF_STEP[torch.float32])
    inside = potential.r_max * np.linspace(0.55, 0.95, 9)
    distances = np.concatenate([potential.r_max + step * np.array([1.0, -1.0, -2.0]), inside, inside + step])
    for element in potential.elements:
        leaving = _leaving(potential, element, distances, rng)
        prediction = predict(potential, leaving)
        if prediction.forces is None:
            comparison.fail("no forces")
            continue
        forces = prediction.forces.unflatten(0, (len(distances), -1))
        energy, forces = prediction.energy - prediction.energy[0], forces - forces[0]
        slopes = (forces[3 + len(inside) :] - forces[3 : 3 + len(inside)]) / step
        force, slope = largest(forces), largest(slopes)
        where = f"where {element} crosses r_max"
        comparison.add(f"change of energy per Å {where}", energy[1] / step, 0.0 * energy[1], force, "eV/Å")
        comparison.add(f"change of forces per Å {where}", forces[1] / step, 0.0 * forces[1], slope, "eV/Å^2")
        curvature = (forces[2] - forces[1]) / step
        comparison.add(f"second derivative {where}", curvature, 0.0 * curvature, slope, "eV/Å^2")
    return comparison.result()


def receptive_field(prediction: Prediction, potential: PotentialLike) -> float:
    """Return layers * r_max (Å), the distance beyond which an atom's energy knows nothing."""
    return prediction.layer_energy.shape[1] * potential.r_max


def _chain(potential: PotentialLike, reach: float, rng: np.random.Generator) -> Configuration:
    """A crooked chain along x, 0.45 r_max per step, that goes two atoms beyond ``reach`` of its first atom."""
    num_atoms = math.ceil(reach / (0.45 * potential.r_max)) + 3
    positions = potential.r_max * rng.uniform(-0.05, 0.05, (num_atoms, 3))
    positions[:, 0] += 0.45 * potential.r_max * np.arange(num_atoms)
    numbers = rng.permutation(np.resize([atomic_numbers[symbol] for symbol in potential.elements], num_atoms))
    return Configuration(numbers, positions, origin="chain")


def _leaving(
    potential: PotentialLike, element: str, distances: np.ndarray, rng: np.random.Generator
) -> list[Configuration]:
    """A centre with companions behind it and a probe of ``element`` in front; only the centre is near r_max of it."""
    companions = np.array([[-0.25, 0.2, 0.0], [-0.3, -0.2, 0.15], [-0.2, 0.0, -0.25]])
    companions = potential.r_max * (companions + rng.uniform(-0.03, 0.03, (3, 3)))
    numbers = [atomic_numbers[symbol] for symbol in (*rng.choice(list(potential.elements), 4), element)]
    rotation = random_rotation(rng)
    return [
        deformed(Configuration(np.array(numbers), np.vstack([np.zeros(3), companions, [r, 0, 0]])), rotation)
        for r in distances
    ]
