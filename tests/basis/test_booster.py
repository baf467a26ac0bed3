"""The edge booster: the published tensor products of edges are radial functions times harmonics, exactly."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from clebsch.basis import Bessel, BoosterConfig, EdgeBooster, RadialBasis
from clebsch.basis.booster import booster_paths, harmonic_product
from clebsch.o3 import clebsch_gordan, spherical_harmonics

ELEMENTS, NUM_BASIS, WIDTH, EDGES, R_MAX = 3, 4, 2, 6, 5.0
CASES = [(level, l_max) for level in range(4) for l_max in (0, 1, 2, 3)]


def booster(level: int, l_max: int) -> EdgeBooster:
    module = EdgeBooster(
        BoosterConfig(level=level, hidden=(8, 8)),
        num_basis=NUM_BASIS,
        num_elements=ELEMENTS,
        l_max=l_max,
        num_channels=WIDTH * (level + 1),
        dtype=torch.float64,
        generator=torch.Generator().manual_seed(level),
    )
    with torch.no_grad():  # a trained layer norm is no identity
        module.pair_norm.weight.copy_(torch.tensor([1.3, 0.7]))
        module.pair_norm.bias.copy_(torch.tensor([0.2, -0.4]))
    return module


def edges() -> tuple[np.ndarray, torch.Tensor, torch.Tensor]:
    """Random edge vectors [edges, 3], their radial basis and their element pairs."""
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(EDGES, 3))
    r = torch.from_numpy(np.linalg.norm(vectors, axis=1))
    basis = RadialBasis(Bessel(num=NUM_BASIS), R_MAX, torch.float64)(r)
    return vectors, basis, torch.from_numpy(rng.integers(ELEMENTS**2, size=EDGES))


def pair_features(module: EdgeBooster, pairs: torch.Tensor) -> np.ndarray:
    """x(z_i, z_j) of every edge [edges, width]: linear, layer norm, SiLU, linear on the one-hot pair."""
    first, second = (w.detach().numpy() for w in (module.pair_input, module.pair_output))
    found = []
    for pair in pairs.tolist():
        hidden = (first[pair // ELEMENTS] + first[ELEMENTS + pair % ELEMENTS]) / math.sqrt(2 * ELEMENTS)
        hidden = (hidden - hidden.mean()) / np.sqrt(hidden.var() + 1e-5)
        hidden = hidden * module.pair_norm.weight.detach().numpy() + module.pair_norm.bias.detach().numpy()
        found.append(hidden / (1 + np.exp(-hidden)) @ second / math.sqrt(WIDTH))
    return np.array(found)


def published(module: EdgeBooster, vectors: np.ndarray, basis: torch.Tensor, pairs: torch.Tensor) -> list[np.ndarray]:
    """Edge features of all levels, one [2l + 1, edges, channels] per degree, by tensor products over components."""
    l_max = module.l_max
    y = np.split(spherical_harmonics(l_max, vectors), [(l + 1) ** 2 for l in range(l_max)])
    radial = module.radial(basis).detach().numpy().reshape(EDGES, l_max + 1, WIDTH)
    x = pair_features(module, pairs)
    stream = [y[l][:, :, None] * (radial[:, l] * x)[None] for l in range(l_max + 1)]
    streams = [stream]
    for network, pair in zip(module.level_radials, module.level_pairs, strict=True):
        weights = (network(basis) + pair(pairs)).detach().numpy().reshape(EDGES, -1, WIDTH)
        paths = [
            (l1, l2, l3)
            for l1 in range(l_max + 1)
            for l2 in range(l_max + 1)
            for l3 in range(l_max + 1)
            if abs(l1 - l2) <= l3 <= l1 + l2 and (-1) ** (l1 + l2) == (-1) ** l3
        ]
        assert weights.shape[1] == len(paths)
        new = [np.zeros_like(part) for part in stream]
        for number, (l1, l2, l3) in enumerate(paths):
            factor = math.sqrt((2 * l3 + 1) / sum(path[2] == l3 for path in paths))
            coupled = np.einsum("abc,aek,be->cek", clebsch_gordan(l1, l2, l3), stream[l1], y[l2])
            new[l3] += factor * weights[None, :, number] * coupled
        stream = new
        streams.append(stream)
    return [np.concatenate([stream[l] for stream in streams], axis=2) for l in range(l_max + 1)]


@pytest.mark.parametrize(("level", "l_max"), CASES)
def test_the_published_booster_is_a_radial_function_times_harmonics(level: int, l_max: int):
    module, (vectors, basis, pairs) = booster(level, l_max), edges()
    boosted = module(basis, pairs).detach().numpy()
    assert boosted.shape == (EDGES, l_max + 1, WIDTH * (level + 1))
    y = np.split(spherical_harmonics(l_max, vectors), [(l + 1) ** 2 for l in range(l_max)])
    for l, features in enumerate(published(module, vectors, basis, pairs)):
        scale = max(1.0, np.abs(features).max())
        np.testing.assert_allclose(features, boosted[:, l] * y[l][:, :, None], rtol=0, atol=1e-13 * scale)
        along = np.einsum("mek,me->ek", features, y[l]) / (2 * l + 1)
        np.testing.assert_allclose(features - along * y[l][:, :, None], 0, rtol=0, atol=1e-13 * scale)


def test_products_of_harmonics_of_one_vector(rng: np.random.Generator):
    """[Y_l1 x Y_l2]_l3 = c Y_l3, and c = 0 for odd l1 + l2 + l3, which the booster therefore leaves out."""
    y = np.split(spherical_harmonics(4, rng.normal(size=(5, 3))), [(l + 1) ** 2 for l in range(4)])
    for l1 in range(4):
        for l2 in range(4):
            for l3 in range(abs(l1 - l2), min(l1 + l2, 4) + 1):
                coupled = np.einsum("abc,an,bn->cn", clebsch_gordan(l1, l2, l3), y[l1], y[l2])
                c = harmonic_product(l1, l2, l3)
                np.testing.assert_allclose(coupled, c * y[l3], atol=1e-14)
                assert (abs(c) > 1e-3) == ((l1 + l2 + l3) % 2 == 0)


def test_published_paths():
    paths = booster_paths(3)
    assert len(paths) == 23
    assert [sum(path[2] == l3 for path in paths) for l3 in range(4)] == [4, 6, 7, 6]
    assert paths == sorted(paths)


@pytest.mark.parametrize("level", [0, 1, 2])
def test_it_ends_at_the_cutoff(level: int):
    module, basis = booster(level, 2), RadialBasis(Bessel(num=NUM_BASIS), R_MAX, torch.float64)
    r = torch.tensor([R_MAX - 1e-6, R_MAX, R_MAX + 1], dtype=torch.float64, requires_grad=True)
    boosted = module(basis(r), torch.tensor([0, 1, 2]))
    (slope,) = torch.autograd.grad(boosted.sum(), r)
    assert boosted.abs().max() < 1e-13 and slope.abs().max() < 1e-8
    assert not boosted[1:].any() and not slope[1:].any()


def test_derivatives():
    module, (_, basis, pairs) = booster(2, 2), edges()
    basis = basis[:2].requires_grad_(True)
    assert torch.autograd.gradcheck(lambda b: module(b, pairs[:2]), basis)
    assert torch.autograd.gradgradcheck(lambda b: module(b, pairs[:2]), basis)


def test_no_edges():
    assert booster(1, 3)(torch.zeros(0, NUM_BASIS).double(), torch.zeros(0).long()).shape == (0, 4, 4)
