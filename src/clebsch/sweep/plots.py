"""Pictures of a study: accuracy against cost, in-domain against out-of-domain, the effect of every axis."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from clebsch.plotting import PALETTE, colours, figure, legend, save_figure
from clebsch.sweep.study import name_of
from clebsch.sweep.table import Group, axis_effects, force_errors

COSTS = {"flop_per_atom": "operations per atom", "parameters": "parameters", "seconds": "training time (s)"}


def plot_cost(groups: Sequence[Group], metric: str, path: Path) -> Path:
    """Write ``metric`` against every cost, with the spread over seeds."""
    drawn, axes = figure(len(COSTS))
    for axis, (cost, label) in zip(axes, COSTS.items(), strict=True):
        for group in groups:
            axis.errorbar(
                group.mean[cost], group.mean[metric], yerr=group.spread[metric], fmt="o", color=PALETTE[0], markersize=4
            )
        axis.set_xscale("log")
        axis.set_yscale("log")
        axis.set_xlabel(label)
        axis.set_ylabel(metric)
    return save_figure(drawn, path)


def plot_domains(groups: Sequence[Group], inside: str, outside: str, path: Path) -> Path:
    """Write the error outside the training domain against the one inside."""
    drawn, (axis,) = figure(1)
    for colour, group in zip(colours(len(groups)), groups, strict=True):
        axis.errorbar(
            group.mean[inside],
            group.mean[outside],
            xerr=group.spread[inside],
            yerr=group.spread[outside],
            fmt="o",
            color=colour,
            markersize=4,
            label=name_of(group.labels),
        )
    axis.set_xlabel(inside)
    axis.set_ylabel(outside)
    if len(groups) <= 2 * len(PALETTE):
        legend(axis, fontsize="x-small")
    return save_figure(drawn, path)


def plot_effects(groups: Sequence[Group], metric: str, path: Path) -> Path:
    """Write, for every axis, mean and standard deviation of ``metric`` by value, see ``axis_effects``."""
    axes_of_study = list(groups[0].labels)
    drawn, axes = figure(len(axes_of_study))
    for axis, name in zip(axes, axes_of_study, strict=True):
        effects = axis_effects([vars(group) for group in groups], name, metric)
        for place, (colour, (mean, error)) in enumerate(zip(colours(len(effects)), effects.values(), strict=True)):
            axis.bar(place, mean, yerr=error, color=colour, capsize=3)
        axis.set_xticks(range(len(effects)), list(effects), rotation=30, ha="right", fontsize="small")
        axis.set_title(name, fontsize="small")
        axis.set_ylabel(metric)
    return save_figure(drawn, path)


def plot_study(groups: Sequence[Group], directory: Path) -> list[Path]:
    """Write all pictures that the sets and axes of the study allow."""
    metrics = force_errors([group.mean for group in groups])
    if not metrics:
        return []
    paths = [plot_cost(groups, metrics[0], directory / "cost.png")]
    if groups[0].labels:
        paths.append(plot_effects(groups, metrics[-1], directory / "effects.png"))
    if len(metrics) > 1:
        paths.append(plot_domains(groups, metrics[0], metrics[-1], directory / "domains.png"))
    return paths
