"""What records say about the steps, and what is done about a loss that jumps."""

from __future__ import annotations

import dataclasses
import io
import itertools

import pytest
import torch
from rich.console import Console

from clebsch.errors import ConfigError
from clebsch.training import SpikeError, fit, trainer
from clebsch.training.guards import FEWEST, WINDOW, gradient_norm, update_ratio, usual_loss, with_loss

BAD = "bad.xyz, frame 7"


@pytest.fixture
def spoiled(train_graphs):
    """Forces of one configuration are a hundred times too large."""
    labels = train_graphs[3].labels
    bad = dataclasses.replace(train_graphs[3], labels={**labels, "forces": 1000 * labels["forces"]}, origin=BAD)
    return [*train_graphs[:3], bad, *train_graphs[4:]]


@pytest.fixture
def train(valid_graphs, make_potential, make_config, tmp_path):
    """Run ``fit`` on batches of one configuration and return its result, what it said and the potential."""

    def run(name, graphs, **changes):
        config = make_config(**{"batch_size": 1, "max_epochs": 3, **changes})
        console, potential = Console(file=io.StringIO(), width=300), make_potential()
        found = fit(potential, graphs, valid_graphs, config, tmp_path / name, seed=1, console=console, resume=True)
        return found, console.file.getvalue(), potential  # type: ignore[attr-defined]

    return run


def test_records_hold_gradients_and_updates(train, train_graphs):
    found, *_ = train("run", train_graphs, max_epochs=2)
    for record in found.history:
        assert 0 < record["gradient_norm_mean"] <= record["gradient_norm_max"]
        assert 0 < record["update_ratio"] < 0.1
        assert "skipped" not in record
    loose, *_ = train("loose", train_graphs, max_epochs=1, max_grad_norm=None)
    assert loose.history[0]["gradient_norm_max"] > 0


def test_the_norm_is_that_before_clipping():
    weights = [torch.nn.Parameter(torch.ones(3)), torch.nn.Parameter(torch.ones(1))]
    for weight in weights:
        weight.grad = 2 * torch.ones_like(weight)
    assert gradient_norm(weights, None) == 4.0 and gradient_norm(weights, 1.0) == 4.0
    assert gradient_norm(weights, None) == pytest.approx(1.0, rel=1e-5)
    assert update_ratio([torch.ones(3), torch.zeros(1)], weights) == pytest.approx(3**-0.5)


def test_the_usual_loss():
    losses: list[float] = []
    for number in range(2 * WINDOW):
        assert (usual_loss(losses) is None) == (number < FEWEST)
        losses = with_loss(losses, float(number))
    assert len(losses) == WINDOW and usual_loss(losses) == 1.5 * WINDOW - 0.5


def test_a_spike_is_skipped_counted_and_named_once(train, spoiled):
    found, said, _ = train("run", spoiled, max_epochs=4, spike={"action": "skip", "factor": 20})
    skipped = [record["skipped"] for record in found.history]
    assert skipped[1:] == [1, 1, 1] and said.count(BAD) == 1
    assert "note: skipped, as the loss of step " in said
    clean, *_ = train("off", spoiled, max_epochs=4)
    assert found.history[-1]["train_loss"] < clean.history[-1]["train_loss"] / 100


def test_a_skipped_step_changes_nothing(train, spoiled, monkeypatch):
    step, unchanged = trainer.take_step, []

    def take_step(state, *rest):
        def content():
            ema = [value.clone() for value in state.ema.average.values()]
            return [*(weight.detach().clone() for weight in state.potential.parameters()), *ema], state.ema.num_updates

        before, updates = content()
        try:
            step(state, *rest)
        except SpikeError:
            after, now = content()
            unchanged.append(updates == now and all(map(torch.equal, before, after)))
            raise

    monkeypatch.setattr(trainer, "take_step", take_step)
    train("run", spoiled, spike={"action": "skip", "factor": 20})
    assert len(unchanged) >= 2 and all(unchanged)


def test_a_run_that_skips_is_resumed_exactly(train, spoiled, monkeypatch):
    spike = {"action": "skip", "factor": 20}
    whole, _, expected = train("whole", spoiled, spike=spike)
    calls = itertools.count()
    monkeypatch.setattr(trainer.Clock, "expired", lambda clock: next(calls) > 17)
    assert train("parts", spoiled, spike=spike)[0].stopped_by == "max_seconds"
    monkeypatch.undo()
    found, _, potential = train("parts", spoiled, spike=spike)
    same = [[{**record, "seconds": 0} for record in result.history] for result in (whole, found)]
    assert same[0] == same[1]
    for name, weights in potential.named_parameters():
        assert torch.equal(weights, expected.get_parameter(name))


def test_a_spike_stops_with_a_checkpoint_and_the_run_can_go_on(train, spoiled):
    for _ in range(2):
        with pytest.raises(
            SpikeError, match=rf"The loss of step \d+, .* times the median .*{BAD}.*action=skip, or none"
        ):
            train("run", spoiled, spike={"action": "raise", "factor": 20})
    found, *_ = train("run", spoiled, spike={"action": "skip", "factor": 20})
    assert found.stopped_by == "max_epochs" and found.history[-1]["skipped"] == 1


def test_looking_for_spikes_changes_no_number(train, train_graphs):
    off, _, expected = train("off", train_graphs)
    on, _, potential = train("on", train_graphs, spike={"action": "skip", "factor": 1e9})
    assert [record["train_loss"] for record in on.history] == [record["train_loss"] for record in off.history]
    for name, weights in potential.named_parameters():
        assert torch.equal(weights, expected.get_parameter(name))


def test_a_factor_of_one_is_refused(make_config):
    with pytest.raises((ConfigError, ValueError), match="greater than 1"):
        make_config(spike={"factor": 1.0, "action": "skip"})
