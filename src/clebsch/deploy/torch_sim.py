"""torch-sim: many systems at once, in dynamics and relaxation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from clebsch.data import Configuration
from clebsch.deploy.packages import require
from clebsch.models import Potential
from clebsch.models.device import find_device, find_dtype
from clebsch.models.serialization import load_potential

require("torch_sim", "torch-sim-atomistic")

from torch_sim.models.interface import ModelInterface  # noqa: E402 - after the check
from torch_sim.state import SimState  # noqa: E402


class TorchSimModel(ModelInterface):
    """A potential as a model of torch-sim: ``torch_sim.integrate(system=frames, model=TorchSimModel(potential), …)``.

    All systems of a state are one batch. Energies are in eV, forces in eV/Å, the stress is (1/V) ∂E/∂ε in eV/Å^3.

    Args:
        potential: a potential, or the path of a saved one; a frozen copy is kept.
        dtype: of states and results; the network keeps the dtype of the potential.
        device: of states and results, and of the network.
        compute_stress: whether the stress is computed, which needs cells with a volume.

    Raises:
        ConfigError: the package torch-sim-atomistic is missing.
    """

    def __init__(
        self,
        potential: Potential | str | Path,
        *,
        dtype: torch.dtype | str = torch.float64,
        device: torch.device | str = "cpu",
        compute_stress: bool = True,
    ) -> None:
        super().__init__()
        self._device, self._dtype = find_device(device), find_dtype(dtype)
        self._compute_stress, self._compute_forces = compute_stress, True
        if not isinstance(potential, Potential):
            potential = load_potential(potential, device=self._device)
        self.potential = potential.copy(device=self._device).frozen()

    def forward(self, state: SimState | dict[str, Any], **_: Any) -> dict[str, Tensor]:
        """Energy [systems], forces [atoms, 3] and stress [systems, 3, 3] of a state.

        Raises:
            DataError: an element is not known, or two atoms are at one place.
        """
        state = state if isinstance(state, SimState) else SimState(**state)
        parts = [state.positions[state.system_idx == system] for system in range(state.n_systems)]
        numbers = [state.atomic_numbers[state.system_idx == system] for system in range(state.n_systems)]
        periodic = torch.as_tensor(state.pbc).expand(3).cpu().numpy().astype(bool)
        configurations = [
            Configuration(
                number.cpu().numpy(),
                positions.detach().double().cpu().numpy(),
                cell.detach().double().cpu().numpy(),
                periodic,
                origin=f"system {system}",
            )
            for system, (number, positions, cell) in enumerate(zip(numbers, parts, state.row_vector_cell, strict=True))
        ]
        found = self.potential(self.potential.batch(configurations), forces=True, stress=self._compute_stress)
        result = {"energy": found.energy, "forces": found.forces}
        if self._compute_stress:
            result["stress"] = found.stress
        return {name: value.to(self._dtype) for name, value in result.items()}
