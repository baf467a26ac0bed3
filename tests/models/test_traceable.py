"""Energies and forces as one program: traced with sizes that vary, exported, and a training step that is compiled."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import jaxtyping
import pytest
import torch
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import make_fx

from clebsch.data import Batch
from clebsch.models import MultiACEConfig, Potential, PotentialConfig, ZBLConfig
from clebsch.models.presets import mace
from clebsch.ops import Edges, ElementGroups

E0 = {"H": -13.0, "C": -1030.0, "O": -2040.0}
SMALL: dict[str, Any] = {"elements": tuple(E0), "r_max": 3.0, "num_channels": 4, "l_max": 2, "L_max": 1}


def potential(backend: str) -> Potential:
    model = mace(**SMALL, correlation=2, spline_intervals=16)
    return Potential(PotentialConfig(model=model), e0=E0, scale=2.0, dtype="float64", backend=backend, seed=1)


@pytest.fixture(autouse=True)
def unchecked() -> Iterator[None]:
    """Sizes of traced tensors are symbols, which the checks of shapes at run time refuse."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


class Program(nn.Module):
    """Energies and forces from tensors alone, for tracers that know no other arguments."""

    def __init__(self, found: Potential) -> None:
        super().__init__()
        self.potential = found

    def forward(self, *tensors: Tensor) -> tuple[Tensor, Tensor]:
        prediction = self.potential(batch_of(tensors))
        assert prediction.forces is not None
        return prediction.energy, prediction.forces


def tensors_of(batch: Batch) -> tuple[Tensor, ...]:
    edges = batch.edges
    indices = (edges.centers, edges.neighbors, edges.center_start, edges.by_neighbor, edges.neighbor_start)
    groups = (edges.elements.species, edges.elements.order, edges.elements.start)
    return (batch.positions, batch.cell, batch.shifts, batch.graph_index, batch.num_atoms, *indices, *groups)


def batch_of(tensors: tuple[Tensor, ...]) -> Batch:
    positions, cell, shifts, graph_index, num_atoms, *indices, species, order, start = tensors
    edges = Edges(*indices, species, ElementGroups(species, order, start))
    return Batch(positions, cell, edges, shifts, graph_index, num_atoms)


def of_every_part(backend: str, intervals: int | None) -> Potential:
    """Densities, a gate, networks of the elements and transformed distances, with the terms of public MACE models."""
    settings = {"edge_channels": 3, "basis_gate": True, "residual": "linear", "radial": {"kind": "mlp_elements"}}
    plain = {"correlation": 2, "hidden_irreps": "0e+1o", "density": {}, "residual": "element"}
    layers = ({**plain, **settings, "density": {"elements": True}}, {**plain, "hidden_irreps": "0e"})
    model = MultiACEConfig.model_validate(
        {
            **{name: size for name, size in SMALL.items() if name != "L_max"},
            "layers": layers,
            "distance_transform": {"kind": "agnesi"},
            "spline_intervals": intervals,
        }
    )
    config = PotentialConfig(model=model, terms=(ZBLConfig(exponent=0.3),))
    return Potential(config, e0=E0, scale=2.0, dtype="float64", backend=backend, seed=1)


@pytest.mark.parametrize("make", [potential, lambda b: of_every_part(b, 16), lambda b: of_every_part(b, None)])
def test_one_trace_serves_other_sizes(make_batch: Callable[..., Batch], backend: str, make: Callable[[str], Potential]):
    """Three graphs where two were traced; the exported program too."""
    found = make(backend).frozen()
    traced_for, other = make_batch(7, 5, periodic=True), make_batch(9, 4, 6, periodic=True, seed=3)
    program = make_fx(Program(found), tracing_mode="symbolic", _allow_non_fake_inputs=True)(*tensors_of(traced_for))
    dynamic = tuple({0: torch.export.Dim.AUTO} for _ in tensors_of(traced_for))
    exported = torch.export.export(program, tensors_of(traced_for), dynamic_shapes=dynamic, strict=False).module()
    for batch in (traced_for, other):
        expected = found(batch)
        for run in (program, exported):
            energy, forces = run(*tensors_of(batch))
            torch.testing.assert_close(energy, expected.energy, rtol=1e-15, atol=0)
            torch.testing.assert_close(forces, expected.forces, rtol=0, atol=1e-13)


def test_the_energy_alone_is_exported_as_it_is(make_batch: Callable[..., Batch], backend: str):
    """Without a trace before; edges are inputs that PyTorch knows."""
    found, batch = potential(backend), make_batch(5)

    class Energies(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.potential = found

        def forward(self, vectors: Tensor, edges: Edges) -> Tensor:
            return self.potential.node_energies(vectors, edges).interaction

    vectors = batch.positions[batch.neighbors] - batch.positions[batch.centers]
    exported = torch.export.export(Energies(), (vectors, batch.edges), strict=False)
    expected = found.node_energies(vectors, batch.edges).interaction
    assert torch.equal(exported.module()(vectors, batch.edges), expected)


COMPILED = """
import torch
import torch._dynamo
from clebsch.data import Configuration
from clebsch.models import MultiACEConfig, Potential, PotentialConfig, ZBLConfig
from clebsch.models.presets import mace

torch._dynamo.config.trace_autograd_ops = True
model = mace(elements=("H", "O"), r_max=3.0, num_channels=4, l_max=1, L_max=1, correlation=2, spline_intervals=16)
found = Potential(PotentialConfig(model=model), e0={"H": -13.0, "O": -2040.0}, dtype="float64", backend="reference")
water = Configuration([8, 1, 1], [[0.0, 0.0, 0.1], [0.0, 0.8, -0.5], [0.1, -0.8, -0.5]])
batch, parameters = found.batch([water]), list(found.parameters())

def step(batch):
    prediction = found(batch, create_graph=True)
    loss = prediction.interaction_energy.square().sum() + prediction.forces.square().sum()
    gradients = torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)
    return [loss.detach(), *(gradient.detach() for gradient in gradients)]

expected = step(batch)
for one, other in zip(torch.compile(step, backend="aot_eager", fullgraph=True)(batch), expected, strict=True):
    torch.testing.assert_close(one, other, rtol=0, atol=1e-12 * float(1 + other.abs().max()))
print("equal", len(expected))
"""


def test_a_training_step_is_compiled():
    """One graph without a break, the double backward pass inside; in plain torch, which a compiler can see into.

    In a process of its own: the checks of shapes at run time that the tests install cannot be compiled.
    """
    done = subprocess.run([sys.executable, "-c", COMPILED], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.startswith("equal ")
