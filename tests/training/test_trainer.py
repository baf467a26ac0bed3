from __future__ import annotations

import dataclasses
import io
import itertools
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from rich.console import Console

from clebsch.data import BatchSampler
from clebsch.errors import CheckpointError, ConfigError, DataError
from clebsch.training import LossConfig, NonFiniteLossError, fit, trainer, watch
from clebsch.training.checkpoint import CHECKPOINT_NAME
from clebsch.training.validation import validate


def weights(potential):
    return {name: parameter.detach().clone() for name, parameter in potential.named_parameters()}


def equal(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_training_learns_a_pair_energy(train_graphs, make_potential, make_config, tmp_path):
    config = make_config(max_epochs=60, optimizer={"lr": 0.02}, ema_decay=0.9, loss={"energy_weight": 10.0})
    result = fit(make_potential(num_channels=8), train_graphs, train_graphs, config, tmp_path)
    assert result.best_epoch is not None
    first, best = result.history[0], result.history[result.best_epoch - 1]
    assert best["valid_forces_rmse_meV_A"] < 0.3 * first["valid_forces_rmse_meV_A"]
    assert best["valid_energy_per_atom_rmse_meV"] < 0.3 * first["valid_energy_per_atom_rmse_meV"]
    assert best["train_loss"] < 0.1 * first["train_loss"]


def test_the_potential_ends_with_the_best_averaged_weights(
    train_graphs, valid_graphs, make_potential, make_config, tmp_path
):
    potential = make_potential()
    config = make_config(max_epochs=12, optimizer={"lr": 0.1}, best_by="forces_rmse")
    result = fit(potential, train_graphs, valid_graphs, config, tmp_path)
    errors = [record["valid_forces_rmse_meV_A"] for record in result.history]
    assert result.best_validation == min(errors)
    assert result.best_epoch == 1 + errors.index(min(errors))
    scores = validate(potential, valid_graphs, [[0, 1, 2, 3]], LossConfig())
    assert scores["forces_rmse_meV_A"] == pytest.approx(min(errors), rel=1e-5)


def test_metrics_file_is_the_history(train_graphs, valid_graphs, make_potential, make_config, tmp_path):
    result = fit(make_potential(), train_graphs, valid_graphs, make_config(max_epochs=3), tmp_path)
    records = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert records == result.history
    assert [record["epoch"] for record in records] == [1, 2, 3]
    assert [record["step"] for record in records] == [3, 6, 9]
    assert result.stopped_by == "max_epochs"
    assert set(records[0]) == {
        "epoch", "step", "seconds", "lr", "train_loss", "train_loss_energy", "train_loss_forces", "valid_loss",
        "valid_energy_per_atom_rmse_meV", "valid_forces_rmse_meV_A", "gradient_norm_mean", "gradient_norm_max",
        "update_ratio",
    }  # fmt: skip


def test_same_seed_same_weights_other_seed_other_order(
    train_graphs, valid_graphs, make_potential, make_config, tmp_path
):
    potentials = [make_potential() for _ in range(3)]
    for index, (potential, seed) in enumerate(zip(potentials, (1, 1, 2), strict=True)):
        fit(potential, train_graphs, valid_graphs, make_config(), tmp_path / str(index), seed=seed)
    first, again, other = map(weights, potentials)
    assert equal(first, again) and not equal(first, other)


def test_patience_stops(train_graphs, valid_graphs, make_potential, make_config, tmp_path):
    config = make_config(max_epochs=50, patience=2, optimizer={"lr": 2.0}, max_grad_norm=None)
    result = fit(make_potential(), train_graphs, valid_graphs, config, tmp_path)
    assert result.stopped_by == "patience"
    assert result.best_epoch == len(result.history) - 2


def test_time_limit_stops_with_a_checkpoint(train_graphs, valid_graphs, make_potential, make_config, tmp_path):
    config = make_config(max_epochs=10**6, max_seconds=0.2)
    result = fit(make_potential(), train_graphs, valid_graphs, config, tmp_path)
    assert result.stopped_by == "max_seconds"
    assert 0.2 <= result.seconds < 5.0
    assert (tmp_path / CHECKPOINT_NAME).is_file()


def test_time_limit_before_the_first_validation_leaves_the_averaged_weights(
    train_graphs, valid_graphs, make_potential, make_config, tmp_path, monkeypatch
):
    calls = itertools.count()
    monkeypatch.setattr(trainer.Clock, "expired", lambda clock: next(calls) > 2)
    potential = make_potential()
    start = weights(potential)
    result = fit(potential, train_graphs, valid_graphs, make_config(), tmp_path)
    assert (result.stopped_by, result.best_epoch, result.history) == ("max_seconds", None, [])
    assert not equal(start, weights(potential))


def test_a_loss_that_is_not_finite_names_the_batch_and_takes_no_step(
    train_graphs, valid_graphs, make_potential, make_config, tmp_path
):
    bad = dataclasses.replace(
        train_graphs[0],
        labels={**train_graphs[0].labels, "energy": torch.tensor(float("nan"), dtype=torch.float64)},
        origin="bad.xyz, frame 7",
    )
    potential = make_potential()
    start = weights(potential)
    with pytest.raises(NonFiniteLossError, match=r"loss of step 1 is not finite: energy nan.*bad.xyz, frame 7"):
        fit(potential, [bad], valid_graphs, make_config(), tmp_path)
    assert equal(start, weights(potential))
    assert not (tmp_path / CHECKPOINT_NAME).exists()


def test_weights_that_are_not_finite_never_replace_a_checkpoint(
    train_graphs, valid_graphs, make_potential, make_config, tmp_path, monkeypatch
):
    fit(make_potential(), train_graphs, valid_graphs, make_config(max_epochs=1), tmp_path)
    content = (tmp_path / CHECKPOINT_NAME).read_bytes()

    def spoil(state, *_):
        next(iter(state.ema.average.values())).fill_(float("inf"))

    monkeypatch.setattr(trainer, "take_step", spoil)
    with pytest.raises(NonFiniteLossError, match="the weights have diverged"):
        config = make_config(max_epochs=2, checkpoint_seconds=1e9)
        fit(make_potential(), train_graphs, valid_graphs, config, tmp_path, resume=True)
    calls = itertools.count()
    monkeypatch.setattr(trainer.Clock, "expired", lambda clock: next(calls) > 2)
    with pytest.raises(NonFiniteLossError, match="was left as it is"):
        fit(make_potential(), train_graphs, valid_graphs, make_config(max_epochs=2), tmp_path, resume=True)
    assert (tmp_path / CHECKPOINT_NAME).read_bytes() == content


def test_checkpoints_are_an_interval_apart(
    train_graphs, valid_graphs, make_potential, make_config, tmp_path, monkeypatch
):
    """By a clock that is a second on whenever it is read; the last checkpoint is that of the end."""
    seconds, written = itertools.count(), []
    save = trainer.save_checkpoint
    monkeypatch.setattr(watch, "time", SimpleNamespace(monotonic=lambda: float(next(seconds))))
    monkeypatch.setattr(trainer, "save_checkpoint", lambda *given: (written.append(next(seconds)), save(*given)))
    config = make_config(max_epochs=8, checkpoint_seconds=20.0)
    fit(make_potential(), train_graphs, valid_graphs, config, tmp_path)
    apart = np.diff(written[:-1])
    assert len(apart) >= 2 and apart.min() >= 20 and apart.max() < 30


def test_gradients_are_clipped(train_graphs, valid_graphs, make_potential, make_config, tmp_path):
    norms = []
    clip = torch.nn.utils.clip_grad_norm_

    def spy(parameters, max_norm):
        parameters = list(parameters)
        before = clip(parameters, max_norm)
        norms.append(torch.cat([p.grad.flatten() for p in parameters if p.grad is not None]).norm().item())
        return before

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.nn.utils, "clip_grad_norm_", spy)
        fit(make_potential(), train_graphs, valid_graphs, make_config(max_grad_norm=1e-3), tmp_path)
    assert norms == pytest.approx([1e-3] * len(norms), rel=1e-3) and norms


def test_learning_rate_follows_the_schedule(train_graphs, valid_graphs, make_potential, make_config, tmp_path):
    config = make_config(max_epochs=4, schedule={"kind": "cosine", "final_factor": 0.0}, optimizer={"lr": 0.01})
    result = fit(make_potential(), train_graphs, valid_graphs, config, tmp_path)
    rates = [record["lr"] for record in result.history]
    assert rates[1] == pytest.approx(0.005) and rates[3] == pytest.approx(0.0, abs=1e-12)


def test_a_stage_changes_weights_and_rate_and_seeks_the_best_anew(
    train_graphs, valid_graphs, make_potential, make_config, tmp_path
):
    stages = [{"start": 0.5, "energy_weight": 1e6, "lr_factor": 0.1}]
    config = make_config(max_epochs=4, stages=stages, optimizer={"lr": 0.01})
    result = fit(make_potential(), train_graphs, valid_graphs, config, tmp_path)
    assert [record["lr"] for record in result.history] == pytest.approx([0.01, 0.01, 0.001, 0.001])
    assert result.history[2]["valid_loss"] > result.history[1]["valid_loss"]
    assert result.best_epoch in (3, 4)


@pytest.mark.parametrize("unit, size", [("configurations", 3), ("atoms", 9)])
def test_batches_are_those_of_the_sampler(
    unit, size, train_graphs, valid_graphs, make_potential, make_config, tmp_path, monkeypatch
):
    seen = []
    step = trainer.take_step

    def spy(state, graphs, indices, *rest):
        seen.append(indices)
        step(state, graphs, indices, *rest)

    monkeypatch.setattr(trainer, "take_step", spy)
    config = make_config(batch_unit=unit, batch_size=size)
    fit(make_potential(), train_graphs, valid_graphs, config, tmp_path, seed=5)
    key = "batch_size" if unit == "configurations" else "max_atoms"
    sampler = BatchSampler([graph.num_atoms for graph in train_graphs], **{key: size}, seed=5)
    assert seen == sampler.batches(0) + sampler.batches(1)


def test_frozen_parameters_stay(train_graphs, valid_graphs, make_potential, make_config, tmp_path):
    potential = make_potential()
    name, frozen = next(iter(potential.named_parameters()))
    frozen.requires_grad_(False)
    start = weights(potential)
    fit(potential, train_graphs, valid_graphs, make_config(), tmp_path)
    changed = {key for key, value in weights(potential).items() if not torch.equal(value, start[key])}
    assert name not in changed and changed


def test_stress_is_trained(periodic_graphs, make_potential, make_config, tmp_path):
    config = make_config(max_epochs=15, loss={"energy_weight": 0, "forces_weight": 0, "stress_weight": 1.0})
    result = fit(make_potential(), periodic_graphs, periodic_graphs, config, tmp_path)
    assert result.best_validation is not None and result.best_validation < 0.5 * result.history[0]["valid_loss"]
    assert "valid_stress_rmse_meV_A3" in result.history[0]


def test_console_shows_the_epochs(train_graphs, valid_graphs, make_potential, make_config, tmp_path):
    console = Console(file=io.StringIO(), width=200)
    result = fit(make_potential(), train_graphs, valid_graphs, make_config(), tmp_path, console=console)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "F meV/Å" in text
    assert f"Stopped by max_epochs after epoch 2; best epoch {result.best_epoch}, loss" in text


def test_an_earlier_run_is_not_overwritten(train_graphs, valid_graphs, make_potential, make_config, tmp_path):
    fit(make_potential(), train_graphs, valid_graphs, make_config(), tmp_path)
    with pytest.raises(CheckpointError, match=r"checkpoint of an earlier run.*resume=True.*another directory"):
        fit(make_potential(), train_graphs, valid_graphs, make_config(), tmp_path)


def test_missing_labels_are_found_before_the_first_step(
    train_graphs, valid_graphs, make_potential, make_config, tmp_path
):
    with pytest.raises(
        DataError, match=r"stress_weight is 1, but no frame of the training set has stress labels, such as"
    ):
        fit(make_potential(), train_graphs, valid_graphs, make_config(loss={"stress_weight": 1.0}), tmp_path)
    with pytest.raises(DataError, match="validation set is empty"):
        fit(make_potential(), train_graphs, [], make_config(), tmp_path)
    with pytest.raises(ConfigError, match="best_by is stress_rmse, but stress is not compared"):
        fit(make_potential(), train_graphs, valid_graphs, make_config(best_by="stress_rmse"), tmp_path)
    potential = make_potential().requires_grad_(False)
    with pytest.raises(ConfigError, match="No parameter of the potential asks for gradients"):
        fit(potential, train_graphs, valid_graphs, make_config(), tmp_path)
    assert not list(tmp_path.iterdir())
