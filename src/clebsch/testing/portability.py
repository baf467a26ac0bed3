"""Checks of one potential in other forms: saved and loaded, in another dtype, on other backends."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from clebsch.errors import ClebschError
from clebsch.models import Potential, Prediction
from clebsch.models.serialization import load_potential, save_potential
from clebsch.ops import available_backends
from clebsch.testing.contract import (
    CheckResult,
    Comparison,
    PotentialLike,
    largest,
    parameters_of,
    predict,
    skipped,
)
from clebsch.testing.systems import cluster, crystal, displaced

USUAL_DTYPE = (1e-4, 1e-4)
USUAL_BACKEND = (1e-9, 1e-4)
FAR = 1e5  # Å; float32 resolves 0.008 Å there, float64 1e-11 Å


def check_save_load(
    potential: PotentialLike,
    *,
    tolerance: float | None = None,
    seed: int = 0,
    save: Callable[[Any, Path], None] = save_potential,
    load: Callable[..., PotentialLike] = load_potential,
) -> CheckResult:
    """Check that the potential, written to a file and read again, gives the same numbers bit for bit.

    Args:
        potential: the potential; skipped where it is no ``clebsch.models.Potential`` and has no ``save`` of its own.
        tolerance: largest relative error; None for 0.
        seed: of the random systems.
        save: writes a potential to a path.
        load: reads it from there.

    Raises:
        ContractViolation: the error is larger, or saving or loading fails.
    """
    if save is save_potential and not isinstance(potential, Potential):
        return skipped("save_load", "the potential is no clebsch Potential; give save= and load=")
    meaning = "A potential read from its file must be the potential that was written."
    comparison = Comparison("save_load", meaning, tolerance, (0.0, 0.0), potential.dtype)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "potential.safetensors"
        options = {}
        if isinstance(potential, Potential):
            options = {"device": potential.device, "backend": potential.backend}
        try:
            save(potential, path)
            loaded = load(path, **options)
        except ClebschError as error:
            comparison.fail(f"{type(error).__name__}: {error}")
            return comparison.result()
    _compare(comparison, "the loaded potential", loaded, potential, seed)
    return comparison.result()


def check_dtype(potential: PotentialLike, *, tolerance: float | None = None, seed: int = 0) -> CheckResult:
    """Check that float32 and float64 agree, also for a structure far from the origin.

    Args:
        potential: the potential; skipped where it cannot be copied to another dtype.
        tolerance: largest relative error; None for 1e-4.
        seed: of the random systems.

    Raises:
        ContractViolation: the error is larger.
    """
    other = torch.float64 if potential.dtype != torch.float64 else torch.float32
    copied = in_dtype(potential, other)
    if copied is None:
        return skipped("dtype", f"the potential cannot be copied to {other}")
    meaning = "Lower precision must cost digits of the network alone, not of positions, E0 or sums."
    comparison = Comparison("dtype", meaning, tolerance, USUAL_DTYPE, potential.dtype)
    exact, rounded = (potential, copied) if other != torch.float64 else (copied, potential)
    _compare(comparison, f"{rounded.dtype} against float64", rounded, exact, seed)
    return comparison.result()


def check_backends(potential: PotentialLike, *, tolerance: float | None = None, seed: int = 0) -> CheckResult:
    """Check every available backend against ``reference``: predictions and the gradient that training follows.

    Args:
        potential: the potential; skipped where it is no ``clebsch.models.Potential``.
        tolerance: largest relative error; None for 1e-9 in float64, 1e-4 in lower precision.
        seed: of the random systems.

    Raises:
        ContractViolation: the error is larger.
    """
    if not isinstance(potential, Potential):
        return skipped("backends", "the potential is no clebsch Potential, so it has one backend")
    meaning = "A kernel is an optimisation of its reference: same numbers, same derivatives."
    comparison = Comparison("backends", meaning, tolerance, USUAL_BACKEND, potential.dtype)
    reference = rebuild(potential, potential.dtype, "reference")
    expected = _training_gradient(reference, seed)
    for backend in available_backends():
        own = backend == potential.backend
        other = potential if own else rebuild(potential, potential.dtype, backend)
        _compare(comparison, f"backend '{backend}'", other, reference, seed)
        for found, value in zip(_training_gradient(other, seed), expected, strict=True):
            size = max(largest(item) for item in expected)
            comparison.add(f"gradient of a loss on forces and stress, backend '{backend}'", found, value, size)
    return comparison.result()


def in_dtype(potential: PotentialLike, dtype: torch.dtype) -> PotentialLike | None:
    """Return ``potential`` copied to ``dtype``, or None where that is not possible."""
    if isinstance(potential, Potential):
        return rebuild(potential, dtype, potential.backend)
    if not isinstance(potential, torch.nn.Module):
        return None
    copied = copy.deepcopy(potential).to(dtype)
    return copied if copied.dtype == dtype else None


def rebuild(potential: Potential, dtype: torch.dtype, backend: str) -> Potential:
    """Return the same potential in ``dtype`` on ``backend``."""
    zeros = dict.fromkeys(potential.elements, 0.0)
    rebuilt = type(potential)(potential.config, e0=zeros, dtype=dtype, backend=backend).to(potential.device)
    rebuilt.load_state_dict(potential.state_dict())
    return rebuilt


def _compare(comparison: Comparison, where: str, found: PotentialLike, expected: PotentialLike, seed: int) -> None:
    """Compare two potentials on a cluster, here and far away, and on a crystal."""
    rng = np.random.default_rng(seed)
    molecule, solid = cluster(expected.elements, rng), crystal(expected.elements, rng)
    far = displaced(molecule, FAR * rng.normal(size=3))
    for configuration, name in ((molecule, "a cluster"), (far, "a cluster far away"), (solid, "a crystal")):
        stress = bool(configuration.pbc.any())
        values = [predict(potential, [configuration], stress=stress) for potential in (found, expected)]
        comparison.add_prediction(f"{name}, {where}", values[0], values[1])


def _training_gradient(potential: Potential, seed: int) -> tuple[torch.Tensor, ...]:
    """Gradient of E + sum F^2 + sum sigma^2 of a crystal with respect to the parameters."""
    solid = crystal(potential.elements, np.random.default_rng(seed))
    prediction: Prediction = predict(potential, [solid], stress=True, create_graph=True)
    if prediction.forces is None or prediction.stress is None:
        raise TypeError("forces and stress were asked for, but the prediction has none")
    loss = prediction.energy.sum() + prediction.forces.square().sum() + prediction.stress.square().sum()
    return torch.autograd.grad(loss, parameters_of(potential), allow_unused=True, materialize_grads=True)
