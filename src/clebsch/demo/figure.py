"""The figure of the demo: forces, learning curve and energy conservation side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import LogFormatter, StrMethodFormatter

from clebsch.benchmark.dynamics import EnergyTrace
from clebsch.demo.recipes import LINEAR, PACE
from clebsch.evaluation import Accuracy, Comparison, accuracy
from clebsch.plotting import PALETTE, figure, legend, save_figure

COLOURS = {LINEAR: PALETTE[4], PACE: PALETTE[0]}
FORCE_RMSE = "forces_rmse_meV_A"


def plot_demo(
    comparisons: Mapping[str, Comparison],
    history: Sequence[Mapping[str, Any]],
    linear: Accuracy,
    trace: EnergyTrace,
    path: Path,
) -> None:
    """Write the figure.

    Args:
        comparisons: predictions of both models on the test set at 300 K; the last is drawn on top.
        history: epochs of PACE.
        linear: validation errors of linear ACE.
        trace: energies along the trajectory.
        path: file to write.
    """
    drawn, (parity, learning, energy) = figure(3, width=4.6, height=4.4)
    draw_parity(parity, comparisons)
    draw_learning(learning, history, linear)
    draw_energy(energy, trace)
    for axes in (parity, learning, energy):
        axes.spines[["top", "right"]].set_visible(False)
    save_figure(drawn, path)


def draw_parity(axes: Axes, comparisons: Mapping[str, Comparison]) -> None:
    """Draw predicted against reference force components on equal axes."""
    pairs = {name: (item.labels["forces"], item.predictions["forces"]) for name, item in comparisons.items()}
    limit = 1.05 * max(np.abs(forces).max() for pair in pairs.values() for forces in pair)
    axes.plot((-limit, limit), (-limit, limit), color="grey", linewidth=0.8, zorder=0)
    for name, item in comparisons.items():
        label = f"{name}, RMSE {accuracy(item)[FORCE_RMSE]:.1f} meV/Å"
        dots = {"s": 4, "color": COLOURS[name], "linewidths": 0, "rasterized": True}
        axes.scatter(*pairs[name], label=label, **dots)
    axes.set(xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal", title="Forces of the test set at 300 K")
    axes.set(xlabel="GFN2-xTB force component (eV/Å)", ylabel="predicted force component (eV/Å)")
    legend(axes, fontsize="medium", loc="upper left", markerscale=3, handletextpad=0.2)
    draw_errors(axes.inset_axes((0.62, 0.13, 0.36, 0.27)), comparisons)


def draw_errors(axes: Axes, comparisons: Mapping[str, Comparison]) -> None:
    """Draw how the errors of the force components are distributed."""
    errors = {name: 1000.0 * item.error("forces").ravel() for name, item in comparisons.items()}
    limit = max(np.percentile(np.abs(values), 95) for values in errors.values())
    for name, values in errors.items():
        axes.hist(values, bins=np.linspace(-limit, limit, 41), color=COLOURS[name], histtype="step")
    axes.set(xlim=(-limit, limit), yticks=[])
    axes.set_xlabel("error (meV/Å)", fontsize="small")
    axes.tick_params(labelsize="small")
    axes.spines[["top", "left", "right"]].set_visible(False)


def draw_learning(axes: Axes, history: Sequence[Mapping[str, Any]], linear: Accuracy) -> None:
    """Draw the validation error of PACE against the time of the fit, and that of linear ACE as a level line."""
    seconds, errors = ([row[key] for row in history] for key in ("seconds", f"valid_{FORCE_RMSE}"))
    axes.plot(seconds, errors, color=COLOURS[PACE], marker="o", markersize=2.5, label=f"{PACE}, after every epoch")
    axes.axhline(linear[FORCE_RMSE], color=COLOURS[LINEAR], linestyle="--", label=f"{LINEAR}, least squares")
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.yaxis.set_minor_formatter(LogFormatter(minor_thresholds=(2, 0.8)))
    axes.set(xlabel="training time (s)", ylabel="validation force RMSE (meV/Å)", title="Training")
    legend(axes, fontsize="medium", loc="upper right")


def draw_energy(axes: Axes, trace: EnergyTrace) -> None:
    """Draw the total energy along the trajectory and the line whose slope is the drift."""
    axes.plot(trace.times, trace.energies, color=COLOURS[PACE], linewidth=0.6)
    slope, intercept = np.polyfit(trace.times, trace.energies, 1)
    label = f"drift {trace.drift:+.3f} meV/atom/ps"
    axes.plot(trace.times, slope * trace.times + intercept, color=PALETTE[1], linewidth=1.5, label=label)
    room = float(np.ptp(trace.energies))
    axes.set(ylim=(trace.energies.min() - 0.2 * room, trace.energies.max() + 0.5 * room))
    axes.set(xlabel="time (ps)", ylabel="total energy − first (meV/atom)", title=f"{PACE} at constant energy")
    legend(axes, fontsize="medium", loc="upper left")
