from __future__ import annotations

import pytest
import torch
from torch import nn

from clebsch.training.ema import ExponentialMovingAverage, copy_parameters


def scalar_model(value: float) -> nn.Module:
    model = nn.Module()
    model.register_parameter("weight", nn.Parameter(torch.tensor([value], dtype=torch.float64)))
    return model


def test_decay_warms_up():
    model = scalar_model(0.0)
    ema = ExponentialMovingAverage(model, decay=0.3)
    expected = 0.0
    for n in range(6):
        copy_parameters({"weight": torch.tensor([float(n + 1)], dtype=torch.float64)}, model)
        ema.update()
        decay = min(0.3, (1 + n) / (10 + n))
        expected = decay * expected + (1 - decay) * (n + 1)
        assert ema.average["weight"].item() == pytest.approx(expected, rel=1e-14)


def test_zero_decay_is_the_weights_themselves():
    model = scalar_model(0.1)
    ema = ExponentialMovingAverage(model, decay=0.0)
    copy_parameters({"weight": torch.tensor([0.7], dtype=torch.float64)}, model)
    ema.update()
    assert torch.equal(ema.average["weight"], model.get_parameter("weight"))


def test_applied_gives_the_average_and_then_the_weights_back():
    model = scalar_model(1.0)
    ema = ExponentialMovingAverage(model, decay=0.9)
    copy_parameters({"weight": torch.tensor([3.0], dtype=torch.float64)}, model)
    with pytest.raises(RuntimeError, match="inside"), ema.applied(model):
        assert model.get_parameter("weight").item() == 1.0
        raise RuntimeError("inside")
    assert model.get_parameter("weight").item() == 3.0


def test_load_restores_average_and_count():
    model = scalar_model(1.0)
    ema = ExponentialMovingAverage(model, decay=0.9)
    ema.load({"weight": torch.tensor([5.0], dtype=torch.float64)}, num_updates=7)
    ema.update()
    decay = 8 / 17
    assert ema.average["weight"].item() == pytest.approx(decay * 5.0 + (1 - decay) * 1.0)
    assert ema.num_updates == 8


def test_the_average_is_not_the_parameter():
    model = scalar_model(1.0)
    ema = ExponentialMovingAverage(model, decay=0.9)
    copy_parameters({"weight": torch.tensor([2.0], dtype=torch.float64)}, model)
    assert ema.average["weight"].item() == 1.0


def test_frozen_parameters_have_no_average():
    model = scalar_model(1.0)
    model.get_parameter("weight").requires_grad_(False)
    assert not ExponentialMovingAverage(model, decay=0.9).average
