"""More epochs for a run whose schedule or stages depend on their number: stretched, or by another cycle."""

from __future__ import annotations

import io

import pytest
import torch
from rich.console import Console

from clebsch.errors import ConfigError
from clebsch.training import Cosine, Exponential, fit
from clebsch.training.schedules import Schedule

COSINE = {"schedule": {"kind": "cosine", "final_factor": 0.1}, "optimizer": {"lr": 0.02}}
STAGES = {"stages": [{"start": 0.5, "energy_weight": 100.0, "lr_factor": 0.5}]}


@pytest.fixture
def train(train_graphs, valid_graphs, make_potential, make_config, tmp_path):
    """Run ``fit`` of a fresh potential in a named folder and return its result and what it said."""

    def run(name, course, **changes):
        console = Console(file=io.StringIO(), width=300)
        config = make_config(**{**course, **changes})
        potential = make_potential()
        found = fit(potential, train_graphs, valid_graphs, config, tmp_path / name, console=console, resume=True)
        return found, console.file.getvalue(), potential  # type: ignore[attr-defined]

    return run


def rates(result):
    return [record["lr"] for record in result.history]


@pytest.mark.parametrize(("course", "what"), [(COSINE, r"schedule \(cosine\)"), (STAGES, "list of stages")])
def test_the_error_names_both_ways(train, course, what):
    train("run", course)
    with pytest.raises(ConfigError, match=rf"has 2 epochs and is to have 4, but its {what} .*extend=stretch.*=restart"):
        train("run", course, max_epochs=4)


def test_a_stretched_cosine_goes_on_upon_the_new_curve(train):
    whole, *_ = train("whole", COSINE, max_epochs=4)
    train("parts", COSINE)
    found, said, _ = train("parts", COSINE, max_epochs=4, extend="stretch")
    assert "Extended from 2 to 4 epochs: schedule and stages are as if" in said
    assert rates(found)[2:] == rates(whole)[2:] and rates(found)[1] < rates(found)[2]


def test_a_restarted_cosine_has_another_cycle(train):
    first, *_ = train("parts", COSINE)
    found, said, _ = train("parts", COSINE, max_epochs=4, extend="restart")
    assert "Extended from 2 to 4 epochs: another cycle of the schedule begins after epoch 2" in said
    assert rates(found) == pytest.approx(2 * rates(first))
    found, said, _ = train("parts", COSINE, max_epochs=5, extend="restart")
    assert "Extended from 4 to 5" in said and rates(found)[4] == pytest.approx(0.002)


@pytest.mark.parametrize("how", ["stretch", "restart"])
def test_an_extended_run_is_resumed_exactly(train, how, monkeypatch):
    for name in ("whole", "parts"):
        train(name, COSINE)
    whole, _, expected = train("whole", COSINE, max_epochs=5, extend=how)
    monkeypatch.setattr("clebsch.training.trainer.Clock.expired", lambda clock: clock.seconds() > 0 and next(calls) > 5)
    calls = iter(range(100))
    assert train("parts", COSINE, max_epochs=5, extend=how)[0].stopped_by == "max_seconds"
    monkeypatch.undo()
    found, said, potential = train("parts", COSINE, max_epochs=5, extend=how)
    assert "Extended" not in said and rates(found) == rates(whole)
    for name, weights in potential.named_parameters():
        assert torch.equal(weights, expected.get_parameter(name))


def test_stages_stay_where_they_were_or_move(train):
    course = {**STAGES, "optimizer": {"lr": 0.02}}
    for how, expected in (("restart", [0.02, 0.01, 0.01, 0.01]), ("stretch", [0.02, 0.01, 0.01, 0.01])):
        train(how, course)
        assert rates(train(how, course, max_epochs=4, extend=how)[0]) == expected
        after = rates(train(how, course, max_epochs=10, extend=how)[0])
        assert after[4] == (0.01 if how == "restart" else 0.02)


def test_a_schedule_without_a_length_needs_no_choice(train):
    train("run", {"schedule": {"kind": "exponential", "decay": 0.5}})
    found, said, _ = train("run", {"schedule": {"kind": "exponential", "decay": 0.5}}, max_epochs=3, extend="restart")
    assert "Extended" not in said and rates(found) == pytest.approx([0.005, 0.0025, 0.00125])


def test_fewer_epochs_are_another_run(train):
    train("run", COSINE)
    with pytest.raises(ValueError, match=r"train\.max_epochs: 2 in the checkpoint, 1 now"):
        train("run", COSINE, max_epochs=1, extend="stretch")


def test_cycles_are_kept_in_the_state():
    schedule = Schedule(Cosine(warmup_epochs=1.0, final_factor=0.0), 8)
    schedule.extend(4, "restart")
    copy = Schedule(schedule.config, 8)
    copy.load_state_dict(schedule.state_dict())
    assert [copy.factor(epochs) for epochs in (0.5, 1.0, 4.0, 4.5, 5.0, 8.0)] == [0.5, 1.0, 0.0, 0.5, 1.0, 0.0]
    other = Schedule(Exponential(decay=0.5, warmup_epochs=1.0), 8)
    other.restarts = [4]
    assert other.factor(4.5) == 0.5**3.5
