"""Pictures of a trajectory and of phonons."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms

from clebsch.data import neighbor_list
from clebsch.dynamics.config import MDConfig
from clebsch.plotting import PALETTE, figure, legend, save_figure

FARTHEST, BIN = 6.0, 0.05  # Å, of distances between atoms
MOST_FRAMES = 200
MILLI = 1000.0


def plot_trajectory(log: dict[str, np.ndarray], trajectory: Path, config: MDConfig, path: Path) -> Path:
    """Write energies and temperature against time, and the distances between atoms over the second half."""
    drawn, (energies, temperatures, distances) = figure(3)
    times = log["time_ps"]
    for colour, name in zip(PALETTE, ("total", "potential"), strict=False):
        values = log[f"{name}_energy_eV"]
        energies.plot(times, values - values[0], color=colour, label=name, linewidth=0.8)
    energies.set_ylabel("energy above the first frame (eV)")
    temperatures.plot(times, log["temperature_K"], color=PALETTE[0], linewidth=0.8)
    if config.ensemble != "nve":
        temperatures.axhline(config.temperature, color="grey", linewidth=0.8, label="thermostat")
    temperatures.set_ylabel("temperature (K)")
    for axis in (energies, temperatures):
        axis.set_xlabel("time (ps)")
        legend(axis)
    first, count = len(times) // 2, len(times)
    frames = ase.io.read(trajectory, f"{first}::{max(1, (count - first) // MOST_FRAMES)}")
    radii, density, crystal = radial_distribution(frames if isinstance(frames, list) else [frames])
    distances.plot(radii, density, color=PALETTE[0], linewidth=1)
    distances.set_xlabel("distance (Å)")
    distances.set_ylabel("g(r)" if crystal else "pairs per atom and Å")
    return save_figure(drawn, path)


def radial_distribution(frames: Iterable[Atoms]) -> tuple[np.ndarray, np.ndarray, bool]:
    """Return distances (Å) up to 6 Å, and for crystals g(r), else neighbours per atom and Å; and which of the two."""
    edges = np.arange(0.0, FARTHEST + BIN / 2, BIN)
    middles, counts, atoms, density, crystal = (edges[1:] + edges[:-1]) / 2, np.zeros(len(edges) - 1), 0, 0.0, False
    for frame in frames:
        centers, neighbors, shifts = neighbor_list(frame.positions, frame.cell.array, frame.pbc, FARTHEST)
        vectors = frame.positions[neighbors] - frame.positions[centers] + shifts @ frame.cell.array
        counts += np.histogram(np.linalg.norm(vectors, axis=1), edges)[0]
        atoms += len(frame)
        crystal = bool(frame.pbc.all()) and frame.cell.rank == 3
        density += len(frame) ** 2 / frame.get_volume() if crystal else 0.0
    if crystal:  # the mean over frames of N · ρ, the pairs of an ideal gas per volume of a shell
        return middles, counts / (density * 4 * np.pi * middles**2 * BIN), True
    return middles, counts / (atoms * BIN), False


def plot_bands(
    path: np.ndarray,
    frequencies: np.ndarray,
    labels: Sequence[tuple[str, float]],
    thermal: Mapping[str, np.ndarray],
    file: Path,
) -> Path:
    """Write bands along a path of wave vectors, and heat capacity and entropy against temperature."""
    drawn, (bands, heat) = figure(2)
    bands.plot(path, frequencies, color=PALETTE[0], linewidth=0.8)
    for _, place in labels:
        bands.axvline(place, color="grey", linewidth=0.5)
    bands.axhline(0.0, color="grey", linewidth=0.5)
    bands.set_xticks([place for _, place in labels], [name for name, _ in labels])
    bands.set_xlim(path[0], path[-1])
    bands.set_ylabel("frequency (THz)")
    for colour, name in zip(PALETTE, ("heat_capacity", "entropy"), strict=False):
        heat.plot(thermal["temperature_K"], MILLI * thermal[f"{name}_eV_K"], color=colour, label=name.replace("_", " "))
    heat.set_xlabel("temperature (K)")
    heat.set_ylabel("meV/K per primitive cell")
    legend(heat)
    return save_figure(drawn, file)
