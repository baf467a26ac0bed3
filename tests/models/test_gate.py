"""The gate: its formula, and that it keeps rotations and parity."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from clebsch.basis.mlp import activation_scale
from clebsch.models.update import Gate, gate_input
from clebsch.o3 import Irreps, irreps_rotation, random_rotation

HIDDEN = Irreps("0e+0o+1o+1e+2e")


def test_its_input_has_one_scalar_per_gated_irrep():
    assert gate_input(HIDDEN, "silu") == Irreps("0e+0e+0e+0e+0o+1o+1e+2e")
    assert gate_input(Irreps("0e+0o"), "silu") == Irreps("0e+0o")
    assert gate_input(HIDDEN, "none") == HIDDEN


@pytest.mark.parametrize("name", ["silu", "tanh", "abs"])
def test_the_formula(name: str, rng: np.random.Generator):
    plain = {"silu": lambda x: x / (1 + np.exp(-x)), "tanh": np.tanh, "abs": np.abs}[name]
    x = rng.normal(size=(3 + HIDDEN.dim, 4, 2))
    found = Gate(HIDDEN, name)(torch.from_numpy(x)).numpy()
    gates, even, odd, rest = x[:3], x[3:4], x[4:5], x[5:]
    parts = [rest[:3] * plain(gates[0]), rest[3:6] * plain(gates[1]), rest[6:] * plain(gates[2])]
    gated = activation_scale(name) * np.concatenate([plain(even), *parts])
    np.testing.assert_allclose(np.delete(found, 1, axis=0), gated, atol=1e-14)
    np.testing.assert_allclose(found[1:2], activation_scale("tanh") * np.tanh(odd), atol=1e-14)


@pytest.mark.parametrize("name", ["silu", "tanh", "abs"])
@pytest.mark.parametrize("sign", [1, -1])
def test_it_is_equivariant(name: str, sign: int, rng: np.random.Generator):
    rotation = sign * random_rotation(rng)
    x = torch.from_numpy(rng.normal(size=(gate_input(HIDDEN, name).dim, 4, 2)))
    before, after = (
        torch.from_numpy(irreps_rotation(irreps, rotation)) for irreps in (gate_input(HIDDEN, name), HIDDEN)
    )
    gate = Gate(HIDDEN, name)
    turned = gate(torch.einsum("ab,bnk->ank", before, x))
    torch.testing.assert_close(turned, torch.einsum("ab,bnk->ank", after, gate(x)), rtol=0, atol=1e-12)


def test_scalars_alone_need_no_gates():
    x = torch.linspace(-1, 1, 6, dtype=torch.float64).reshape(1, 3, 2)
    expected = activation_scale("silu") * torch.nn.functional.silu(x)
    torch.testing.assert_close(Gate(Irreps("0e"), "silu")(x), expected)


def test_no_atoms():
    assert Gate(HIDDEN, "silu")(torch.zeros(3 + HIDDEN.dim, 0, 2)).shape == (HIDDEN.dim, 0, 2)
