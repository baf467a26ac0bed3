"""The terms of the contract: what a potential offers, how numbers are compared, what a check reports."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch

from clebsch.data import QUANTITIES, Batch, Configuration
from clebsch.models import Prediction
from clebsch.testing.systems import batch_of

UNITS = {"node_energy": "eV", **{name: quantity.unit for name, quantity in QUANTITIES.items()}}
SMALLEST_SIZE = 1e-6  # below this (eV, eV/Å, eV/Å^3) a potential is zero, and so are its errors
# Total energies of 10^4 eV carry rounding errors of 10^-12 eV, which a weak interaction must not be blamed for.
ENERGY_FLOOR = 1e-5


@runtime_checkable
class PotentialLike(Protocol):
    """Anything the contract can be checked on; ``clebsch.models.Potential`` is one.

    Called with a batch it returns a Prediction. Positions of the batch that require grad are differentiated through,
    and with ``create_graph`` the forces and the stress can be differentiated again.
    """

    @property
    def elements(self) -> Sequence[str]:
        """Chemical symbols in the order of the species index."""
        ...

    @property
    def r_max(self) -> float:
        """Cutoff radius in Å of the edges it is given."""
        ...

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of its arithmetic, which sets the tolerances."""
        ...

    def __call__(
        self, batch: Batch, *, forces: bool = True, stress: bool = False, create_graph: bool = False
    ) -> Prediction:
        """Energies, and forces and stress where wanted."""
        ...


@dataclass(frozen=True)
class CheckResult:
    """Outcome of one check.

    Attributes:
        name: name of the check.
        error: largest error measured, relative to the size of the quantity (NaN where the check was skipped).
        tolerance: largest error allowed.
        message: where the largest error was and what it means, or why the check was skipped.
        skipped: whether the check does not apply to this potential.
    """

    name: str
    error: float
    tolerance: float
    message: str
    skipped: bool = False

    @property
    def passed(self) -> bool:
        """Whether the potential keeps this term of the contract."""
        return self.skipped or self.error <= self.tolerance

    def __str__(self) -> str:
        if self.skipped:
            return f"{self.name}: skipped, {self.message}"
        verdict = "passed" if self.passed else "FAILED"
        return f"{self.name}: {verdict}, error {self.error:.1e} (tolerance {self.tolerance:.1e}); {self.message}"


class ContractViolation(AssertionError):
    """A potential breaks terms of the contract; ``results`` holds the numbers."""

    def __init__(self, *results: CheckResult) -> None:
        super().__init__("\n".join(str(result) for result in results))
        self.results = results

    @property
    def result(self) -> CheckResult:
        """The first of the results."""
        return self.results[0]


class Comparison:
    """Largest relative error of one check.

    Args:
        name: of the check.
        meaning: what the check demands, one sentence.
        tolerance: largest error allowed; None for the usual one of the potential's dtype.
        usual: that tolerance in float64 and in lower precision.
        dtype: of the potential.
    """

    def __init__(
        self, name: str, meaning: str, tolerance: float | None, usual: tuple[float, float], dtype: torch.dtype
    ) -> None:
        self.name, self.meaning, self.dtype = name, meaning, dtype
        self.tolerance = tolerance if tolerance is not None else usual[dtype != torch.float64]
        self.error, self.where = 0.0, "no difference at all"

    def add(self, what: str, found: Any, expected: Any, size: float | torch.Tensor, unit: str = "") -> None:
        """Compare ``found`` with ``expected``, both tensors or numbers; the error is relative to ``size``."""
        if found is None:
            self._record(math.inf, f"{what}: None, expected {tuple(torch.as_tensor(expected).shape)}")
            return
        found, expected = torch.as_tensor(found).detach(), torch.as_tensor(expected).detach()
        if found.shape != expected.shape:
            self._record(math.inf, f"{what}: shape {tuple(found.shape)}, expected {tuple(expected.shape)}")
            return
        difference, size = largest(found - expected), max(float(size), SMALLEST_SIZE)
        self._record(difference / size, f"{what}: off by {difference:.3e} {unit} at a size of {size:.3e} {unit}")

    def add_prediction(
        self, where: str, found: Prediction, expected: Prediction, sizes: dict[str, float] | None = None
    ) -> None:
        """Compare all of ``found`` that ``expected`` has; ``sizes`` where those of ``expected`` are not typical."""
        sizes = sizes or sizes_of(expected)
        for name, unit in UNITS.items():
            value = expected.get(name)
            if value is not None:
                self.add(f"{name} of {where}", found.get(name), value, sizes[name], unit)

    def fail(self, why: str) -> None:
        """Record a failure that has no number."""
        self._record(math.inf, why)

    def result(self) -> CheckResult:
        """Return the outcome; raises ContractViolation where the error is beyond the tolerance."""
        result = CheckResult(self.name, self.error, self.tolerance, f"{self.where}. {self.meaning}")
        if not result.passed:
            raise ContractViolation(result)
        return result

    def _record(self, error: float, where: str) -> None:
        error = math.inf if math.isnan(error) else error
        if error > self.error:
            self.error, self.where = error, where


def sizes_of(prediction: Prediction) -> dict[str, float]:
    """Natural size of each quantity: energies without E0, and no smaller than what the largest force makes of 1 Å."""
    values = {name: prediction.get(name) for name in QUANTITIES}
    sizes = {name: 0.0 if value is None else largest(value) for name, value in values.items()}
    energy = max(largest(prediction.interaction_energy), sizes["forces"], ENERGY_FLOOR * sizes["energy"])
    return {**sizes, "energy": energy, "node_energy": energy}


def largest(values: torch.Tensor) -> float:
    """Return the largest absolute value, 0 of nothing; NaN stays NaN."""
    return float(values.detach().abs().max()) if values.numel() else 0.0


def predict(
    potential: PotentialLike,
    configurations: Sequence[Configuration],
    *,
    forces: bool = True,
    stress: bool = False,
    create_graph: bool = False,
) -> Prediction:
    """Return what ``potential`` gives for ``configurations`` as one batch."""
    batch = make_batch(potential, configurations)
    return potential(batch, forces=forces, stress=stress, create_graph=create_graph)


def make_batch(potential: PotentialLike, configurations: Sequence[Configuration], skin: float = 0.0) -> Batch:
    """Return ``configurations`` as a batch for ``potential``, with edges up to r_max + ``skin`` (Å)."""
    batch = batch_of(configurations, tuple(potential.elements), potential.r_max + skin)
    return batch.to(device_of(potential))


def device_of(potential: PotentialLike) -> torch.device:
    """Return the potential's device; the CPU where it does not say."""
    return torch.device(getattr(potential, "device", "cpu"))


def parameters_of(potential: PotentialLike) -> list[torch.Tensor]:
    """Return the floating-point parameters that require grad; none where the potential is no ``nn.Module``."""
    if not isinstance(potential, torch.nn.Module):
        return []
    return [value for value in potential.parameters() if value.requires_grad and value.is_floating_point()]


def skipped(name: str, why: str) -> CheckResult:
    """Return the outcome of a check that does not apply."""
    return CheckResult(name, math.nan, math.nan, why, skipped=True)
