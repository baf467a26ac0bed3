"""Second derivatives of the energy: the Hessian, its products with vectors, vibrations."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from ase import Atoms
from ase.vibrations import VibrationsData
from jaxtyping import Float

from clebsch.data import Configuration, Graph, build_graphs, collate
from clebsch.errors import DataError
from clebsch.models import FrozenPotential, Potential

ATOMS_PER_CALL = 2048  # of all copies of the system together


def hessian(
    potential: Potential,
    atoms: Atoms,
    indices: Sequence[int] | None = None,
    *,
    atoms_per_call: int = ATOMS_PER_CALL,
) -> Float[np.ndarray, "rows rows"]:
    r"""Return the second derivatives of the energy, in eV/Å².

    .. math:: H_{ia,jb} = \frac{\partial^2 E}{\partial r_{ia}\, \partial r_{jb}}

    They are exact derivatives, no differences, and symmetric to rounding; row 3i + a belongs to atom i and direction a.
    Those of a periodic system are of motions that are the same in every cell: phonons at Γ.

    Args:
        potential: the potential; its dtype is that of the arithmetic.
        atoms: the system; N atoms have a matrix of 9 N² numbers.
        indices: the n atoms whose [3n, 3n] rows and columns are wanted, each once; None for all.
        atoms_per_call: copies of the system are computed together up to this number of atoms: memory against speed.

    Raises:
        DataError: the potential does not know an element, positions cannot be used, or an index is none of an atom.
    """
    chosen = _atoms_of(indices, len(atoms))
    rows = (3 * chosen[:, None] + np.arange(3)).ravel()
    frozen, graph = potential.frozen(), _graph_of(potential, atoms)
    parts = []
    for some in np.array_split(rows, _num_calls(len(rows), len(atoms), atoms_per_call)):
        units = np.zeros((len(some), 3 * len(atoms)))
        units[np.arange(len(some)), some] = 1.0
        products = _products(frozen, graph, units.reshape(len(some), -1, 3))
        parts.append(products.reshape(len(some), -1)[:, rows])
    return np.concatenate(parts)


def hessian_vector_product(potential: Potential, atoms: Atoms, vectors: np.ndarray) -> np.ndarray:
    r"""Return :math:`\sum_{jb} H_{ia,jb}\, v_{jb}` without the matrix, for systems that are large.

    Args:
        potential: the potential.
        atoms: the system.
        vectors: v, one or several [..., atoms, 3], whose products are computed together; the result has their shape,
            and their unit times eV/Å².

    Raises:
        DataError: the potential does not know an element, or ``vectors`` has another shape or numbers not finite.
    """
    given = np.asarray(vectors, dtype=np.float64)
    if given.shape[-2:] != (len(atoms), 3) or not np.isfinite(given).all():
        raise DataError(
            f"vectors: expected finite numbers of shape [..., {len(atoms)}, 3], one vector for every atom, got shape "
            f"{list(given.shape)}{'' if np.isfinite(given).all() else ' with numbers that are not finite'}."
        )
    flat = given.reshape(-1, len(atoms), 3)
    return _products(potential.frozen(), _graph_of(potential, atoms), flat).reshape(given.shape)


def vibrations(potential: Potential, atoms: Atoms, indices: Sequence[int] | None = None) -> VibrationsData:
    """Return the harmonic vibrations of ``atoms``, which should be relaxed: energies, modes and what follows from them.

    Args:
        potential: the potential.
        atoms: the system, at a minimum or a saddle point.
        indices: the atoms that vibrate, the others held; None for all.

    Raises:
        DataError: as for `hessian`.
    """
    bare = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc, masses=atoms.get_masses())
    chosen = None if indices is None else _atoms_of(indices, len(atoms)).tolist()
    return VibrationsData.from_2d(bare, hessian(potential, atoms, chosen), chosen)


def _products(potential: FrozenPotential, graph: Graph, vectors: np.ndarray) -> np.ndarray:
    """H v for vectors [k, atoms, 3]: one gradient of Σ_k v_k · ∂E/∂r over k copies of the system."""
    with torch.inference_mode(False), torch.enable_grad():
        batch = collate([graph] * len(vectors)).to(potential.device)
        positions = batch.positions.detach().requires_grad_(True)
        energy = potential.energies(batch, positions, None).interaction_energy.sum()
        (slope,) = torch.autograd.grad(energy, positions, create_graph=True, materialize_grads=True)
        if not slope.requires_grad:  # atoms without neighbours
            return np.zeros_like(vectors)
        along = (slope * torch.from_numpy(vectors).reshape(-1, 3).to(slope)).sum()
        (product,) = torch.autograd.grad(along, positions, materialize_grads=True)
    return product.reshape(vectors.shape).cpu().numpy()


def _graph_of(potential: Potential, atoms: Atoms) -> Graph:
    (graph,) = build_graphs([Configuration.from_atoms(atoms)], potential.elements, potential.r_max)
    return graph


def _num_calls(rows: int, num_atoms: int, atoms_per_call: int) -> int:
    return -(-rows // max(1, atoms_per_call // num_atoms))


def _atoms_of(indices: Sequence[int] | None, num_atoms: int) -> np.ndarray:
    """The atoms that ``indices`` name, 0 … num_atoms - 1, at least one and each once."""
    if indices is None:
        return np.arange(num_atoms)
    chosen = np.asarray(indices)
    integers = chosen.ndim == 1 and len(chosen) and np.issubdtype(chosen.dtype, np.integer)
    if not integers or chosen.min() < 0 or chosen.max() >= num_atoms or len(np.unique(chosen)) < len(chosen):
        raise DataError(
            f"indices: expected different atoms from 0 to {num_atoms - 1}, at least one, got {np.asarray(indices)}."
        )
    return chosen
