"""What it takes to add something, as CONTRIBUTING says: each addition is the class below it, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import numpy as np
import pytest
import torch
from pydantic import Field, TypeAdapter
from torch import Tensor

from clebsch.basis import RadialBasis, RadialBasisConfig
from clebsch.basis.radial_basis import BasisFunctions
from clebsch.data import Batch, Configuration
from clebsch.models import Potential, PotentialConfig, Term
from clebsch.models.multi_ace import ModelOutput
from clebsch.models.presets import mace
from clebsch.o3 import random_rotation
from clebsch.training.loss import LossConfig, loss

E0 = {"H": -13.0, "O": -2040.0}


def potential(*names: str, **changes: Any) -> Potential:
    model = mace(elements=tuple(E0), r_max=3.5, num_channels=4, l_max=2, L_max=1, correlation=2, spline_intervals=32)
    model = type(model).model_validate({**model.model_dump(), "further_readouts": names, **changes})
    return Potential(PotentialConfig(model=model), e0=E0, dtype="float64", seed=1)


def water(rotation: np.ndarray | None = None, shift: float = 0.0, **labels: Any) -> Configuration:
    positions = np.array([[0.0, 0.0, 0.12], [0.0, 0.76, -0.48], [0.1, -0.76, -0.48]])
    positions = positions if rotation is None else positions @ rotation.T
    return Configuration(np.array([8, 1, 1]), positions + shift, labels=labels)


# A radial basis: one class in one file, and its name in the union of basis/radial_basis/__init__.py.


class Lorentzian(BasisFunctions):
    """1 / (1 + (r - r_n)^2), centres evenly from 0 to r_max."""

    kind: Literal["lorentzian"] = "lorentzian"

    def constants(self, r_max: float) -> dict[str, Tensor]:
        return {"centres": torch.linspace(0, r_max, self.num, dtype=torch.float64)}

    def functions(self, r: Tensor, r_max: float, constants: Mapping[str, Tensor]) -> Tensor:
        return 1 / (1 + (r - constants["centres"]) ** 2)


def test_a_radial_basis():
    union = Annotated[RadialBasisConfig | Lorentzian, Field(union_mode="left_to_right")]
    config = TypeAdapter(union).validate_python({"kind": "lorentzian", "num": 3})
    assert isinstance(config, Lorentzian)
    r = torch.tensor([1.0, 3.0, 4.5], dtype=torch.float64)
    found = RadialBasis(config, 4.0, torch.float64)(r)
    envelope = RadialBasis(config, 4.0, torch.float64).envelope(r)
    expected = 1 / (1 + (r[:, None] - torch.tensor([0.0, 2.0, 4.0])) ** 2) * envelope[:, None]
    torch.testing.assert_close(found, expected)
    assert not found[2].any()


# An output, here the dipole of invariant charges: one term; label, loss, errors and reports follow from the table of
# quantities, where the dipole stands.


class Dipole(Term):
    """μ = Σ q_i r_i with the readout "charge", less its mean in the graph, as charges."""

    def quantities(self, batch: Batch, positions: Tensor, output: ModelOutput) -> Mapping[str, Tensor]:
        charges = output.readouts["charge"].sum(1).double()
        zeros = charges.new_zeros(batch.num_graphs)
        mean = zeros.index_add(0, batch.graph_index, charges) / batch.num_atoms
        charges = charges - mean[batch.graph_index]
        moments = charges[:, None] * positions
        return {"dipole": moments.new_zeros(batch.num_graphs, 3).index_add(0, batch.graph_index, moments)}


def with_dipole() -> Potential:
    found = potential("charge")
    found.terms.append(Dipole())
    return found


def test_a_dipole_turns_with_the_molecule_and_does_not_move_with_it():
    found, rotation = with_dipole(), random_rotation(np.random.default_rng(0))
    plain, turned, moved = (
        found(found.batch([frame])).outputs["dipole"][0] for frame in (water(), water(rotation), water(shift=7.0))
    )
    assert plain.abs().max() > 1e-3
    torch.testing.assert_close(turned, torch.from_numpy(rotation) @ plain)
    torch.testing.assert_close(moved, plain)
    assert torch.equal(found(found.batch([water()])).energy, potential("charge")(found.batch([water()])).energy)


def test_a_dipole_is_trained_on_its_labels():
    found, target = with_dipole(), np.array([0.0, 0.1, 0.4])
    batch, config = found.batch([water(dipole=target)]), LossConfig(forces_weight=0, energy_weight=0, dipole_weight=1)
    optimizer = torch.optim.Adam(found.parameters(), lr=0.02)
    values = []
    for _ in range(60):
        total, parts = loss(found(batch, create_graph=True), batch, config)
        assert set(parts) == {"dipole"}
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        values.append(float(total.detach()))
    assert values[-1] < 0.05 * values[0]
    frozen = found.frozen()(batch).outputs["dipole"]
    torch.testing.assert_close(frozen, found(batch).outputs["dipole"])


# A second head, the energies of another method on the same body: a further readout, and a term that makes a quantity of
# it.


class OtherMethod(Term):
    """Σ_i Σ_t of the readout "other", in eV per configuration."""

    def quantities(self, batch: Batch, positions: Tensor, output: ModelOutput) -> Mapping[str, Tensor]:
        energies = output.readouts["other"].sum(1).double()
        return {"other_energy": energies.new_zeros(batch.num_graphs).index_add(0, batch.graph_index, energies)}


def test_a_second_head_shares_the_body():
    found, plain = potential("other"), potential()
    found.terms.append(OtherMethod())
    batch = found.batch([water(), water(shift=1.0)])
    other = found(batch, create_graph=True).outputs["other_energy"]
    assert other.shape == (2,) and bool((other.detach().abs() > 1e-6).all())
    own = {name for name, _ in found.named_parameters()} - {name for name, _ in plain.named_parameters()}
    assert own and all(".further.other." in name for name in own)
    (body,) = torch.autograd.grad(other.sum(), found.model.embedding)
    assert body.any()


@pytest.mark.parametrize("names", [("energy",), ("a b",), ("charge", "charge")])
def test_readouts_have_names_of_their_own(names: tuple[str, ...]):
    with pytest.raises(ValueError, match="names no further readout"):
        potential(*names)
