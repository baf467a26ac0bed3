"""Pictures of a benchmark: scans and curves of two atoms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from clebsch.benchmark.dimers import DimerCurve
from clebsch.benchmark.scans import MILLI, Scan
from clebsch.plotting import colours, figure, legend, save_figure


def plot_scan(name: str, scans: Mapping[str, Scan], path: str | Path) -> Path:
    """Write the labels and every potential's energies of one scan, above the lowest label, and the errors below."""
    drawn, axes = figure(2)
    first = next(iter(scans.values()))
    zero = first.label.min()
    axes[0].plot(first.values, MILLI * (first.label - zero), "k.", label="label", markersize=4)
    for colour, (model, scan) in zip(colours(len(scans)), scans.items(), strict=True):
        axes[0].plot(scan.values, MILLI * (scan.energy - zero), color=colour, label=model, linewidth=1)
        axes[1].plot(scan.values, MILLI * (scan.energy - scan.label), color=colour, linewidth=1)
    axes[0].set_ylabel("energy (meV)")
    axes[1].set_ylabel("error (meV)")
    axes[1].axhline(0, color="grey", linewidth=0.6)
    for axis in axes:
        axis.set_xlabel(first.coordinate)
    axes[0].set_title(name, fontsize="medium")
    legend(axes[0])
    return save_figure(drawn, path)


def plot_dimers(curves: Mapping[str, Sequence[DimerCurve]], path: str | Path) -> Path:
    """Write the curves of two atoms, one panel per potential; energies are drawn on a scale that is linear to 1 eV."""
    drawn, axes = figure(len(curves))
    for axis, (model, found) in zip(axes, curves.items(), strict=True):
        for colour, curve in zip(colours(len(found)), found, strict=True):
            axis.plot(curve.distances, curve.energies, color=colour, label=curve.pair, linewidth=1)
        axis.set_yscale("symlog", linthresh=1.0)
        axis.set_title(model, fontsize="medium")
        axis.set_xlabel("distance (Å)")
        axis.set_ylabel("energy (eV)")
        legend(axis, fontsize="x-small", ncols=2)
    return save_figure(drawn, path)
