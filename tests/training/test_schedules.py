from __future__ import annotations

import json
import math

import pytest
from pydantic import TypeAdapter

from clebsch.config import parse_config
from clebsch.errors import ConfigError
from clebsch.training import Constant, Cosine, Exponential, LossConfig, Plateau, StageConfig, TrainConfig
from clebsch.training.schedules import Schedule, ScheduleConfig, stage_at


def test_constant_after_a_linear_warm_up():
    schedule = Schedule(Constant(warmup_epochs=2.0), max_epochs=10)
    assert [schedule.factor(epochs) for epochs in (0.5, 1.0, 2.0, 7.3)] == [0.25, 0.5, 1.0, 1.0]


def test_cosine_starts_after_the_warm_up_and_ends_at_the_final_factor():
    schedule = Schedule(Cosine(warmup_epochs=2.0, final_factor=0.1), max_epochs=12)
    assert schedule.factor(1.0) == pytest.approx(0.5)
    assert schedule.factor(2.0) == pytest.approx(1.0)
    assert schedule.factor(4.5) == pytest.approx(0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi / 4)))
    assert schedule.factor(7.0) == pytest.approx(0.55)
    assert schedule.factor(12.0) == pytest.approx(0.1)


def test_exponential_decays_within_the_epoch():
    schedule = Schedule(Exponential(decay=0.25), max_epochs=10)
    assert [schedule.factor(epochs) for epochs in (0.0, 0.5, 1.0, 2.0)] == [1.0, 0.5, 0.25, 0.0625]


def test_plateau_reduces_after_patience_epochs_in_a_row():
    schedule = Schedule(Plateau(factor=0.5, patience=2, min_factor=0.2), max_epochs=100)
    factors = []
    for improved in (True, False, True, False, False, False, False, False, False, True):
        schedule.end_epoch(improved)
        factors.append(schedule.factor(1.0))
    assert factors == [1.0, 1.0, 1.0, 1.0, 0.5, 0.5, 0.25, 0.25, 0.2, 0.2]


def test_state_is_json_and_round_trips():
    schedule = Schedule(Plateau(factor=0.5, patience=3), max_epochs=100)
    for improved in (True, False, False, False, False):
        schedule.end_epoch(improved)
    copy = Schedule(Plateau(factor=0.5, patience=3), max_epochs=100)
    copy.load_state_dict(json.loads(json.dumps(schedule.state_dict())))
    assert (copy.reduction, copy.stale_epochs) == (0.5, 1)


def test_kind_selects_the_schedule_and_its_keys():
    adapter = TypeAdapter(ScheduleConfig)
    assert adapter.validate_python({"kind": "plateau", "patience": 3}) == Plateau(patience=3)
    with pytest.raises(ConfigError, match="schedule") as caught:
        parse_config(TrainConfig, {"schedule": {"kind": "cosin"}})
    assert "'cosine'" in str(caught.value)
    with pytest.raises(ConfigError, match=r"unknown key 'schedule\.patience'"):
        parse_config(TrainConfig, {"schedule": {"kind": "cosine", "patience": 3}})


def test_stages_begin_at_fractions_of_the_run():
    stages = (StageConfig(start=0.5), StageConfig(start=0.75))
    assert [stage_at(stages, epoch, 8) for epoch in range(8)] == [0, 0, 0, 0, 1, 1, 2, 2]


def test_a_stage_changes_the_weights_it_names():
    stage = StageConfig(start=0.5, energy_weight=1000.0, lr_factor=0.1)
    config = TrainConfig(stages=(stage,), loss=LossConfig(energy_weight=1.0, forces_weight=7.0))
    assert config.loss_config(0) == config.loss
    assert config.loss_config(1) == LossConfig(energy_weight=1000.0, forces_weight=7.0)
    assert (config.lr_factor(0), config.lr_factor(1)) == (1.0, 0.1)


def test_stages_must_ascend_and_leave_something_to_fit():
    with pytest.raises(ConfigError, match="stages must begin one after the other"):
        parse_config(TrainConfig, {"stages": [{"start": 0.5}, {"start": 0.5}]})
    with pytest.raises(ConfigError, match="must be positive"):
        parse_config(TrainConfig, {"stages": [{"start": 0.5, "energy_weight": 0, "forces_weight": 0}]})
