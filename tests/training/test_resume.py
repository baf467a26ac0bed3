"""Resuming is exact: a run in parts ends, bit for bit, where the run in one piece ends."""

from __future__ import annotations

import hashlib
import io
import itertools
from dataclasses import replace

import pytest
import torch
from rich.console import Console

from clebsch.errors import CheckpointError
from clebsch.models.tensor_file import read_tensor_file, write_tensor_file
from clebsch.training import fit, trainer
from clebsch.training.checkpoint import CHECKPOINT, data_digest

COURSES = {
    "plateau": {"schedule": {"kind": "plateau", "patience": 1, "factor": 0.5}, "optimizer": {"lr": 0.05}},
    "cosine": {
        "schedule": {"kind": "cosine", "warmup_epochs": 1.5},
        "optimizer": {"kind": "adamw", "weight_decay": 0.01},
    },
    "muon": {"optimizer": {"kind": "muon"}, "schedule": {"kind": "cosine"}},
    "dimers": {"dimer_weight": 10.0},
    "stages": {
        "schedule": {"kind": "exponential", "decay": 0.9},
        "stages": [{"start": 0.4, "energy_weight": 100.0, "lr_factor": 0.5}],
        "batch_unit": "atoms",
        "batch_size": 15,
    },
}


def stop_after(monkeypatch, checks: int | None) -> None:
    """Let the time run out at the given check of the clock: one per epoch and one per step."""
    calls = itertools.count(1)
    monkeypatch.setattr(trainer._Clock, "expired", lambda clock: checks is not None and next(calls) > checks)


def assert_same_end(first, second) -> None:
    """Weights, averages, best weights, optimiser, schedule, counters, history: equal in every bit, times apart."""
    (tensors, header), (other_tensors, other_header) = (
        read_tensor_file(folder / trainer.CHECKPOINT_NAME, CHECKPOINT) for folder in (first[0], second[0])
    )
    assert tensors.keys() == other_tensors.keys()
    assert {"model", "ema", "best", "optimizer", "loss_sums"} == {name.split(".")[0] for name in tensors}
    assert any(name.endswith("max_exp_avg_sq") for name in tensors)
    for name, tensor in tensors.items():
        assert torch.equal(tensor, other_tensors[name]), name
    for counters in (header["counters"], other_header["counters"]):
        del counters["progress"]["seconds"]
    assert header["counters"] == other_header["counters"]
    for name, parameter in first[1].named_parameters():
        assert torch.equal(parameter, second[1].get_parameter(name)), name
    histories = [[{**record, "seconds": 0} for record in result.history] for result in (first[2], second[2])]
    assert histories[0] == histories[1]
    assert (first[2].best_epoch, first[2].best_validation) == (second[2].best_epoch, second[2].best_validation)


@pytest.fixture
def train(train_graphs, valid_graphs, make_potential, make_config, tmp_path):
    """Run ``fit`` of a fresh potential in a named folder and return folder, potential and result."""

    def run(name, course, *, max_epochs=6, seed=3, resume=False, potential=None):
        potential = potential or make_potential()
        config = make_config(**{**COURSES[course], "max_epochs": max_epochs})
        folder = tmp_path / name
        return folder, potential, fit(potential, train_graphs, valid_graphs, config, folder, seed=seed, resume=resume)

    return run


@pytest.mark.parametrize("course", COURSES)
@pytest.mark.parametrize("checks", [12, 10, 1], ids=["epoch end", "mid-epoch", "before the first step"])
def test_out_of_time_then_resumed(course, checks, train, monkeypatch):
    whole = train("whole", course)
    stop_after(monkeypatch, checks)
    assert train("parts", course)[2].stopped_by == "max_seconds"
    stop_after(monkeypatch, None)
    assert_same_end(whole, train("parts", course, resume=True))


def test_resumed_again_and_again(train, monkeypatch):
    whole = train("whole", "cosine")
    stops = []
    while not stops or stops[-1] == "max_seconds":
        stop_after(monkeypatch, 2)
        last = train("parts", "cosine", resume=True)
        stops.append(last[2].stopped_by)
    assert stops == ["max_seconds"] * (len(stops) - 1) + ["max_epochs"] and len(stops) > 10
    assert_same_end(whole, last)


def test_twice_as_many_epochs(train):
    whole = train("whole", "plateau", max_epochs=6)
    train("parts", "plateau", max_epochs=3)
    assert_same_end(whole, train("parts", "plateau", max_epochs=6, resume=True))


@pytest.mark.parametrize("course", COURSES)
def test_killed_within_an_epoch_then_resumed_from_the_last_checkpoint(course, train, monkeypatch):
    whole = train("whole", course)
    steps = itertools.count(1)
    step = trainer._step

    def die(*arguments):
        if next(steps) == 11:
            raise KeyboardInterrupt
        step(*arguments)

    monkeypatch.setattr(trainer, "_step", die)
    with pytest.raises(KeyboardInterrupt):
        train("parts", course)
    monkeypatch.setattr(trainer, "_step", step)
    assert_same_end(whole, train("parts", course, resume=True))


def test_killed_between_metrics_and_checkpoint_then_resumed(train, monkeypatch):
    """The metrics file is ahead of the checkpoint: its last record is written again, not twice."""
    whole = train("whole", "plateau")
    saves = itertools.count(1)
    save = trainer._save

    def die(*arguments):
        if next(saves) == 4:
            raise KeyboardInterrupt
        save(*arguments)

    monkeypatch.setattr(trainer, "_save", die)
    with pytest.raises(KeyboardInterrupt):
        train("parts", "plateau")
    monkeypatch.setattr(trainer, "_save", save)
    assert_same_end(whole, train("parts", "plateau", resume=True))


def test_a_finished_run_stays_as_it_is(train):
    whole = train("whole", "plateau")
    again = train("whole", "plateau", resume=True)
    assert again[2].stopped_by == "max_epochs"
    assert_same_end(whole, again)


def test_resume_without_a_checkpoint_starts(train):
    assert_same_end(train("whole", "plateau"), train("other", "plateau", resume=True))


@pytest.mark.parametrize("course", ["plateau", "cosine", "muon"])
def test_a_checkpoint_of_format_1(course, train, monkeypatch):
    """When all kinds had all options; one that a kind does not have any more must have had its default."""
    whole = train("whole", course)
    stop_after(monkeypatch, 12)
    folder = train("parts", course)[0]
    monkeypatch.undo()
    path = folder / trainer.CHECKPOINT_NAME
    tensors, header = read_tensor_file(path, CHECKPOINT)
    former = {"weight_decay": 0.0, "momentum": 0.95}
    optimizer, model = header["identity"]["train"]["optimizer"], header["identity"]["potential"]["model"]
    header["identity"]["train"]["optimizer"] = {**former, **optimizer}
    model["radial_basis"] = {"trainable": False, "decay": 0.0, **model["radial_basis"]}
    header["format_version"] = 1
    write_tensor_file(path, tensors, header, CHECKPOINT)
    assert_same_end(whole, train("parts", course, resume=True))
    option = next(option for option in former if option not in optimizer)
    header["identity"]["train"]["optimizer"][option] = 0.5
    write_tensor_file(path, tensors, header, CHECKPOINT)
    with pytest.raises(CheckpointError, match=rf"train\.optimizer\.{option}: 0\.5 in the checkpoint, absent now"):
        train("parts", course, resume=True)


def test_another_config_is_refused_key_by_key(train, train_graphs, valid_graphs, make_potential, make_config, tmp_path):
    folder, potential, _ = train("whole", "cosine", max_epochs=2)
    changed = {**COURSES["cosine"], "max_epochs": 4, "optimizer": {"lr": 0.5}}
    with pytest.raises(CheckpointError) as caught:
        fit(potential, train_graphs[1:], valid_graphs, make_config(**changed), folder, seed=4, resume=True)
    message = str(caught.value)
    for line in (
        "train.optimizer.lr: 0.01 in the checkpoint, 0.5 now",
        "train.optimizer.kind: adamw in the checkpoint, adam now",
        "train.max_epochs: 2 in the checkpoint, 4 now",
        "training set.configurations: 10 in the checkpoint, 9 now",
        "seed: 3 in the checkpoint, 4 now",
        "Resume with the settings and data of the checkpoint, or start afresh in another directory.",
    ):
        assert line in message
    assert "validation set" not in message


def test_another_architecture_is_refused(train, make_potential):
    train("whole", "plateau", max_epochs=1)
    with pytest.raises(CheckpointError, match=r"potential\.model\.num_channels: 4 in the checkpoint, 8 now"):
        train("whole", "plateau", resume=True, potential=make_potential(num_channels=8))
    with pytest.raises(CheckpointError, match=r"tensors\..*: float32\[.*\] in the checkpoint, float64\[.*\] now"):
        train("whole", "plateau", resume=True, potential=make_potential(dtype=torch.float64))


def test_other_threads_are_said_and_recorded_but_not_refused(
    train, train_graphs, valid_graphs, make_config, monkeypatch
):
    folder, potential, _ = train("run", "plateau", max_epochs=1)
    threads = torch.get_num_threads()
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads + 1)
    difference = f"threads: {threads} in the checkpoint, {threads + 1} now"
    stop_after(monkeypatch, 1)  # within an epoch: the next part of the run has to say it
    train("run", "plateau", resume=True, potential=potential)
    stop_after(monkeypatch, None)
    console = Console(file=io.StringIO(), width=200)
    config = make_config(**COURSES["plateau"], max_epochs=3)
    history = fit(potential, train_graphs, valid_graphs, config, folder, seed=3, resume=True, console=console).history
    assert [record.get("resumed_with") for record in history] == [None, [difference], None]
    printed = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert printed[0] == f"Resumed, but the last bits may differ: {difference}."


def test_another_backend_is_said(train, make_potential):
    train("run", "plateau", max_epochs=1)
    other = make_potential()
    other.backend = "another"
    history = train("run", "plateau", max_epochs=2, resume=True, potential=other)[2].history
    assert history[1]["resumed_with"] == [f"backend: {make_potential().backend} in the checkpoint, another now"]


def test_a_checkpoint_that_does_not_say_its_arithmetic_resumes(train):
    whole = train("whole", "plateau")
    folder, *_ = train("run", "plateau", max_epochs=2)
    path = folder / trainer.CHECKPOINT_NAME
    tensors, header = read_tensor_file(path, CHECKPOINT)
    assert set(header["arithmetic"]) == {"backend", "threads", "device", "dtype"}
    old = {"identity": header["identity"], "counters": header["counters"]}
    del old["counters"]["progress"]["resumed_with"]
    write_tensor_file(path, tensors, old, CHECKPOINT)
    assert_same_end(whole, train("run", "plateau", resume=True))


def test_every_label_is_in_the_digest(train_graphs):
    graph = replace(train_graphs[0], labels={**train_graphs[0].labels, "dipole": torch.zeros(3, dtype=torch.float64)})
    changed = [replace(graph, labels={**graph.labels, name: value + 1e-9}) for name, value in graph.labels.items()]
    without = replace(graph, labels={name: graph.labels[name] for name in ("energy", "forces")})
    digests = {data_digest([other])["sha256"] for other in (graph, without, *changed)}
    assert len(digests) == 2 + len(graph.labels) == 5


def test_the_digest_of_energies_and_forces_is_that_of_the_first_checkpoints(train_graphs):
    graph = train_graphs[0]
    parts = (graph.species, graph.positions, graph.cell, graph.labels["energy"], graph.labels["forces"])
    expected = hashlib.sha256(b"".join(part.numpy().tobytes() for part in parts) + b"-").hexdigest()
    assert data_digest([graph])["sha256"] == expected


def test_other_labels_of_as_many_configurations_are_refused(
    train, train_graphs, valid_graphs, make_potential, make_config
):
    folder, potential, _ = train("whole", "plateau", max_epochs=1)
    config = make_config(**COURSES["plateau"])
    with pytest.raises(CheckpointError, match=r"training set\.sha256"):
        fit(potential, train_graphs[::-1], valid_graphs, config, folder, seed=3, resume=True)
