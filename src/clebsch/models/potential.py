"""The potential: positions in, energy, forces and stress out. The only place that differentiates."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float64
from pydantic import model_validator
from torch import Tensor

from clebsch.config import StrictConfig
from clebsch.data import Batch
from clebsch.errors import DataError
from clebsch.models.config import MultiACEConfig
from clebsch.models.core import CoreRadii
from clebsch.models.float64_constants import Float64Constants
from clebsch.models.multi_ace import MultiACE
from clebsch.models.zbl import ZBL
from clebsch.ops import default_backend

_CURES = {
    "e0": "Add the isolated atom of the element, or fit E0 by least squares",
    "scale": "Give one number for all elements, or a number of every element",
    "shift": "Give one number for all elements, or a number of every element",
}


class PotentialConfig(StrictConfig):
    """A model and what is added to it.

    Attributes:
        model: the Multi-ACE model.
        zbl: whether the screened nuclear repulsion is added, up to the sum of the covalent radii.
        core: radii in Å of pairs of elements such as "C-H", at which that repulsion begins instead, and below which
            the network is held (`CoreRadii`); pairs that are not named have the sum of the covalent radii. None for
            no core.
    """

    model: MultiACEConfig
    zbl: bool = False
    core: dict[str, float] | None = None

    @model_validator(mode="after")
    def _one_repulsion(self) -> PotentialConfig:
        if self.zbl and self.core is not None:
            raise ValueError("core includes the repulsion of zbl; set zbl to false, or leave core out")
        return self


@dataclass
class Prediction:
    """What a potential returns, in float64.

    Attributes:
        energy: total energy in eV.
        node_energy: share of every atom in eV, E0 included.
        layer_energy: scaled energy of every layer in eV, without E0, shift and ZBL.
        interaction_energy: energy without E0 in eV.
        forces: eV/Å, or None.
        stress: +(1/V) dE/dstrain in eV/Å^3, or None.
    """

    energy: Float64[Tensor, " graphs"]
    node_energy: Float64[Tensor, " atoms"]
    layer_energy: Float64[Tensor, "graphs layers"]
    interaction_energy: Float64[Tensor, " graphs"]
    forces: Float64[Tensor, "atoms 3"] | None = None
    stress: Float64[Tensor, "graphs 3 3"] | None = None

    def get(self, quantity: str) -> Tensor | None:
        """Return the values of a quantity of `clebsch.data.quantities`, None where they are not there."""
        return getattr(self, quantity, None)


class Potential(Float64Constants):
    r"""Interatomic potential.

    .. math:: E = \sum_i \Big[ E_0(z_i) + \mathrm{scale}(z_i) \sum_t e_i^{(t)} + \mathrm{shift}(z_i) \Big]
              + E_\mathrm{ZBL}

    the last term with ``zbl`` or a ``core``.

    Args:
        config: the model.
        e0: energy of the isolated atom of every element in eV.
        scale: eV per unit of the model's output, one number or one per element.
        shift: eV per atom, one number or one per element.
        dtype: of the network; positions, energies and references are float64 throughout.
        seed: of the initial weights.
        backend: name of the kernels; None for the fastest on the CPU.

    Raises:
        DataError: an element has no E0, scale or shift, or it is no finite number.
        BackendError: the backend is not available.
        ConfigError: a layer has hidden irreps that cannot be reached, or no scalars for its readout; or a core radius
            makes no sense.
    """

    e0: Tensor
    scale: Tensor
    shift: Tensor

    def __init__(
        self,
        config: PotentialConfig,
        *,
        e0: Mapping[str, float],
        scale: float | Mapping[str, float] = 1.0,
        shift: float | Mapping[str, float] = 0.0,
        dtype: torch.dtype = torch.float32,
        seed: int = 0,
        backend: str | None = None,
    ) -> None:
        super().__init__()
        self.config, self.backend = config, backend or default_backend()
        generator = torch.Generator().manual_seed(seed)
        self.model = MultiACE(config.model, dtype=dtype, generator=generator, backend=self.backend)
        self.core = None if config.core is None else CoreRadii(self.elements, self.r_max, config.core)
        self.zbl = None
        if config.zbl or self.core is not None:
            self.zbl = ZBL(self.elements, self.core or CoreRadii(self.elements, self.r_max))
        for name, values in {"e0": e0, "scale": scale, "shift": shift}.items():
            self.register_buffer(name, _per_element(name, values, self.elements))

    @property
    def elements(self) -> tuple[str, ...]:
        """Chemical symbols in the order of the element index."""
        return self.config.model.elements

    @property
    def r_max(self) -> float:
        """Cutoff radius in Å."""
        return self.config.model.r_max

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the network."""
        return self.model.embedding.dtype

    @property
    def device(self) -> torch.device:
        """Device of the network."""
        return self.model.embedding.device

    def forward(
        self, batch: Batch, *, forces: bool = True, stress: bool = False, create_graph: bool = False
    ) -> Prediction:
        r"""Energy of every graph and, by one derivative, forces and stress.

        .. math:: F_i = -\partial E / \partial r_i, \qquad \sigma = V^{-1}\, \partial E / \partial \epsilon

        Args:
            batch: graphs, positions in Å.
            forces: whether forces are wanted.
            stress: whether the stress is wanted; every cell must have a volume.
            create_graph: whether the result is to be differentiated again (training); else it is detached.

        Raises:
            DataError: a stress is asked of a cell without volume.
        """
        volumes = _volumes(batch) if stress else None
        with torch.set_grad_enabled(forces or stress or (create_graph and torch.is_grad_enabled())):
            positions, strain = batch.positions, None
            if (forces or stress) and not positions.requires_grad:
                positions = positions.detach().requires_grad_(True)
            if stress:
                strain = positions.new_zeros(batch.num_graphs, 3, 3).requires_grad_(True)
            prediction = self.energies(batch, positions, strain, fixed_weights=not create_graph)
            if forces or stress:
                inputs = [positions] if strain is None else [positions, strain]
                total = prediction.interaction_energy.sum()
                gradients = torch.autograd.grad(total, inputs, create_graph=create_graph, materialize_grads=True)
                prediction.forces = -gradients[0] if forces else None
                prediction.stress = None if volumes is None else gradients[1] / volumes[:, None, None]
        return prediction if create_graph else _detached(prediction)

    def with_splines(self, intervals: int | None = 2048) -> Potential:
        """Return a copy whose radial weights are cubic splines (None: the exact networks), made from the same weights.

        The error falls with the fourth power of ``intervals``, that of forces with the third (docs/performance.md).
        """
        return self._with(model=MultiACEConfig(**{**dict(self.config.model), "spline_intervals": intervals}))

    def with_core(self, radii: Mapping[str, float]) -> Potential:
        """Return a copy with a core that begins at ``radii``, in Å by pair such as "C-H", in place of a ZBL term.

        The shortest distances of the training set (`compute_statistics`), times a number below 1, change nothing
        there.

        Raises:
            ConfigError: a pair or a radius makes no sense.
        """
        return self._with(zbl=False, core=dict(radii))

    def _with(self, **changes: Any) -> Potential:
        """A copy with the same weights and another config."""
        config = PotentialConfig.model_validate({**dict(self.config), **changes})
        zeros = dict.fromkeys(self.elements, 0.0)
        copy = type(self)(config, e0=zeros, dtype=self.dtype, backend=self.backend)
        copy.load_state_dict(self.state_dict())
        return copy.to(self.device)

    def energies(
        self,
        batch: Batch,
        positions: Float64[Tensor, "atoms 3"],
        strain: Float64[Tensor, "graphs 3 3"] | None,
        *,
        fixed_weights: bool = False,
    ) -> Prediction:
        """Energies at ``positions`` in Å, these and the cells deformed by the symmetric part of ``strain``."""
        cell = batch.cell
        if strain is not None:
            deformation = 0.5 * (strain + strain.transpose(1, 2))
            positions = positions + torch.einsum("ni,nij->nj", positions, deformation[batch.graph_index])
            cell = cell + cell @ deformation
        vectors = edge_vectors(batch, positions, cell)
        edges = batch.centers, batch.neighbors, batch.species
        seen = vectors if self.core is None else self.core.keep_out(vectors, *edges)
        nodes = self.model(seen.to(self.dtype), *edges, fixed_weights=fixed_weights)
        layers = self.scale[batch.species][:, None] * nodes.double()
        interaction = layers.sum(1) + self.shift[batch.species]
        if self.zbl is not None:
            interaction = interaction + self.zbl(vectors, *edges)
        reference = self.e0[batch.species]
        interaction_energy = _pool(interaction, batch)
        return Prediction(
            energy=_pool(reference, batch) + interaction_energy,
            node_energy=reference + interaction,
            layer_energy=_pool(layers, batch),
            interaction_energy=interaction_energy,
        )


def edge_vectors(
    batch: Batch, positions: Float64[Tensor, "atoms 3"], cell: Float64[Tensor, "graphs 3 3"]
) -> Float64[Tensor, "edges 3"]:
    """r_ij = r_j - r_i + S cell in Å, of ``positions`` and ``cell`` in Å and the edges of ``batch``."""
    shifts = torch.einsum("ei,eij->ej", batch.shifts, cell[batch.graph_index[batch.centers]])
    return positions.index_select(0, batch.neighbors) - positions.index_select(0, batch.centers) + shifts


def _pool(values: Tensor, batch: Batch) -> Tensor:
    """Sum the values of atoms [atoms, …] over every graph [graphs, …]."""
    return values.new_zeros(batch.num_graphs, *values.shape[1:]).index_add(0, batch.graph_index, values)


def _volumes(batch: Batch) -> Tensor:
    volumes = torch.linalg.det(batch.cell).abs()
    if bool((volumes == 0).any()):
        graph = int((volumes == 0).nonzero()[0])
        raise DataError(
            f"stress: expected a cell with a volume, but that of configuration {graph} of the batch is "
            f"{batch.cell[graph].tolist()}. Give it three independent cell vectors, or ask for no stress."
        )
    return volumes


def _detached(prediction: Prediction) -> Prediction:
    values: dict[str, Any] = {
        name: None if value is None else value.detach() for name, value in vars(prediction).items()
    }
    return Prediction(**values)


def _per_element(name: str, values: float | Mapping[str, float], elements: tuple[str, ...]) -> Tensor:
    if not isinstance(values, Mapping):
        values = dict.fromkeys(elements, values)
    missing = [symbol for symbol in elements if symbol not in values]
    if missing:
        known = ", ".join(sorted(values)) or "none"
        raise DataError(f"{name} has no value for {', '.join(missing)}; it has: {known}. {_CURES[name]}.")
    numbers = [float(values[symbol]) for symbol in elements]
    for symbol, number in zip(elements, numbers, strict=True):
        if not math.isfinite(number):
            raise DataError(f"{name} of {symbol}: expected a finite number, got {number}. {_CURES[name]}.")
    return torch.tensor(numbers, dtype=torch.float64)
