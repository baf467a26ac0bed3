"""Radial bases against their formulas, written again in numpy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import pytest
import torch
from numpy.polynomial.chebyshev import chebvander
from scipy.special import comb, eval_chebyt

from clebsch.basis import BasisFunctions, Bessel, PolynomialCutoff, RadialBasis, SmoothCutoff, cutoff_function
from clebsch.config import parse_config
from clebsch.errors import ConfigError
from clebsch.models import MultiACEConfig

R_MAX = 5.0
R = np.linspace(0.3, R_MAX - 0.01, 40)
KINDS = ["bessel", "chebyshev", "gaussian", "exp_bernstein"]


def parse(**options: Any) -> BasisFunctions:
    """The radial basis of a model with these options."""
    model = {"elements": ["H"], "layers": [{"hidden_irreps": "0e"}], "radial_basis": options}
    return parse_config(MultiACEConfig, model).radial_basis


def basis(kind: str, num: int = 6, *, dtype: torch.dtype = torch.float64, **options: Any) -> RadialBasis:
    return RadialBasis(parse(kind=kind, num=num, **options), R_MAX, dtype)


def formula(kind: str, num: int) -> np.ndarray:
    """The functions without cutoff [distances, num]."""
    n, r = np.arange(num), R[:, None]
    if kind == "bessel":
        return np.sqrt(2 / R_MAX) * np.sin((n + 1) * np.pi * r / R_MAX) / r
    if kind == "chebyshev":
        x = 1 - 2 * (np.exp(-2 * (R / R_MAX - 1)) - 1) / (np.exp(2) - 1)
        return chebvander(x, num - 1)
    if kind == "gaussian":
        width = R_MAX / (num - 1) if num > 1 else R_MAX
        return np.exp(-((r - n * width) ** 2) / (2 * width**2))
    x = np.exp(-0.5 * r)
    return comb(num - 1, n) * x ** (num - 1 - n) * (1 - x) ** n


@pytest.mark.parametrize("num", [1, 2, 6])
@pytest.mark.parametrize("kind", KINDS)
def test_the_formula(kind: str, num: int):
    module, r = basis(kind, num), torch.from_numpy(R)
    np.testing.assert_allclose(module.functions(r).detach().numpy(), formula(kind, num), atol=1e-12)
    envelope = cutoff_function(PolynomialCutoff(), r, R_MAX)
    torch.testing.assert_close(module(r), module.functions(r) * envelope[:, None], rtol=0, atol=0)
    torch.testing.assert_close(module.envelope(r), envelope, rtol=0, atol=0)


@pytest.mark.parametrize("kind", ["bessel", "chebyshev"])
def test_a_decay_damps_the_oscillating_functions(kind: str):
    """By a power of their number, at the same mean square."""
    r = torch.from_numpy(R)
    ratio = (basis(kind, 4, decay=1.5).functions(r) / basis(kind, 4).functions(r)).numpy()
    np.testing.assert_allclose(ratio / ratio[:, :1], np.broadcast_to(np.arange(1, 5) ** -1.5, ratio.shape), rtol=1e-12)
    np.testing.assert_allclose((ratio**2).mean(1), 1, rtol=1e-12)


def test_chebyshev_argument_runs_from_minus_one_to_one():
    functions = basis("chebyshev", 4).functions(torch.tensor([0.0, R_MAX], dtype=torch.float64))
    np.testing.assert_allclose(functions.numpy(), eval_chebyt(np.arange(4), np.array([[-1.0], [1.0]])), atol=1e-13)


def test_bernstein_polynomials_are_a_partition_of_unity():
    total = basis("exp_bernstein", 9).functions(torch.from_numpy(R)).sum(1)
    np.testing.assert_allclose(total.detach().numpy(), 1, atol=1e-12)


def test_bessel_functions_are_orthonormal_in_the_ball():
    """Of the spherical Bessel functions j_0: the integral of b_n b_m r^2 is 1 for n = m and 0 otherwise."""
    r, weights = np.polynomial.legendre.leggauss(60)
    r, weights = (r + 1) * R_MAX / 2, weights * R_MAX / 2
    b = basis("bessel").functions(torch.from_numpy(r)).numpy()
    np.testing.assert_allclose(np.einsum("rn,rm,r->nm", b, b, weights * r**2), np.eye(6), atol=1e-12)


@pytest.mark.parametrize("cutoff", [PolynomialCutoff(p=6), SmoothCutoff()], ids=["polynomial", "smooth"])
@pytest.mark.parametrize("kind", KINDS)
def test_it_ends_at_the_cutoff(kind: str, cutoff: PolynomialCutoff | SmoothCutoff):
    r = torch.tensor([R_MAX - 1e-5, R_MAX, R_MAX + 1], dtype=torch.float64, requires_grad=True)
    values = basis(kind, cutoff=cutoff)(r)
    (slope,) = torch.autograd.grad(values.sum(), r)
    assert values.abs().max() < 1e-12 and slope.abs().max() < 1e-7
    assert not values[1:].any() and not slope[1:].any()


@pytest.mark.parametrize("kind", KINDS)
def test_derivatives(kind: str):
    module = basis(kind, **({"trainable": True} if kind in ("bessel", "exp_bernstein") else {}))
    r = torch.tensor([0.7, 2.3, 4.4], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(module, r) and torch.autograd.gradgradcheck(module, r)


@pytest.mark.parametrize("kind", KINDS)
def test_float32_stays_float32(kind: str):
    values = basis(kind, dtype=torch.float32)(torch.from_numpy(R).float())
    assert values.dtype == torch.float32
    np.testing.assert_allclose(values.detach().numpy(), basis(kind)(torch.from_numpy(R)).detach().numpy(), atol=2e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_only_what_is_trained_is_a_parameter(kind: str):
    assert not list(basis(kind).parameters()) and not basis(kind).state_dict()
    if kind in ("bessel", "exp_bernstein"):
        module = basis(kind, trainable=True)
        module(torch.from_numpy(R)).square().sum().backward()
        assert list(module.state_dict()) == ["constants"] and module.constants.grad is not None
        assert bool((module.constants.grad != 0).all())
    else:
        with pytest.raises(ConfigError, match=r"unknown key 'radial_basis\.trainable'\. .*Known keys: cutoff, .*num\."):
            parse(kind=kind, trainable=True)


def test_wrong_configurations_are_errors():
    for options, message in (
        ({"kind": "gaussian", "decay": 1}, r"unknown key 'radial_basis\.decay'\. Known keys: cutoff, kind, num\."),
        ({"cutof": {}}, r"unknown key 'radial_basis\.cutof'\. Did you mean 'cutoff'\?"),
        ({"bessel": 1}, r"unknown key 'radial_basis\.bessel'\. "),
        ({"kind": "besel"}, r"'radial_basis\.kind': expected one of bessel, .*, got 'besel'\. Did you mean 'bessel'\?"),
        ({"cutoff": {"kind": "smooth", "p": 5}}, r"unknown key 'radial_basis\.cutoff\.p'\..* Known keys: kind\."),
        ({"cutoff": {"p": 1}}, r"'radial_basis\.cutoff\.p': Input should be greater than or equal to 2 \(got 1\)"),
        ({"num": 0}, r"'radial_basis\.num': Input should be greater"),
        ({"kind": "gaussian", "num": "many"}, r"'radial_basis\.num': Input should be a valid integer"),
    ):
        with pytest.raises(ConfigError, match=message):
            parse(**options)


class Powers(BasisFunctions):
    """x^n with x = r / r_max and n from 0: what a new radial basis takes, but for its entry in the union."""

    kind: Literal["powers"] = "powers"

    def constants(self, r_max: float) -> dict[str, torch.Tensor]:
        return {"powers": torch.arange(self.num, dtype=torch.float64)}

    def functions(self, r: torch.Tensor, r_max: float, constants: Mapping[str, torch.Tensor]) -> torch.Tensor:
        return (r / r_max) ** constants["powers"]


def test_a_new_radial_basis_is_one_class():
    module, r = RadialBasis(Powers(num=3), R_MAX, torch.float32), torch.tensor([0.5, 2.0, R_MAX])
    x = (r / R_MAX)[:, None]
    expected = torch.cat([torch.ones_like(x), x, x**2], dim=1) * cutoff_function(PolynomialCutoff(), r, R_MAX)[:, None]
    torch.testing.assert_close(module(r), expected)
    assert not module.state_dict()


def test_without_a_kind_it_is_bessel():
    assert parse(num=4, cutoff={"p": 6}) == Bessel(num=4, cutoff=PolynomialCutoff(p=6))
