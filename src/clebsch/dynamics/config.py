"""Every choice of molecular dynamics."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from clebsch.config import StrictConfig


class MDConfig(StrictConfig):
    """Molecular dynamics.

    Attributes:
        ensemble: "nve"; at constant temperature "langevin", which acts on every atom, or "bussi", which scales all
            velocities (canonical sampling, Bussi et al. 2007); "npt", Langevin with a barostat of the volume, or
            "npt-cell", with one of the whole cell (Quigley and Probert 2004).
        temperature: K, of the thermostat and of the first velocities.
        pressure: GPa, for npt and npt-cell.
        timestep: fs.
        steps: time steps in all.
        seed: of the first velocities and of the thermostat.
        velocities: the first ones: "draw" them from Maxwell and Boltzmann's distribution, or "keep" those of the
            structure.
        thermostat_time: fs, relaxation time of the thermostat, the inverse of the friction.
        barostat_time: fs, relaxation time of the barostat.
        every: steps between frames of the trajectory and lines of the log.
        hottest: the run ends, with an error, above this many times the temperature.
        save_seconds: seconds between states that are saved, at least; a killed run goes on from the last.
    """

    ensemble: Literal["nve", "langevin", "bussi", "npt", "npt-cell"] = "langevin"
    temperature: float = Field(default=300.0, gt=0, le=1e6, allow_inf_nan=False)
    pressure: float = Field(default=0.0, allow_inf_nan=False)
    timestep: float = Field(default=0.5, gt=0, le=100, allow_inf_nan=False)
    steps: int = Field(default=10_000, ge=1)
    seed: int = Field(default=0, ge=0)
    velocities: Literal["draw", "keep"] = "draw"
    thermostat_time: float = Field(default=100.0, gt=0, allow_inf_nan=False)
    barostat_time: float = Field(default=1000.0, gt=0, allow_inf_nan=False)
    every: int = Field(default=10, ge=1)
    hottest: float = Field(default=10.0, gt=1, allow_inf_nan=False)
    save_seconds: float = Field(default=30.0, ge=0, allow_inf_nan=False)

    @property
    def constant_pressure(self) -> bool:
        """Whether there is a barostat."""
        return self.ensemble.startswith("npt")
