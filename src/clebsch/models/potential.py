"""The potential: positions in, energy, forces and stress out. The only place that differentiates."""

from __future__ import annotations

import copy
import hashlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from jaxtyping import Float64
from pydantic import field_validator
from torch import Tensor, nn

from clebsch.config import StrictConfig
from clebsch.data import Batch, Configuration, build_graphs, collate
from clebsch.errors import ClebschError, DataError
from clebsch.models.config import MultiACEConfig
from clebsch.models.device import find_device, find_dtype
from clebsch.models.domain import Domain
from clebsch.models.float64_constants import Float64Constants
from clebsch.models.multi_ace import Exchange, ModelOutput, MultiACE, no_exchange
from clebsch.models.terms import CoreConfig, Term, TermConfig
from clebsch.ops import Edges, default_backend

_CURES = {
    "e0": "Add the isolated atom of the element, or fit E0 by least squares",
    "scale": "Give one number for all elements, or a number of every element",
    "shift": "Give one number for all elements, or a number of every element",
}


class PotentialConfig(StrictConfig):
    """A model and what is added to it.

    Attributes:
        model: the Multi-ACE model.
        terms: what is added, each kind at most once: the nuclear repulsion "zbl", or "core", which includes it.
    """

    model: MultiACEConfig
    terms: tuple[TermConfig, ...] = ()

    @field_validator("terms")
    @classmethod
    def _once(cls, value: tuple[TermConfig, ...]) -> tuple[TermConfig, ...]:
        kinds = [term.kind for term in value]
        if len(set(kinds)) < len(kinds):
            raise ValueError(f"there are terms of one kind twice: {', '.join(kinds)}; keep one of each")
        if {"zbl", "core"} <= set(kinds):
            raise ValueError("the term core includes the repulsion of zbl; leave zbl out")
        return value

    @property
    def core_radii(self) -> dict[str, float]:
        """Core radii in Å by pair of elements, empty without a core."""
        return next((term.radii for term in self.terms if isinstance(term, CoreConfig)), {})


@dataclass
class Prediction:
    """What a potential returns, in float64.

    Attributes:
        energy: total energy in eV.
        node_energy: share of every atom in eV, E0 included.
        layer_energy: scaled energy of every layer in eV, without E0, shift and terms.
        interaction_energy: energy without E0 in eV.
        forces: eV/Å, or None.
        stress: +(1/V) dE/dstrain in eV/Å^3, NaN for configurations without volume; or None.
        outputs: what terms predict besides, by the name of the quantity; `get` finds all quantities.
    """

    energy: Float64[Tensor, " graphs"]
    node_energy: Float64[Tensor, " atoms"]
    layer_energy: Float64[Tensor, "graphs layers"]
    interaction_energy: Float64[Tensor, " graphs"]
    forces: Float64[Tensor, "atoms 3"] | None = None
    stress: Float64[Tensor, "graphs 3 3"] | None = None
    outputs: dict[str, Tensor] = field(default_factory=dict)

    def get(self, quantity: str) -> Tensor | None:
        """Return the values of a quantity of `clebsch.data.quantities`, None if they are not there."""
        return self.outputs[quantity] if quantity in self.outputs else getattr(self, quantity, None)


@dataclass(frozen=True)
class NodeEnergies:
    """What a potential finds for every target, in eV and float64.

    Attributes:
        interaction: energy without E0.
        layers: scaled energy of every layer, without shift and terms.
        output: features and readouts of the network.
    """

    interaction: Float64[Tensor, " targets"]
    layers: Float64[Tensor, "targets layers"]
    output: ModelOutput


class Potential(Float64Constants):
    r"""Interatomic potential.

    .. math:: E = \sum_i \Big[ E_0(z_i) + \mathrm{scale}(z_i) \sum_t e_i^{(t)} + \mathrm{shift}(z_i) \Big]
              + \sum_\mathrm{terms} E

    Args:
        config: the model.
        e0: energy of the isolated atom of every element in eV.
        scale: eV per unit of the model's output, one number or one per element.
        shift: eV per atom, one number or one per element.
        dtype: of the network, also by name; positions, energies and references are float64 throughout.
        seed: of the initial weights.
        backend: name of the kernels; None for the fastest on the CPU.

    Raises:
        DataError: an element has no E0, scale or shift, or it is no finite number.
        BackendError: the backend is not available.
        ConfigError: a layer has hidden irreps that cannot be reached, or no scalars for its readout; or a core radius
            makes no sense.

    Attributes:
        domain: what it was trained on, for engines to say if they leave it; None if that is not known.
    """

    e0: Tensor
    scale: Tensor
    shift: Tensor
    domain: Domain | None = None

    def __init__(
        self,
        config: PotentialConfig,
        *,
        e0: Mapping[str, float],
        scale: float | Mapping[str, float] = 1.0,
        shift: float | Mapping[str, float] = 0.0,
        dtype: torch.dtype | str = torch.float32,
        seed: int = 0,
        backend: str | None = None,
    ) -> None:
        super().__init__()
        self.config, self.backend = config, backend or default_backend()
        generator = torch.Generator().manual_seed(seed)
        self.model = MultiACE(config.model, dtype=find_dtype(dtype), generator=generator, backend=self.backend)
        self.terms = nn.ModuleList([term.build(self.elements, self.r_max) for term in config.terms])
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

    def batch(self, configurations: Iterable[Configuration]) -> Batch:
        """Return configurations as one batch on the device of the potential.

        Raises:
            DataError: there is none, or one holds an element that the potential does not know.
        """
        return collate(build_graphs(configurations, self.elements, self.r_max)).to(self.device)

    def forward(
        self, batch: Batch, *, forces: bool = True, stress: bool = False, create_graph: bool = False
    ) -> Prediction:
        r"""Energy of every graph and, by one derivative, forces and stress.

        .. math:: F_i = -\partial E / \partial r_i, \qquad \sigma = V^{-1}\, \partial E / \partial \epsilon

        Args:
            batch: graphs, positions in Å.
            forces: whether forces are wanted.
            stress: whether the stress is wanted; it is NaN for a configuration whose cell has no volume.
            create_graph: whether the result is to be differentiated again (training); else it is detached.

        Raises:
            DataError: a stress is asked of configurations none of which has a volume.
        """
        if not torch.compiler.is_compiling():
            self._require_gradients()
            if torch.is_inference_mode_enabled() or batch.positions.is_inference():
                with torch.inference_mode(False):  # forces are derivatives, of which PyTorch keeps no record there
                    return self(batch.clone(), forces=forces, stress=stress, create_graph=create_graph)
        volumes = _volumes(batch) if stress else None
        with torch.set_grad_enabled(forces or stress or (create_graph and torch.is_grad_enabled())):
            positions, strain = batch.positions, None
            if (forces or stress) and not positions.requires_grad:
                positions = positions.detach().requires_grad_(True)
            if stress:
                strain = positions.new_zeros(batch.num_graphs, 3, 3).requires_grad_(True)
            prediction = self.energies(batch, positions, strain)
            if forces or stress:
                inputs = [positions] if strain is None else [positions, strain]
                total = prediction.interaction_energy.sum()
                gradients = torch.autograd.grad(total, inputs, create_graph=create_graph, materialize_grads=True)
                prediction.forces = -gradients[0] if forces else None
                prediction.stress = None if volumes is None else _stress(gradients[1], volumes)
        return prediction if create_graph else _detached(prediction)

    def frozen(self) -> FrozenPotential:
        """Return a copy whose weights are constants, for evaluation and dynamics; it cannot be trained or saved."""
        return FrozenPotential.of(self)

    def fingerprint(self) -> str:
        """Return the SHA-256 of config and weights, equal for potentials that are the same."""
        digest = hashlib.sha256(self.config.model_dump_json().encode())
        for name, tensor in sorted(self.state_dict().items()):
            digest.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def copy(
        self,
        *,
        dtype: torch.dtype | str | None = None,
        device: torch.device | str | None = None,
        backend: str | None = None,
    ) -> Potential:
        """Return a copy, in another dtype, on another device or with other kernels."""
        return self._with(self.config, dtype, device, backend)

    def with_splines(self, intervals: int | None = 2048) -> Potential:
        """Return a copy whose radial weights are cubic splines (None: the exact networks), made from the same weights.

        The error falls with the fourth power of ``intervals``, that of forces with the third (docs/performance.md).
        """
        model = MultiACEConfig(**{**dict(self.config.model), "spline_intervals": intervals})
        return self._with(PotentialConfig(model=model, terms=self.config.terms))

    def with_core(self, radii: Mapping[str, float]) -> Potential:
        """Return a copy with a core that begins at ``radii``, in Å by pair such as "C-H", in place of a ZBL term.

        The shortest distances of the training set (`compute_statistics`), times a number below 1, change nothing
        there.

        Raises:
            ConfigError: a pair or a radius makes no sense.
        """
        kept = tuple(term for term in self.config.terms if term.kind not in ("zbl", "core"))
        return self._with(PotentialConfig(model=self.config.model, terms=(*kept, CoreConfig(radii=dict(radii)))))

    @torch.inference_mode(False)  # a copy that is made inside can be used outside
    def _with(
        self,
        config: PotentialConfig,
        dtype: torch.dtype | str | None = None,
        device: torch.device | str | None = None,
        backend: str | None = None,
    ) -> Potential:
        """A copy with the same weights; terms that are not of the config are copied too."""
        zeros = dict.fromkeys(self.elements, 0.0)
        twin = type(self)(config, e0=zeros, dtype=dtype or self.dtype, backend=backend or self.backend)
        twin.terms.extend(copy.deepcopy(list(self.terms)[len(self.config.terms) :]))
        twin.load_state_dict(self.state_dict())
        twin.domain = self.domain
        return twin.to(self.device if device is None else find_device(device))

    def energies(
        self, batch: Batch, positions: Float64[Tensor, "atoms 3"], strain: Float64[Tensor, "graphs 3 3"] | None
    ) -> Prediction:
        """Energies at ``positions`` in Å, these and the cells deformed by the symmetric part of ``strain``."""
        cell = batch.cell
        if strain is not None:
            deformation = 0.5 * (strain + strain.transpose(1, 2))
            positions = positions + torch.einsum("ni,nij->nj", positions, deformation[batch.graph_index])
            cell = cell + cell @ deformation
        nodes = self.node_energies(edge_vectors(batch, positions, cell), batch.edges)
        reference = self.e0[batch.species]
        interaction_energy = _pool(nodes.interaction, batch)
        found = [term.quantities(batch, positions, nodes.output) for term in self._terms()]
        return Prediction(
            energy=_pool(reference, batch) + interaction_energy,
            node_energy=reference + nodes.interaction,
            layer_energy=_pool(nodes.layers, batch),
            interaction_energy=interaction_energy,
            outputs={name: value for outputs in found for name, value in outputs.items()},
        )

    def node_energies(
        self, vectors: Float64[Tensor, "edges 3"], edges: Edges, exchange: Exchange = no_exchange
    ) -> NodeEnergies:
        """Energies of the targets without E0: the border at which engines that have edges of their own enter.

        Args:
            vectors: r_ij in Å; their derivatives are those of the energies.
            edges: pairs of atoms and elements; targets may be fewer than sources.
            exchange: see `MultiACE`.
        """
        seen = vectors
        for term in self._terms():
            seen = term.seen(seen, edges)
        output = self.model(seen.to(self.dtype), edges, exchange)
        species = edges.elements.species
        layers = self.scale[species][:, None] * output.readouts["energy"].double()
        interaction = layers.sum(1) + self.shift[species]
        for term in self._terms():
            energy = term.energy(vectors, edges, output)
            interaction = interaction if energy is None else interaction + energy
        return NodeEnergies(interaction, layers, output)

    def _terms(self) -> list[Term]:
        return [cast(Term, term) for term in self.terms]

    def _require_gradients(self) -> None:
        if self.model.embedding.is_inference():
            raise ClebschError(
                "This potential was made under torch.inference_mode(), where forces cannot be had. Make or load it "
                "outside; it may be called inside."
            )


class FrozenPotential(Potential):
    """A potential whose weights are constants; what can be made of them alone is made, once. See `Potential.frozen`."""

    @classmethod
    def of(cls, potential: Potential) -> FrozenPotential:
        """Return a frozen copy of ``potential``, which keeps the methods of a class of its own."""
        own = type(potential)
        kind: Any = cls if own is Potential else type(f"Frozen{own.__name__}", (cls, own), {})
        frozen = kind.__new__(kind)
        with torch.inference_mode(False), torch.no_grad():
            frozen.__dict__.update(copy.deepcopy(potential).__dict__)  # a module is what its dictionary holds
            frozen.model.freeze()
        return frozen.requires_grad_(False)

    def forward(
        self, batch: Batch, *, forces: bool = True, stress: bool = False, create_graph: bool = False
    ) -> Prediction:
        """As that of a potential; raises ClebschError for ``create_graph``, which is for training."""
        if create_graph:
            raise ClebschError("create_graph: a frozen potential has no weights to train; use the one it was made of")
        return super().forward(batch, forces=forces, stress=stress)

    def frozen(self) -> FrozenPotential:
        """Return the potential itself."""
        return self

    def fingerprint(self) -> str:
        """Raises ClebschError: the weights are gone."""
        raise ClebschError("A frozen potential has no fingerprint; take that of the potential it was made of.")

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """Raises ClebschError: the weights are gone."""
        raise ClebschError("A frozen potential is not saved or copied; save the potential it was made of.")


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
    """Volumes of the cells, zero where there is none; raises DataError if no configuration has one."""
    volumes = torch.linalg.det(batch.cell).abs()
    if bool((volumes == 0).all()):
        raise DataError(
            f"stress: expected a cell with a volume, but that of configuration 0 of the batch is "
            f"{batch.cell[0].tolist()}. Give it three independent cell vectors, or ask for no stress."
        )
    return volumes


def _stress(gradient: Tensor, volumes: Tensor) -> Tensor:
    """(1/V) dE/dstrain, NaN where there is no volume, with a derivative of zero there."""
    there = (volumes > 0)[:, None, None]
    return (gradient / volumes[:, None, None].where(there, 1.0)).masked_fill(~there, torch.nan)


def _detached(prediction: Prediction) -> Prediction:
    values = {name: value for name, value in vars(prediction).items() if name != "outputs"}
    detached: dict[str, Any] = {name: None if value is None else value.detach() for name, value in values.items()}
    return Prediction(**detached, outputs={name: value.detach() for name, value in prediction.outputs.items()})


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
