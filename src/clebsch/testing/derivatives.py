"""Checks of derivatives against finite differences: forces, stress, and what training differentiates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch

from clebsch.data import Configuration, neighbor_list
from clebsch.models import Prediction
from clebsch.testing.contract import (
    ENERGY_FLOOR,
    SMALLEST_SIZE,
    CheckResult,
    Comparison,
    PotentialLike,
    device_of,
    largest,
    make_batch,
    parameters_of,
    predict,
)
from clebsch.testing.systems import cluster, crystal, deformed, displaced

USUAL = (1e-6, 1e-2)
CLEARANCE = 5e-3  # Å
# f'(0) = sum_k WEIGHTS[k] f(OFFSETS[k] h) / h + O(h^4)
OFFSETS = (-2.0, -1.0, 1.0, 2.0)
WEIGHTS = (1 / 12, -2 / 3, 2 / 3, -1 / 12)
# Å, tried in turn: curvature spoils large steps, rounding small ones, and a kink those that reach it.
STEPS = {torch.float64: (1e-3, 1e-4), torch.float32: (3e-2, 1e-2, 3e-3)}


def check_forces(potential: PotentialLike, *, tolerance: float | None = None, seed: int = 0) -> CheckResult:
    r"""Check :math:`F = -\partial E / \partial r` by central differences of fourth order, on a cluster and a crystal.

    Args:
        potential: the potential.
        tolerance: largest relative error; None for 1e-6 in float64, 1e-2 in lower precision.
        seed: of the random systems.

    Raises:
        ContractViolation: the error is larger.
    """
    meaning = "Forces must be the negative gradient of the energy, or dynamics does not conserve it."
    comparison = Comparison("forces", meaning, tolerance, USUAL, potential.dtype)
    rng = np.random.default_rng(seed)
    for draw, num_atoms in ((cluster, 5), (crystal, 2)):
        configuration = _clear_of_cutoff(potential, lambda draw=draw, n=num_atoms: draw(potential.elements, rng, n))

        def gradient(step: float, configuration: Configuration = configuration) -> torch.Tensor:
            energy = predict(potential, _displacements(configuration, step), forces=False).energy
            return -_differences(energy, step).reshape(-1, 3)

        found = predict(potential, [configuration])
        floor = ENERGY_FLOOR * largest(found.energy)
        _compare(comparison, f"forces of a {configuration.origin}", found.forces, gradient, floor, "eV/Å")
    return comparison.result()


def check_stress(potential: PotentialLike, *, tolerance: float | None = None, seed: int = 0) -> CheckResult:
    r"""Check the stress by central differences of fourth order, on small triclinic cells.

    .. math:: \sigma = +\frac{1}{V} \frac{\partial E}{\partial \varepsilon}, \qquad r \to (1 + \varepsilon) r,
              \quad \text{cell} \to \text{cell}\,(1 + \varepsilon), \quad \varepsilon = \varepsilon^T

    Args:
        potential: the potential.
        tolerance: largest relative error; None for 1e-6 in float64, 1e-2 in lower precision.
        seed: of the random systems.

    Raises:
        ContractViolation: the error is larger.
    """
    meaning = "The stress must be the symmetric 3 x 3 matrix +(1/V) dE/dstrain (tension positive), in eV/Å^3."
    comparison = Comparison("stress", meaning, tolerance, USUAL, potential.dtype)
    rng = np.random.default_rng(seed)
    for num_atoms in (3, 1):
        configuration = _clear_of_cutoff(potential, lambda n=num_atoms: crystal(potential.elements, rng, n))

        def gradient(step: float, configuration: Configuration = configuration) -> torch.Tensor:
            energy = predict(potential, _strains(configuration, step / 3), forces=False).energy
            xx, xy, xz, yy, yz, zz = _differences(energy, step / 3) / configuration.volume
            return torch.stack([xx, xy, xz, xy, yy, yz, xz, yz, zz]).reshape(1, 3, 3)

        found = predict(potential, [configuration], stress=True)
        floor = ENERGY_FLOOR * largest(found.energy) / configuration.volume
        _compare(comparison, f"stress of a {configuration.origin}", found.stress, gradient, floor, "eV/Å^3")
    return comparison.result()


def check_second_derivatives(potential: PotentialLike, *, tolerance: float | None = None, seed: int = 0) -> CheckResult:
    r"""Check what training on forces and stress differentiates, by central differences of fourth order.

    The derivatives of :math:`L = E + a \cdot F + b : \sigma` (E without E0), with random a and b, with respect to every
    position and, where the potential is an ``nn.Module``, along random directions in the space of its parameters.

    Args:
        potential: the potential; its parameters are changed and put back.
        tolerance: largest relative error; None for 1e-6 in float64, 1e-2 in lower precision.
        seed: of the random systems and directions.

    Raises:
        ContractViolation: the error is larger.
    """
    meaning = "With create_graph, forces and stress must be differentiable, or training follows a wrong gradient."
    comparison = Comparison("second_derivatives", meaning, tolerance, USUAL, potential.dtype)
    rng = np.random.default_rng(seed)
    solid = _clear_of_cutoff(potential, lambda: crystal(potential.elements, rng, 3))
    functional = _functional(solid, rng, device_of(potential))
    batch = make_batch(potential, [solid])
    positions = batch.positions.clone().requires_grad_(True)
    parameters = parameters_of(potential)
    prediction = potential(replace(batch, positions=positions), stress=True, create_graph=True)
    by_position, *by_parameter = _gradient(functional(prediction), [positions, *parameters])

    def gradient(step: float) -> torch.Tensor:
        moved = predict(potential, _displacements(solid, step), stress=True)
        return _differences(functional(moved), step).reshape(-1, 3)

    _compare(comparison, "dL/dpositions of a crystal", by_position, gradient, 0.0, "")
    for number in range(2 if parameters else 0):
        directions = _directions(parameters, seed + number)
        parts = [(slope * way).sum().double() for slope, way in zip(by_parameter, directions, strict=True)]

        def slope(step: float, directions: Sequence[torch.Tensor] = directions) -> torch.Tensor:
            values = _along(potential, [solid], parameters, directions, step / 4, functional)
            return _differences(values, step / 4).squeeze(0)

        size = float(torch.stack(parts).norm())
        _compare(comparison, "dL/dparameters along a random direction", torch.stack(parts).sum(), slope, size, "")
    return comparison.result()


def _compare(
    comparison: Comparison,
    what: str,
    found: torch.Tensor | None,
    estimate: Callable[[float], torch.Tensor],
    floor: float,
    unit: str,
) -> None:
    """Compare ``found`` with the first ``estimate(step)`` that agrees, else the nearest, of size ``floor`` at least."""
    errors, candidates = [], []
    for step in STEPS.get(comparison.dtype, STEPS[torch.float32]):
        expected = estimate(step)
        size = max(largest(expected), floor)
        candidates.append((expected, size))
        if found is None or found.shape != expected.shape:
            break
        errors.append(largest(found - expected) / max(size, SMALLEST_SIZE))
        if errors[-1] <= comparison.tolerance:
            break
    expected, size = candidates[int(np.argmin(errors)) if errors else 0]
    comparison.add(what, found, expected, size, unit)


def _clear_of_cutoff(potential: PotentialLike, draw: Callable[[], Configuration]) -> Configuration:
    """Draw until no distance is within the steps of r_max, where third derivatives may jump."""
    inner, outer = potential.r_max - CLEARANCE, potential.r_max + CLEARANCE
    while True:
        configuration = draw()
        arguments = (configuration.positions, configuration.cell, configuration.pbc)
        if len(neighbor_list(*arguments, inner)[0]) == len(neighbor_list(*arguments, outer)[0]):
            return configuration


def _displacements(configuration: Configuration, step: float) -> list[Configuration]:
    """Every coordinate in turn displaced by every offset."""
    moved = []
    for coordinate in range(3 * configuration.num_atoms):
        for offset in OFFSETS:
            displacement = np.zeros(3 * configuration.num_atoms)
            displacement[coordinate] = offset * step
            moved.append(displaced(configuration, displacement.reshape(-1, 3)))
    return moved


def _strains(configuration: Configuration, step: float) -> list[Configuration]:
    """Every symmetric strain in turn by every offset, in the order xx, xy, xz, yy, yz, zz."""
    strained = []
    for i in range(3):
        for j in range(i, 3):
            strain = np.zeros((3, 3))
            strain[i, j] += 0.5
            strain[j, i] += 0.5
            strained += [deformed(configuration, np.eye(3) + offset * step * strain) for offset in OFFSETS]
    return strained


def _differences(values: torch.Tensor, step: float) -> torch.Tensor:
    """Derivatives from ``values`` [n * offsets], the offsets counting fastest."""
    values = values.detach().unflatten(0, (-1, len(OFFSETS)))
    # Differences of the raw energies would be small beside their E0.
    values = values - values.mean(1, keepdim=True)
    return values @ torch.tensor(WEIGHTS, dtype=values.dtype, device=values.device) / step


def _functional(
    configuration: Configuration, rng: np.random.Generator, device: torch.device
) -> Callable[[Prediction], torch.Tensor]:
    """L = E - E0 + a . F + b : sigma of every graph of a prediction for copies of ``configuration``."""
    a = torch.as_tensor(rng.normal(size=(configuration.num_atoms, 3)), device=device)
    b = torch.as_tensor(configuration.volume * rng.normal(size=(3, 3)), device=device)

    def functional(prediction: Prediction) -> torch.Tensor:
        if prediction.forces is None or prediction.stress is None:
            raise TypeError("forces and stress were asked for, but the prediction has none")
        forces = prediction.forces.unflatten(0, (-1, configuration.num_atoms))
        return prediction.interaction_energy + (a * forces).sum((1, 2)) + (b * prediction.stress).sum((1, 2))

    return functional


def _gradient(value: torch.Tensor, inputs: Sequence[torch.Tensor]) -> tuple[torch.Tensor, ...]:
    """Gradient of the sum of ``value``; zero where it does not depend on an input."""
    if not value.requires_grad:
        return tuple(torch.zeros_like(item) for item in inputs)
    return torch.autograd.grad(value.sum(), inputs, allow_unused=True, materialize_grads=True)


def _directions(parameters: Sequence[torch.Tensor], seed: int) -> list[torch.Tensor]:
    """Random directions, as large as the parameters are."""
    generator = torch.Generator().manual_seed(seed)
    drawn = [torch.randn(item.shape, generator=generator, dtype=torch.float64).to(item) for item in parameters]
    sizes = [item.detach().double().square().mean().sqrt() for item in parameters]
    return [direction * size.to(item) for direction, size, item in zip(drawn, sizes, parameters, strict=True)]


def _along(
    potential: PotentialLike,
    configurations: Sequence[Configuration],
    parameters: Sequence[torch.Tensor],
    directions: Sequence[torch.Tensor],
    step: float,
    functional: Callable[[Prediction], torch.Tensor],
) -> torch.Tensor:
    """Values of ``functional`` [offsets] with the parameters moved along ``directions``; they are put back exactly."""
    original = [item.detach().clone() for item in parameters]
    values = []
    try:
        for offset in OFFSETS:
            with torch.no_grad():
                for item, start, direction in zip(parameters, original, directions, strict=True):
                    item.copy_(start + offset * step * direction)
            values.append(functional(predict(potential, configurations, stress=True)).detach())
    finally:
        with torch.no_grad():
            for item, start in zip(parameters, original, strict=True):
                item.copy_(start)
    return torch.cat(values)
