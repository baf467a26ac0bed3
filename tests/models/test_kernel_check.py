"""A kernel that computes wrong numbers is noticed when a potential is loaded, whichever it is and whatever is wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from clebsch.data import Configuration
from clebsch.errors import BackendError
from clebsch.models import Potential, PotentialConfig
from clebsch.models.kernel_check import verify_kernels
from clebsch.models.presets import botnet, linear_ace, mace, nequip, pace
from clebsch.models.serialization import load_potential, save_potential
from clebsch.ops.cpu.compile import CompiledKernel
from clebsch.ops.operators import Operator, convolution, harmonics, linear, product_basis

SMALL: dict[str, Any] = {"elements": ("H", "C", "O"), "r_max": 4.0, "num_channels": 4, "l_max": 1}
PRESETS: dict[str, Any] = {preset.__name__: preset for preset in (linear_ace, nequip, botnet, mace, pace)}
OPERATORS = [
    value
    for module in (convolution, harmonics, linear, product_basis)
    for value in vars(module).values()
    if isinstance(value, Operator)
]
DAMAGES: dict[str, Callable[[Tensor], Any]] = {
    "a thousandth too large": lambda x: x.mul_(1.001),
    "one component with the other sign": lambda x: x[0].neg_(),
    "the last channel a thousandth too large": lambda x: x[..., -1].mul_(1.001),
}


class Watch:
    """Which compiled kernels have run, and one of them whose last result is damaged whenever it runs."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ran: list[CompiledKernel] = []
        self.damaged: CompiledKernel | None = None
        self.damage: Callable[[Tensor], Any] = Tensor.detach
        call = CompiledKernel.__call__

        def watched(kernel: CompiledKernel, *arguments: Any, **options: Any) -> None:
            self.ran.append(kernel)
            call(kernel, *arguments, **options)

        monkeypatch.setattr(CompiledKernel, "__call__", watched)
        for operator in OPERATORS:
            monkeypatch.setitem(operator.kernels, "cpu", self._damaging(operator.kernels["cpu"]))

    def _damaging(self, kernel: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any) -> Any:
            before = len(self.ran)
            found = kernel(*arguments)
            if self.damaged in self.ran[before:]:
                self.damage(found if isinstance(found, Tensor) else found[-1])
            return found

        return run


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Watch:
    return Watch(monkeypatch)


def kernels_of_inference(potential: Potential, watch: Watch) -> list[CompiledKernel]:
    """Every kernel that energies, forces and stresses take, of the potential and of its frozen copy."""
    positions = np.random.default_rng(0).uniform(0, 4, (5, 3))
    box = Configuration(np.array([1, 6, 8, 1, 6]), positions, 4.0 * np.eye(3), np.ones(3, dtype=bool))
    watch.ran.clear()
    for each in (potential, potential.frozen()):
        each(each.batch([box]), stress=True)
    return list(dict.fromkeys(watch.ran))


def make_potential(preset: str, dtype: torch.dtype, *, splines: bool) -> Potential:
    config = PRESETS[preset](**SMALL)
    config = config.model_copy(update={"spline_intervals": config.spline_intervals if splines else None})
    return Potential(PotentialConfig(model=config), e0=dict.fromkeys("HCO", 0.0), dtype=dtype)


@pytest.mark.parametrize("splines", [True, False])
@pytest.mark.parametrize("preset", PRESETS)
def test_every_kernel_of_inference_is_checked(preset: str, splines: bool, watch: Watch):
    potential = make_potential(preset, torch.float64, splines=splines)
    needed = kernels_of_inference(potential, watch)
    assert len(needed) >= 4
    watch.ran.clear()
    verify_kernels(potential.frozen())  # as loading does
    assert set(needed) <= set(watch.ran)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("preset", ["mace", "pace"])
def test_a_damaged_kernel_is_noticed(preset: str, dtype: torch.dtype, watch: Watch, tmp_path: Path):
    potential, path = make_potential(preset, dtype, splines=True), tmp_path / "p.safetensors"
    save_potential(potential, path)
    kernels = kernels_of_inference(potential, watch)
    unnoticed = []
    for number, kernel in enumerate(kernels):
        for name, damage in DAMAGES.items():
            watch.damaged, watch.damage = kernel, damage
            try:
                load_potential(path)
                unnoticed.append((number, name))
            except BackendError as error:
                assert "computes wrong numbers" in str(error)
    assert len(kernels) >= 8 and not unnoticed
    watch.damaged = None
    load_potential(path)


@pytest.mark.parametrize("error", [1e-6, float("nan")])
def test_an_error_of_a_millionth_is_noticed_in_float64(error: float, watch: Watch):
    potential = make_potential("mace", torch.float64, splines=True)
    for kernel in kernels_of_inference(potential, watch):
        watch.damaged, watch.damage = kernel, lambda x: x.mul_(1 + error)
        with pytest.raises(BackendError, match=r"backend 'cpu' computes wrong numbers.*CLEBSCH_CACHE.*verify=False"):
            verify_kernels(potential)


def test_weights_that_hide_a_channel_do_not_hide_its_kernel(watch: Watch):
    """With weights of zero no energy depends on any kernel."""
    potential = make_potential("mace", torch.float32, splines=True)
    with torch.no_grad():
        for weight in potential.parameters():
            weight.zero_()
    for kernel in kernels_of_inference(potential, watch):
        watch.damaged, watch.damage = kernel, DAMAGES["the last channel a thousandth too large"]
        with pytest.raises(BackendError):
            verify_kernels(potential)


@pytest.mark.parametrize("changes", [{"l_max": 0}, {"elements": ("Cu",)}, {"num_channels": 6}])
@pytest.mark.parametrize("preset", ["nequip", "pace"])
def test_sound_kernels_pass(preset: str, changes: dict[str, Any]):
    """Of harmonics that are constant, of one element, of channels that fill no vector."""
    config = PRESETS[preset](**{**SMALL, **changes})
    potential = Potential(PotentialConfig(model=config), e0=dict.fromkeys(config.elements, 0.0), dtype=torch.float64)
    verify_kernels(potential)


def test_the_check_leaves_the_potential_as_it_is():
    potential = Potential(PotentialConfig(model=mace(**SMALL)), e0=dict.fromkeys("HCO", 0.0))
    before = {name: (x.clone(), x.requires_grad) for name, x in potential.named_parameters()}
    with torch.inference_mode():
        verify_kernels(potential)
    for name, weight in potential.named_parameters():
        assert torch.equal(weight, before[name][0]) and weight.requires_grad == before[name][1] and weight.grad is None
