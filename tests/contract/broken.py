"""Potentials that break the contract on purpose, each in one way, and the check that must notice."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import torch

from clebsch.data import Batch
from clebsch.models import ModelOutput, Potential, PotentialConfig, Prediction, Term
from clebsch.ops import Edges
from contract.designs import E0, MEMBERS

CONFIG = PotentialConfig(model=MEMBERS["mace"])
R_MAX = CONFIG.model.r_max


def sound(dtype: torch.dtype = torch.float64, cls: type[Potential] = Potential) -> Any:
    """A potential that keeps the contract, or ``cls`` in its place."""
    return cls(CONFIG, e0=E0, scale=0.8, shift=0.2, dtype=dtype, backend="reference", seed=2)


class EdgeTerm(Term):
    """An energy of atoms [atoms] made of edge vectors."""

    def __init__(self, of_edges: Callable[..., torch.Tensor]) -> None:
        super().__init__()
        self.of_edges = of_edges

    def energy(self, vectors: torch.Tensor, edges: Edges, output: ModelOutput | None) -> torch.Tensor:
        edge = self.of_edges(vectors, edges.centers, edges.neighbors, edges.species)
        return edge.new_zeros(edges.num_targets).index_add(0, edges.centers, edge)


class Atoms(Potential):
    """Adds an energy of atoms [atoms] made of the whole batch and its positions."""

    energy: Callable[[Batch, torch.Tensor], torch.Tensor]

    def energies(self, batch: Batch, positions: torch.Tensor, strain: torch.Tensor | None) -> Prediction:
        prediction = super().energies(batch, positions, strain)
        extra = type(self).energy(batch, positions)
        graphs = torch.zeros_like(prediction.energy).index_add(0, batch.graph_index, extra)
        return replace(
            prediction,
            energy=prediction.energy + graphs,
            interaction_energy=prediction.interaction_energy + graphs,
            node_energy=prediction.node_energy + extra,
        )


class Altered(torch.nn.Module):
    """What a sound potential predicts, altered: no Potential, but it obeys the interface."""

    def __init__(self, alter: Callable[[Prediction, Batch], Prediction]) -> None:
        super().__init__()
        self.inner, self.alter = sound(), alter
        self.elements, self.r_max, self.dtype = self.inner.elements, self.inner.r_max, self.inner.dtype

    def forward(
        self, batch: Batch, *, forces: bool = True, stress: bool = False, create_graph: bool = False
    ) -> Prediction:
        return self.alter(self.inner(batch, forces=forces, stress=stress, create_graph=create_graph), batch)


def with_edges(energy: Callable[..., torch.Tensor]) -> Callable[[], Any]:
    """A potential with an extra ``energy(vectors, centers, neighbors, species)`` [edges]."""

    def build() -> Potential:
        potential = sound()
        potential.terms.append(EdgeTerm(energy))
        return potential

    return build


def with_atoms(energy: Callable[[Batch, torch.Tensor], torch.Tensor]) -> Callable[[], Any]:
    """A potential with an extra ``energy(batch, positions)`` [atoms]."""
    return lambda: sound(cls=type("WithAtoms", (Atoms,), {"energy": staticmethod(energy)}))


def with_prediction(**changes: Callable[..., Any]) -> Callable[[], Any]:
    """A potential whose prediction has some fields changed by functions of their values and the batch."""

    def alter(prediction: Prediction, batch: Batch) -> Prediction:
        values = {item.name: getattr(prediction, item.name) for item in fields(prediction)}
        for name, change in changes.items():
            if values[name] is not None:
                values[name] = change(values[name], batch)
        return _unchecked(values)

    return lambda: Altered(alter)


def _unchecked(values: dict[str, Any]) -> Prediction:
    """A Prediction of any shapes, which the tests' type checker would refuse."""
    prediction = object.__new__(Prediction)
    prediction.__dict__.update(values)
    return prediction


# Extra energies.


def envelope(vectors: torch.Tensor) -> torch.Tensor:
    """[edges], three continuous derivatives at r_max."""
    x = vectors.norm(dim=1) / R_MAX
    return torch.where(x < 1, (1 - x**2) ** 4, 0.0)


def anisotropic(vectors: torch.Tensor, *_: torch.Tensor) -> torch.Tensor:
    return vectors[:, 0] ** 2 * envelope(vectors)


def pseudo_scalar(
    vectors: torch.Tensor, centers: torch.Tensor, neighbors: torch.Tensor, species: torch.Tensor
) -> torch.Tensor:
    """The triple product of three polar vectors of the centre, shared among its edges."""
    r = vectors.norm(dim=1)
    sums = []
    for weight in (torch.ones_like(r), r, (species[neighbors] + 1.0) * r**2):
        edge = (weight * envelope(vectors))[:, None] * vectors
        sums.append(edge.new_zeros(len(species), 3).index_add(0, centers, edge))
    triple = (sums[0] * torch.cross(sums[1], sums[2], dim=1)).sum(1)
    return (triple / torch.bincount(centers, minlength=len(species)).clamp(min=1))[centers]


def order_of_atoms(
    vectors: torch.Tensor, centers: torch.Tensor, neighbors: torch.Tensor, species: torch.Tensor
) -> torch.Tensor:
    return torch.where(neighbors > centers, 1.0, 0.5) * envelope(vectors)


def order_of_edges(
    vectors: torch.Tensor, centers: torch.Tensor, neighbors: torch.Tensor, species: torch.Tensor
) -> torch.Tensor:
    """Only the first edge of every centre counts."""
    return (torch.diff(centers, prepend=centers.new_tensor([-1])) != 0) * envelope(vectors)


def all_pairs(batch: Batch, positions: torch.Tensor) -> torch.Tensor:
    """Every pair of a graph interacts, however far apart."""
    vectors = positions[:, None] - positions[None]
    together = (batch.graph_index[:, None] == batch.graph_index[None]).double()
    return (together * torch.exp(-((vectors**2).sum(-1)) / 100.0)).sum(1)


def by_graph(values: Callable[[Batch], torch.Tensor]) -> Callable[[Batch, torch.Tensor], torch.Tensor]:
    """An energy per graph [graphs] or one for all, given to each of its atoms; no forces."""
    return lambda batch, positions: values(batch).expand(batch.num_graphs)[batch.graph_index] + 0.0 * positions.sum(1)


def cell_volume(batch: Batch) -> torch.Tensor:
    return torch.linalg.det(batch.cell).abs() / (1.0 + torch.linalg.det(batch.cell).abs())


# Other defects.


class RoundedPositions(Potential):
    """Positions are cast to the network's dtype before they are subtracted."""

    def energies(self, batch: Batch, positions: torch.Tensor, strain: torch.Tensor | None) -> Prediction:
        return super().energies(batch, positions.to(self.dtype).double(), strain)


class RoundedEnergy(Potential):
    """Total energies, E0 included, pass through half precision."""

    def energies(self, batch: Batch, positions: torch.Tensor, strain: torch.Tensor | None) -> Prediction:
        prediction = super().energies(batch, positions, strain)
        low = torch.float64 if self.dtype == torch.float64 else torch.float16
        return replace(prediction, node_energy=prediction.node_energy.to(low).double())


class Forgetful(Potential):
    """A weight that its file does not hold."""

    factor = 1.0

    def energies(self, batch: Batch, positions: torch.Tensor, strain: torch.Tensor | None) -> Prediction:
        prediction = super().energies(batch, positions, strain)
        return replace(prediction, energy=self.factor * prediction.energy)


class LosesScale(Potential):
    """Its scale is missing from its state, and so from its file."""

    def state_dict(self, *args: Any, **options: Any) -> Any:
        state = super().state_dict(*args, **options)
        del state["scale"]
        return state


class RefusesNoEdges(Potential):
    """The kernel cannot be launched on nothing."""

    def forward(self, batch: Batch, **options: bool) -> Prediction:  # type: ignore[override]
        if not batch.num_edges:
            raise RuntimeError("max(): expected reduction dim to be specified for input.numel() == 0")
        return super().forward(batch, **options)


class AveragesEdges(Potential):
    """Divides by the number of edges."""

    def energies(self, batch: Batch, positions: torch.Tensor, strain: torch.Tensor | None) -> Prediction:
        prediction = super().energies(batch, positions, strain)
        count = torch.bincount(batch.graph_index[batch.centers], minlength=batch.num_graphs)
        return replace(prediction, energy=prediction.energy + 0.0 / count)


class MovesAtoms(Potential):
    """Wraps the positions of the batch it is given in place."""

    def forward(self, batch: Batch, **options: bool) -> Prediction:  # type: ignore[override]
        with torch.no_grad():
            batch.positions.remainder_(10.0)
        return super().forward(batch, **options)


class DetachedForces(Potential):
    """Forces cannot be differentiated again."""

    def forward(self, batch: Batch, **options: bool) -> Prediction:  # type: ignore[override]
        prediction = super().forward(batch, **options)
        if prediction.forces is not None:
            prediction.forces = prediction.forces.detach()
        return prediction


class DetachedStress(Potential):
    """The stress cannot be differentiated again."""

    def forward(self, batch: Batch, **options: bool) -> Prediction:  # type: ignore[override]
        prediction = super().forward(batch, **options)
        if prediction.stress is not None:
            prediction.stress = prediction.stress.detach()
        return prediction


class _HalfDetached(torch.autograd.Function):
    """The identity, whose second derivative is half of what it should be."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> torch.Tensor:
        return 0.5 * (gradients[0] + gradients[0].detach())


class WrongSecondDerivative(Potential):
    """Energies and forces are right, but a kernel's second derivative is not."""

    def energies(self, batch: Batch, positions: torch.Tensor, strain: torch.Tensor | None) -> Prediction:
        positions = _HalfDetached.apply(positions)  # type: ignore[assignment]
        return super().energies(batch, positions, strain)


def lost_dipole(stress: torch.Tensor, batch: Batch) -> torch.Tensor:
    """The off-diagonal elements as Voigt strains would have them, twice."""
    return stress * (2.0 - torch.eye(3, dtype=stress.dtype))


def voigt(stress: torch.Tensor, batch: Batch) -> torch.Tensor:
    return stress.flatten(1)[:, [0, 4, 8, 5, 2, 1]]


def first_atom_only(forces: torch.Tensor, batch: Batch) -> torch.Tensor:
    """The reaction on the neighbours is missing for the last atom."""
    return torch.cat([forces[:-1], 0.5 * forces[-1:]])


def unrotated(forces: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Components of the forces in the wrong order."""
    return forces[:, [1, 0, 2]]


BROKEN: dict[str, dict[str, Callable[[], Any]]] = {
    "check_prediction": {
        "energy_in_float32": with_prediction(energy=lambda energy, _: energy.float()),
        "no_forces": with_prediction(forces=lambda forces, _: None),
        "stress_in_voigt_order": with_prediction(stress=voigt),
        "nodes_do_not_add_up": with_prediction(node_energy=lambda energy, _: energy + 0.01),
        "energy_of_nan": with_prediction(energy=lambda energy, _: energy * math.nan),
        "moves_atoms": lambda: sound(cls=MovesAtoms),
        "detached_forces": lambda: sound(cls=DetachedForces),
    },
    "check_no_edges": {
        "refuses": lambda: sound(cls=RefusesNoEdges),
        "divides_by_zero": lambda: sound(cls=AveragesEdges),
        "counts_graphs_by_their_atoms": with_prediction(
            energy=lambda energy, batch: energy[batch.graph_index.unique()],
        ),
    },
    "check_rotation": {
        "x_is_special": with_edges(anisotropic),
        "swapped_components": with_prediction(forces=unrotated),
        "stress_in_other_axes": with_prediction(stress=lambda stress, _: stress[:, [1, 0, 2]]),
    },
    "check_inversion": {
        "pseudo_scalar": with_edges(pseudo_scalar),
    },
    "check_translation": {
        "absolute_height": with_atoms(lambda batch, positions: 0.01 * torch.tanh(positions[:, 2])),
        "knows_the_images": with_atoms(
            lambda batch, positions: positions.new_zeros(len(positions)).index_add(
                0, batch.centers, batch.shifts.abs().sum(1)
            )
        ),
        "knows_the_cell": with_atoms(by_graph(cell_volume)),
        "single_precision_positions": with_atoms(lambda batch, positions: (positions.float() - positions).sum(1)),
    },
    "check_permutation": {
        "order_of_atoms": with_edges(order_of_atoms),
        "order_of_edges": with_edges(order_of_edges),
    },
    "check_batching": {
        "number_of_graphs": with_atoms(by_graph(lambda batch: torch.tensor([0.1 * batch.num_graphs]).double())),
        "mean_of_the_batch": with_atoms(lambda batch, positions: (positions - positions.mean(0)).square().sum(1)),
        "graphs_in_reverse": with_prediction(energy=lambda energy, _: energy.flip(0)),
        "stress_of_the_first": with_prediction(stress=lambda stress, _: stress[:1].expand_as(stress)),
    },
    "check_isolated_atom": {
        "number_of_atoms": with_atoms(by_graph(lambda batch: 0.1 * batch.num_atoms.double())),
        "external_field": with_atoms(lambda batch, positions: 0.1 * positions[:, 0]),
        "long_range": with_atoms(all_pairs),
        "knows_the_cell": with_atoms(by_graph(cell_volume)),
    },
    "check_locality": {
        "all_pairs": with_atoms(all_pairs),
        "number_of_atoms": with_atoms(by_graph(lambda batch: 0.1 * batch.num_atoms.double())),
        "trusts_the_neighbor_list": with_edges(lambda vectors, *_: torch.exp(-vectors.norm(dim=1))),
    },
    "check_smoothness": {
        "hard_cutoff": with_edges(lambda vectors, *_: torch.exp(-vectors.norm(dim=1))),
        "one_derivative": with_edges(lambda vectors, *_: 1 + torch.cos(math.pi * vectors.norm(dim=1) / R_MAX)),
        "no_derivative": with_edges(lambda vectors, *_: 1 - vectors.norm(dim=1) / R_MAX),
        "shifted_energy": with_prediction(
            forces=lambda forces, batch: forces + 0.01 * torch.bincount(batch.centers, minlength=len(forces))[:, None],
        ),
    },
    "check_forces": {
        "sign": with_prediction(forces=lambda forces, _: -forces),
        "scale": with_prediction(forces=lambda forces, _: 1.00001 * forces),
        "newton": with_prediction(forces=first_atom_only),
        "no_forces": with_prediction(forces=lambda forces, _: None),
    },
    "check_stress": {
        "sign": with_prediction(stress=lambda stress, _: -stress),
        "virial": with_prediction(stress=lambda stress, batch: stress * torch.linalg.det(batch.cell)[:, None, None]),
        "doubled_shear": with_prediction(stress=lost_dipole),
        "other_axes": with_prediction(stress=lambda stress, _: stress.flip(1, 2)),
        "triangular": with_prediction(stress=lambda stress, _: stress.tril()),
        "without_cell": with_atoms(lambda batch, positions: 0.1 * positions.square().sum(1)),
    },
    "check_second_derivatives": {
        "detached_forces": lambda: sound(cls=DetachedForces),
        "detached_stress": lambda: sound(cls=DetachedStress),
        "wrong_kernel": lambda: sound(cls=WrongSecondDerivative),
    },
    "check_save_load": {
        "a_weight_outside": lambda: setattr(potential := sound(cls=Forgetful), "factor", 1.001) or potential,
        "a_buffer_lost": lambda: sound(cls=LosesScale),
    },
    "check_dtype": {
        "rounded_positions": lambda: sound(cls=RoundedPositions),
        "rounded_energy": lambda: sound(cls=RoundedEnergy),
        "rounded_positions_of_float32": lambda: sound(torch.float32, RoundedPositions),
    },
    # A kernel that computes something else is registered by the test.
    "check_backends": {"wrong_kernel": sound},
}
