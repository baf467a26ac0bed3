"""A limit on time that the learning rate follows: it reaches its end whatever the number of epochs."""

from __future__ import annotations

import pytest

from clebsch.config import parse_config
from clebsch.errors import ConfigError
from clebsch.training import Cosine, TrainConfig, fit, trainer, watch
from clebsch.training.schedules import Schedule, StageConfig, stage_at

COSINE = {"schedule": {"kind": "cosine", "final_factor": 0.0}, "optimizer": {"lr": 0.02}}
LIMITED = {**COSINE, "max_epochs": 1000, "max_seconds": 20.0, "anneal_in_time": True}


class FakeTime:
    """A clock that goes on by a second with every step."""

    now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch):
    fake, step = FakeTime(), trainer.take_step

    def take_step(*arguments):
        fake.now += 1.0
        step(*arguments)

    monkeypatch.setattr(watch, "time", fake)
    monkeypatch.setattr(trainer, "take_step", take_step)
    return fake


@pytest.fixture
def train(train_graphs, valid_graphs, make_potential, make_config, tmp_path):
    def run(**changes):
        config = make_config(checkpoint_seconds=5.0, **changes)
        return fit(make_potential(), train_graphs, valid_graphs, config, tmp_path, resume=True)

    return run


@pytest.mark.usefixtures("clock")
def test_the_rate_reaches_its_end_in_the_time(train):
    """Of 20 seconds, 19 are used when the last step begins; the epoch that is cut short is validated."""
    found = train(**LIMITED)
    rates = [record["lr"] for record in found.history]
    assert found.stopped_by == "max_seconds" and found.history[-1]["step"] == 20
    assert [record["epoch"] for record in found.history] == list(range(1, 8))
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] == pytest.approx(0.02 * Schedule(Cosine(final_factor=0.0), 1).factor(19 / 20), rel=1e-6)
    assert found.history[-1]["train_loss"] > 0
    assert train(**LIMITED).history == found.history


@pytest.mark.usefixtures("clock")
def test_the_time_is_that_of_all_calls(train, monkeypatch):
    """A signal stops the first call; the second has the time that is left."""
    stop = trainer._stop_reason
    monkeypatch.setattr(
        trainer, "_stop_reason", lambda state, *rest: "test" if state.progress.epoch == 3 else stop(state, *rest)
    )
    assert train(**LIMITED).stopped_by == "test"
    monkeypatch.setattr(trainer, "_stop_reason", stop)
    found = train(**LIMITED)
    assert (found.stopped_by, found.seconds, found.history[-1]["step"]) == ("max_seconds", 20.0, 20)


@pytest.mark.usefixtures("clock")
def test_epochs_count_where_they_are_farther(train):
    found = train(**{**LIMITED, "max_epochs": 2})
    assert found.stopped_by == "max_epochs" and found.history[-1]["lr"] == pytest.approx(0.0, abs=1e-12)


@pytest.mark.usefixtures("clock")
def test_without_the_key_the_rate_depends_on_epochs_alone(train):
    found = train(**{**LIMITED, "anneal_in_time": False, "max_seconds": 4.0})
    assert found.stopped_by == "max_seconds" and found.history[-1]["lr"] == pytest.approx(0.02, rel=1e-3)
    assert [record["step"] for record in found.history] == [3]


def test_a_warm_up_is_one_of_epochs_and_stages_come_in_time():
    schedule = Schedule(Cosine(warmup_epochs=2.0, final_factor=0.0), 100)
    assert schedule.factor(1.0, used=0.5) == pytest.approx(0.25)
    assert schedule.factor(3.0, used=1.0) == 0.0
    stages = (StageConfig(start=0.5), StageConfig(start=0.75))
    assert [stage_at(stages, 0, 8, used) for used in (0.0, 0.49, 0.5, 0.8)] == [0, 0, 1, 2]


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"max_seconds": None}, "there is no max_seconds"), ({"schedule": {"kind": "plateau"}}, "plateau has no end")],
)
def test_what_it_needs(changes, said):
    with pytest.raises(ConfigError, match=said):
        parse_config(TrainConfig, {**LIMITED, **changes})
