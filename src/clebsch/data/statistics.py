"""Statistics of a training set: E0, average number of neighbours, size of the forces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement

import numpy as np
import torch
from ase.data import atomic_numbers

from clebsch.data.configuration import Configuration
from clebsch.data.graph import Graph
from clebsch.data.pack import Pack
from clebsch.errors import DataError

# Atoms bind with a few eV each: a larger mean says that E0 belong to other energies than the labels.
LARGEST_BINDING = 20.0


@dataclass(frozen=True)
class Statistics:
    """What a model takes from its training set.

    Args:
        e0: energy of every isolated atom, eV.
        average_num_neighbors: edges per atom.
        force_rms: root mean square of the force components, eV/Å; None without forces.
        energy_mean_per_atom: mean over configurations of (E - sum_i E0_i) / N, eV; None without energies.
        energy_std_per_atom: standard deviation of the same, eV; None without energies.
        num_graphs: number of configurations.
        num_atoms: number of atoms in all of them.
        shortest_distances: of every pair of elements that has edges, such as "C-H", Å.
        compositions: [rank, elements], orthonormal rows that span the compositions of the training set, if E0 are
            fitted to energies that do not determine all of them; else None. See `undetermined`.
    """

    e0: dict[str, float]
    average_num_neighbors: float
    force_rms: float | None
    energy_mean_per_atom: float | None
    energy_std_per_atom: float | None
    num_graphs: int
    num_atoms: int
    shortest_distances: dict[str, float]
    compositions: list[list[float]] | None = None


@dataclass(frozen=True)
class E0Fit:
    """E0 by least squares on the composition.

    Args:
        e0: energy of every element, eV.
        rank: rank of the compositions; below the number of elements, only the sums that occur are determined.
        rmse_per_atom: root mean square of (E - sum_i E0_i) / N, eV.
        compositions: [rank, elements], orthonormal rows that span the compositions; None if they determine every E0.
        note: what to know about the fit, in one sentence.
    """

    e0: dict[str, float]
    rank: int
    compositions: list[list[float]] | None
    rmse_per_atom: float
    note: str


def fit_e0(configurations: Sequence[Configuration], elements: Sequence[str]) -> E0Fit:
    """Fit E0 to total energies in float64: minimise sum_n (E_n - sum_z N_nz E0_z)^2, of smallest norm where not unique.

    Args:
        configurations: those without an energy, or with one of weight zero, are passed over.
        elements: chemical symbols.

    Raises:
        DataError: no configuration has an energy, or one holds another element.
    """
    counts, energies = _labelled_compositions(configurations, elements)
    if not len(energies):
        raise DataError("E0 cannot be fitted: no configuration has an energy. Name the energy key, or give E0.")
    solution, _, rank, _ = np.linalg.lstsq(counts, energies, rcond=1e-10)
    per_atom = (energies - counts @ solution) / counts.sum(axis=1)
    return E0Fit(
        e0={symbol: float(value) for symbol, value in zip(elements, solution, strict=True)},
        rank=int(rank),
        compositions=None if rank == len(elements) else np.linalg.svd(counts, full_matrices=False)[2][:rank].tolist(),
        rmse_per_atom=float(np.sqrt(np.mean(per_atom**2))),
        note=_fit_note(counts, elements, int(rank)),
    )


def _labelled_compositions(
    configurations: Sequence[Configuration], elements: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of atoms [configurations, elements] and energies (eV) of those that have one with a weight."""
    if isinstance(configurations, Pack):
        check_e0(dict.fromkeys(elements), configurations.elements, "the element list")
        there = configurations.counts("energy")
        return configurations.compositions(elements)[there], configurations.energies()[there]
    configurations = [configuration for configuration in configurations if configuration.counts("energy")]
    for configuration in configurations:
        check_e0(dict.fromkeys(elements), configuration.symbols, f"the element list ({configuration.origin})")
    energies = np.array([float(configuration.labels["energy"]) for configuration in configurations])
    return _compositions(configurations, elements), energies


def undetermined(
    compositions: Sequence[Sequence[float]] | None, elements: Sequence[str], configurations: Sequence[Configuration]
) -> str | None:
    """Return what to say of configurations whose compositions lie outside the span of those that E0 were fitted to.

    Args:
        compositions: of `Statistics`; None for E0 that are all determined.
        elements: chemical symbols of their columns.
        configurations: of these elements.
    """
    if compositions is None:
        return None
    counts, space = _compositions(configurations, elements), np.asarray(compositions).reshape(-1, len(elements))
    outside = counts - counts @ space.T @ space
    count = int((np.linalg.norm(outside, axis=1) > 1e-6 * np.linalg.norm(counts, axis=1)).sum())
    if not count:
        return None
    return (
        f"{count} of {len(counts)} configurations have compositions that the fit of E0 does not determine: their "
        "energies mean nothing. Give the energies of isolated atoms, or train on more compositions."
    )


def _compositions(configurations: Sequence[Configuration], elements: Sequence[str]) -> np.ndarray:
    """Numbers of atoms [configurations, elements]."""
    if isinstance(configurations, Pack):
        return configurations.compositions(elements)
    numbers = [atomic_numbers[symbol] for symbol in elements]
    rows = [[np.count_nonzero(found.numbers == number) for number in numbers] for found in configurations]
    return np.array(rows, dtype=float).reshape(-1, len(elements))


def compute_statistics(
    graphs: Sequence[Graph],
    elements: Sequence[str],
    e0: Mapping[str, float],
    compositions: list[list[float]] | None = None,
) -> Statistics:
    """Return the statistics of training graphs.

    Args:
        graphs: the training set, with energies and forces or without.
        elements: chemical symbols that the graphs' species index.
        e0: energy of every isolated atom, eV; all zero to leave the energies as they are.
        compositions: of the fit of E0, to be kept.

    Raises:
        DataError: there is no graph, E0 of an element is missing, or E0 do not belong to these energies.
    """
    if not graphs:
        raise DataError("Statistics need at least one graph, got none.")
    check_e0(e0, elements)
    num_atoms = sum(graph.num_atoms for graph in graphs)
    forces = [graph.labels["forces"] for graph in graphs if graph.counts("forces")]
    binding = _energies_per_atom(graphs, [float(e0[symbol]) for symbol in elements])
    mean = None if binding is None else float(binding.mean())
    if mean is not None and abs(mean) > LARGEST_BINDING and any(e0.values()):
        raise DataError(
            f"After subtracting E0 the mean energy is {mean:.1f} eV per atom; expected a few eV. E0 "
            f"({', '.join(f'{symbol} {e0[symbol]:.3f}' for symbol in elements)} eV) come from another method or unit "
            "than the energies. Use isolated atoms of the same calculation, or fit E0."
        )
    return Statistics(
        e0={symbol: float(e0[symbol]) for symbol in elements},
        average_num_neighbors=sum(graph.num_edges for graph in graphs) / num_atoms,
        force_rms=float(torch.cat(forces).square().mean().sqrt()) if forces else None,
        energy_mean_per_atom=mean,
        energy_std_per_atom=None if binding is None else float(binding.std(correction=0)),
        num_graphs=len(graphs),
        num_atoms=num_atoms,
        shortest_distances=shortest_distances(graphs, elements),
        compositions=compositions,
    )


def check_e0(e0: Mapping[str, object], symbols: Sequence[str], source: str = "E0") -> None:
    """Raise DataError where ``e0`` lacks one of ``symbols``."""
    missing = sorted(set(symbols) - set(e0))
    if missing:
        raise DataError(
            f"{source} has no entry for {', '.join(missing)}; it has {', '.join(e0) or 'none'}. "
            "Add the energy of the isolated atom (eV), or fit E0 to the training energies."
        )


def shortest_distances(graphs: Sequence[Graph], elements: Sequence[str]) -> dict[str, float]:
    """Return the shortest distance (Å) of every pair of elements, such as "C-H", that has edges in ``graphs``."""
    count = len(elements)
    shortest = torch.full((count * count,), torch.inf, dtype=torch.float64)
    for graph in graphs:
        ends = graph.positions[graph.neighbors] - graph.positions[graph.centers]
        r = torch.linalg.vector_norm(ends + graph.shifts @ graph.cell, dim=1)
        shortest.scatter_reduce_(0, graph.species[graph.centers] * count + graph.species[graph.neighbors], r, "amin")
    return {
        f"{elements[i]}-{elements[j]}": float(shortest[i * count + j])
        for i, j in combinations_with_replacement(range(count), 2)
        if torch.isfinite(shortest[i * count + j])
    }


def _energies_per_atom(graphs: Sequence[Graph], e0: Sequence[float]) -> torch.Tensor | None:
    table = torch.tensor(e0, dtype=torch.float64)
    values = [
        (graph.labels["energy"] - table[graph.species].sum()) / graph.num_atoms
        for graph in graphs
        if graph.counts("energy")
    ]
    return torch.stack(values) if values else None


def _fit_note(counts: np.ndarray, elements: Sequence[str], rank: int) -> str:
    absent = [symbol for symbol, total in zip(elements, counts.sum(axis=0), strict=True) if total == 0.0]
    if absent:
        return f"No configuration holds {', '.join(absent)}: E0 set to zero there."
    if rank < len(elements):
        return (
            f"The compositions determine only {rank} of {len(elements)} combinations of E0; the solution of smallest "
            "norm is taken. Energies of other compositions and of isolated atoms are not meaningful."
        )
    return "The compositions determine every E0."
