"""Linear ACE by regularised least squares on energies and forces: seconds, not epochs."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, cast

import torch
from pydantic import Field

from clebsch.basis.mlp import MLP
from clebsch.config import StrictConfig
from clebsch.data import Batch, BatchSampler, Graph, collate
from clebsch.errors import ConfigError, DataError
from clebsch.models.layer import Layer
from clebsch.models.potential import Potential, edge_vectors
from clebsch.models.product_basis import ProductBasisLayer
from clebsch.models.terms import Term
from clebsch.ops import Edges, ElementGroups
from clebsch.ops.reference import ProductBasis
from clebsch.progress import say
from clebsch.training.distributed import World, current

if TYPE_CHECKING:
    from rich.console import Console


Ridge = Annotated[float, Field(ge=0)]


class LeastSquaresConfig(StrictConfig):
    """Settings of the linear fit.

    Attributes:
        energy_weight: weight of the mean squared energy error per atom.
        forces_weight: weight of the mean squared error of force components.
        ridges: candidates of the Tikhonov parameter, relative to columns of unit norm; the one with the smallest
            validation loss is taken.
        batch_size: configurations whose features are computed at once.
    """

    energy_weight: float = Field(default=100.0, ge=0)
    forces_weight: float = Field(default=1.0, ge=0)
    ridges: tuple[Ridge, ...] = Field(default=(1e-12, 1e-11, 1e-10, 1e-9, 1e-8, 1e-7, 1e-6), min_length=1)
    batch_size: int = Field(default=8, ge=1)

    @property
    def fitted(self) -> tuple[str, ...]:
        """The quantities with a positive weight."""
        return tuple(name for name in ("energy", "forces") if getattr(self, f"{name}_weight") > 0)


@dataclass(frozen=True)
class LeastSquaresResult:
    """Outcome of the linear fit.

    Attributes:
        ridge: the Tikhonov parameter taken.
        best_validation: its validation loss.
        history: validation loss of every candidate, as ``{"ridge": …, "valid_loss": …}``.
        num_coefficients: unknowns of the linear system.
        seconds: wall time.
    """

    ridge: float
    best_validation: float
    history: list[dict[str, float]]
    num_coefficients: int
    seconds: float


def fit_least_squares(
    potential: Potential,
    train: Sequence[Graph],
    valid: Sequence[Graph],
    config: LeastSquaresConfig,
    *,
    console: Console | None = None,
) -> LeastSquaresResult:
    r"""Solve for the product-basis weights of a linear potential, in place.

    .. math:: \min_c \; w_E \Big\langle \big((E - \mathbf{x}_E \cdot c) / N\big)^2 \Big\rangle
              + w_F \big\langle (F + \nabla \mathbf{x}_E \cdot c)^2 \big\rangle + \lambda |D c|^2

    with D the column norms; solved in float64 by the Cholesky factor of the normal equations.

    Args:
        potential: a potential that is linear in its product-basis weights (see ``linear_ace``).
        train: training graphs with energies in eV, forces in eV/Å, or some of them; weights of configurations count.
        valid: validation graphs, which choose the ridge.
        config: settings.
        console: where to print; None for silence.

    Raises:
        ConfigError: the potential is not linear in those weights.
        DataError: there is no energy and no force.
    """
    started, world = time.monotonic(), current()
    with world.together():
        require_linear(potential)
        features = LinearFeatures(potential)
        normal = _normal_equations(features, train, config, world)
        valid_rows = [torch.cat(parts) for parts in zip(*_weighted_rows(features, valid, config, world), strict=True)]
    matrix, target = map(world.sum, normal)
    norms = matrix.diagonal().sqrt().clamp(min=1e-300)
    scaled = matrix / norms[:, None] / norms[None, :]
    history, best = [], None
    for ridge in config.ridges:
        coefficients = world.broadcast({"c": _solve(scaled, target / norms, ridge) / norms})["c"].to(norms)
        squares = (valid_rows[0] @ coefficients - valid_rows[1]).square().sum() if valid_rows else norms.new_zeros(())
        loss = float(world.sum(squares))
        history.append({"ridge": ridge, "valid_loss": loss})
        say(console, f"ridge {ridge:.0e}: validation loss {loss:.6g}")
        if math.isfinite(loss) and (best is None or loss < best[1]):
            best = (ridge, loss, coefficients)
    with world.together():
        if best is None:
            raise ConfigError(f"No ridge of {list(config.ridges)} gives a solvable system. Add a larger one.")
    assert best is not None
    features.set_coefficients(best[2])
    return LeastSquaresResult(best[0], best[1], history, len(norms), time.monotonic() - started)


def require_linear(potential: Potential) -> None:
    """Raise ConfigError unless the energy is linear in the product-basis weights."""
    layers = potential.config.model.layers
    wanted = {
        "node_features": False,
        "product_linear": False,
        "distinct_factors": False,
        "residual": "none",
        "gate": "none",
        "readout": "linear",
    }
    problems = [] if len(layers) == 1 else [f"{len(layers)} layers (expected 1)"]
    for name, value in wanted.items():
        if getattr(layers[0], name) != value:
            problems.append(f"{name} = {getattr(layers[0], name)!r} (expected {value!r})")
    if layers[0].correlation == 1:
        problems.append("correlation = 1 (expected 2 or more)")
    if problems:
        raise ConfigError(
            "Least squares needs a model that is linear in its product-basis weights, such as linear_ace; this one has "
            + ", ".join(problems)
            + ". Fit it by gradients instead."
        )


class LinearFeatures:
    """Energy features of a linear potential and their gradients: the columns of the linear system.

    Column (z, f, k) belongs to element z, coupling f of the product basis and channel k.

    Args:
        potential: a linear potential; its radial functions stay as they are.
    """

    def __init__(self, potential: Potential) -> None:
        self.potential = potential
        layer = cast(Layer, potential.model.layers[0])
        self.atomic_basis, self.readout = layer.atomic_basis, cast(MLP, layer.readout.mlp)
        self.product_basis = cast(ProductBasisLayer, layer.product_basis)
        descriptor = self.product_basis.descriptor
        self.product = ProductBasis(descriptor, potential.dtype).to(potential.device)
        self.num_couplings = sum(block.coupling.num_paths for block in descriptor.blocks)
        self.num_columns = len(potential.elements) * self.num_couplings * potential.config.model.num_channels

    def __call__(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Energy rows [graphs, columns] and force rows [3 atoms, columns] such that E = rows c, F = rows c."""
        vectors = edge_vectors(batch, batch.positions, batch.cell).to(self.potential.dtype).requires_grad_(True)
        seen = vectors
        for term in self.potential.terms:
            seen = cast(Term, term).seen(seen, batch.edges)
        phi = self._edge_basis(batch, seen.to(vectors.dtype))
        basis = phi.detach().new_zeros(phi.shape[0], len(batch.species), phi.shape[2])
        basis = basis.index_add(1, batch.centers, phi.detach()).requires_grad_(True)
        invariants = self.product.uncontracted([basis])
        values = torch.cat([block[:, 0] for block in invariants])  # [couplings, atoms, channels]
        slopes = torch.stack([torch.autograd.grad(value.sum(), basis, retain_graph=True)[0] for value in values])
        gradients = _directional(phi, vectors)  # [3, components, edges, channels]
        per_edge = _contract(slopes, gradients, batch.centers)
        return self._energy_rows(batch, values.detach()), self._force_rows(batch, per_edge)

    def constant(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """What is there without the columns, E0, shift and terms: energies [graphs], forces [3 atoms]."""
        positions = batch.positions.detach().requires_grad_(True)
        energy = (self.potential.e0 + self.potential.shift)[batch.species] + 0 * positions.sum(1)
        vectors = edge_vectors(batch, positions, batch.cell)
        for term in self.potential.terms:
            added = cast(Term, term).energy(vectors, batch.edges, None)
            energy = energy if added is None else energy + added
        (gradient,) = torch.autograd.grad(energy.sum(), positions)
        energy = energy.detach()
        return energy.new_zeros(batch.num_graphs).index_add(0, batch.graph_index, energy), -gradient.reshape(-1)

    def set_coefficients(self, coefficients: torch.Tensor) -> None:
        """Write the solution into the product-basis weights; the readout becomes a plain sum over channels."""
        num_elements, num_channels = len(self.potential.elements), self.potential.config.model.num_channels
        table = coefficients.reshape(num_elements, self.num_couplings, num_channels)
        table = table / self.potential.scale[:, None, None]
        start = 0
        with torch.no_grad():
            for weight in self.product_basis.weights:
                weight.copy_(table[:, start : start + weight.shape[1]])
                start += weight.shape[1]
            self.readout.weights[0].fill_(num_channels**0.5)

    def _edge_basis(self, batch: Batch, vectors: torch.Tensor) -> torch.Tensor:
        """The one-particle basis of every edge [components, edges, channels]: each edge pooled by itself."""
        edges, count = batch.edges, torch.arange(len(vectors) + 1, device=vectors.device)
        elements = ElementGroups.of(edges.species[edges.centers], edges.num_elements)
        order = (edges.by_neighbor, edges.neighbor_start)
        alone = Edges(count[:-1], edges.neighbors, count, *order, edges.species, elements)
        return self.atomic_basis(vectors, replace(self.potential.model.edges(vectors, edges), edges=alone))

    def _energy_rows(self, batch: Batch, values: torch.Tensor) -> torch.Tensor:
        num_elements = len(self.potential.elements)
        index = batch.graph_index * num_elements + batch.species
        rows = values.new_zeros(batch.num_graphs * num_elements, values.shape[0], values.shape[2])
        rows = rows.index_add(0, index, values.transpose(0, 1))
        return rows.reshape(batch.num_graphs, -1).double()

    def _force_rows(self, batch: Batch, per_edge: torch.Tensor) -> torch.Tensor:
        """dE/dr_j gains, dE/dr_i loses the slope of edge ij; the column is that of the centre's element."""
        num_elements = len(self.potential.elements)
        element = batch.species[batch.centers]
        rows = per_edge.new_zeros(len(batch.species) * num_elements, *per_edge.shape[1:])
        rows = rows.index_add(0, batch.neighbors * num_elements + element, per_edge, alpha=-1)
        rows = rows.index_add(0, batch.centers * num_elements + element, per_edge)
        rows = rows.unflatten(0, (-1, num_elements)).transpose(1, 2)
        return rows.reshape(len(batch.species) * 3, -1).double()


def _directional(phi: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
    """d phi / d vector_x of every edge [3, components, edges, channels], by differentiating a gradient."""
    dual = torch.ones_like(phi).requires_grad_(True)
    (slopes,) = torch.autograd.grad(phi, vectors, dual, create_graph=True)
    return torch.stack([torch.autograd.grad(slopes[:, x].sum(), dual, retain_graph=True)[0] for x in range(3)])


def _contract(slopes: torch.Tensor, gradients: torch.Tensor, centers: torch.Tensor) -> torch.Tensor:
    """Slopes [couplings, c, atoms, channels] times gradients [3, c, edges, channels], summed over the components c.

    Returns [edges, 3, couplings, channels]. The edges of an atom are padded to one number, so that atom and
    channel make one matrix product.
    """
    counts = torch.bincount(centers, minlength=slopes.shape[2])
    position = torch.arange(len(centers), device=centers.device) - (counts.cumsum(0) - counts)[centers]
    width = int(counts.max())
    slot = centers * width + position
    padded = gradients.new_zeros(3, gradients.shape[1], slopes.shape[2] * width, gradients.shape[3])
    padded = padded.index_copy(2, slot, gradients).unflatten(2, (slopes.shape[2], width))
    product = slopes.permute(2, 3, 0, 1) @ padded.permute(2, 4, 1, 3, 0).flatten(3)
    return product.unflatten(3, (width, 3)).permute(0, 3, 4, 2, 1).flatten(0, 1).index_select(0, slot)


def _weighted_rows(
    features: LinearFeatures, graphs: Sequence[Graph], config: LeastSquaresConfig, world: World
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Rows and targets of this process, scaled so that the squared residuals of all sum to the loss."""
    num_components = 3 * sum(graph.num_atoms for graph in graphs if graph.counts("forces"))
    num_energies = sum(graph.counts("energy") for graph in graphs)
    if not num_components + num_energies:
        raise DataError(f"{graphs[0].origin}: the linear fit needs energies or forces. Name their keys.")
    energy_factor = math.sqrt(config.energy_weight / max(num_energies, 1))
    force_factor = math.sqrt(config.forces_weight / max(num_components, 1))
    sampler = BatchSampler([graph.num_atoms for graph in graphs], batch_size=config.batch_size, shuffle=False)
    batches = sampler.batches()
    mine = world.portion([sum(graphs[index].num_edges for index in indices) for indices in batches])
    for indices in batches[mine.start : mine.stop]:
        batch = collate([graphs[index] for index in indices])
        energy_rows, force_rows = features(batch)
        energy, forces = features.constant(batch)
        factor = energy_factor * batch.weights_of("energy").sqrt() / batch.num_atoms
        each = force_factor * batch.weights_of("forces").sqrt()[batch.graph_index].repeat_interleave(3)
        targets = (batch.labels.get("energy", energy), batch.labels.get("forces", forces).reshape(-1))
        yield (
            torch.cat([energy_rows * factor[:, None], force_rows * each[:, None]]),
            torch.cat([(targets[0] - energy) * factor, (targets[1] - forces) * each]),
        )


def _normal_equations(
    features: LinearFeatures, graphs: Sequence[Graph], config: LeastSquaresConfig, world: World
) -> tuple[torch.Tensor, torch.Tensor]:
    """X^T X and X^T y of this process, accumulated over batches."""
    if not graphs:
        raise DataError("The training set is empty. Give at least one labelled configuration.")
    columns = features.num_columns
    matrix = torch.zeros(columns, columns, dtype=torch.float64, device=features.potential.device)
    target = matrix.new_zeros(columns)
    for rows, values in _weighted_rows(features, graphs, config, world):
        matrix.addmm_(rows.T, rows)
        target.addmv_(rows.T, values)
    return matrix, target


def _solve(matrix: torch.Tensor, target: torch.Tensor, ridge: float) -> torch.Tensor:
    """(matrix + ridge 1)^-1 target; NaN where the matrix is not numerically positive definite."""
    regular = matrix + ridge * torch.eye(len(matrix), dtype=matrix.dtype, device=matrix.device)
    factor, failed = torch.linalg.cholesky_ex(regular)
    solution = torch.cholesky_solve(target[:, None], factor)[:, 0]
    return torch.full_like(solution, math.nan) if int(failed) else solution
