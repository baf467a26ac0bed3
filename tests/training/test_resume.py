"""Resuming is exact: a run in parts ends, bit for bit, where the run in one piece ends."""

from __future__ import annotations

import hashlib
import io
import itertools
import os
import re
import signal
import threading
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from rich.console import Console

from clebsch.errors import CheckpointError, DamagedFileError, OutputError
from clebsch.models.tensor_file import read_tensor_file, write_tensor_file
from clebsch.training import fit, trainer
from clebsch.training.checkpoint import CHECKPOINT, CHECKPOINT_NAME, DAMAGED_NAME, PREVIOUS_NAME, data_digest
from clebsch.training.signals import StopSignals

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
    monkeypatch.setattr(trainer.Clock, "expired", lambda clock: checks is not None and next(calls) > checks)


def assert_same_end(first, second) -> None:
    """Weights, averages, best weights, optimiser, schedule, counters, history: equal in every bit, times apart."""
    (tensors, header), (other_tensors, other_header) = (
        read_tensor_file(folder / CHECKPOINT_NAME, CHECKPOINT) for folder in (first[0], second[0])
    )
    assert tensors.keys() == other_tensors.keys()
    assert {"model", "ema", "best", "optimizer", "loss_sums", "gradient"} == {name.split(".")[0] for name in tensors}
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

    def run(name, course, *, max_epochs=6, seed=3, potential=None, **options):
        potential = potential or make_potential()
        config = make_config(**{**COURSES[course], "max_epochs": max_epochs})
        folder = tmp_path / name
        return folder, potential, fit(potential, train_graphs, valid_graphs, config, folder, seed=seed, **options)

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
    step = trainer.take_step

    def die(*arguments):
        if next(steps) == 11:
            raise KeyboardInterrupt
        step(*arguments)

    monkeypatch.setattr(trainer, "take_step", die)
    with pytest.raises(KeyboardInterrupt):
        train("parts", course)
    monkeypatch.setattr(trainer, "take_step", step)
    assert_same_end(whole, train("parts", course, resume=True))


def test_killed_between_metrics_and_checkpoint_then_resumed(train, monkeypatch):
    """The metrics file is ahead of the checkpoint: its last record is written again, not twice."""
    whole = train("whole", "plateau")
    save = trainer._save

    def die(path, state, identity):
        if (state.progress.epoch, state.progress.batch) == (4, 0):
            raise KeyboardInterrupt
        save(path, state, identity)

    monkeypatch.setattr(trainer, "_save", die)
    with pytest.raises(KeyboardInterrupt):
        train("parts", "plateau")
    monkeypatch.setattr(trainer, "_save", save)
    assert_same_end(whole, train("parts", "plateau", resume=True))


def damage(path):
    content = bytearray(path.read_bytes())
    content[-9] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("lost", ["damaged", "empty", "missing"])
@pytest.mark.parametrize("course", ["plateau", "muon"])
def test_the_checkpoint_before_the_newest_takes_its_place(course, lost, train, monkeypatch):
    whole = train("whole", course)
    stop_after(monkeypatch, 10)
    folder = train("parts", course)[0]
    stop_after(monkeypatch, None)
    newest = folder / CHECKPOINT_NAME
    {"damaged": damage, "empty": lambda path: path.write_bytes(b""), "missing": lambda path: path.unlink()}[lost](
        newest
    )
    console = Console(file=io.StringIO(), width=300)
    assert_same_end(whole, train("parts", course, resume=True, console=console))
    printed = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    renamed = "is missing" if lost == "missing" else f"is damaged and now called {DAMAGED_NAME}"
    assert printed[0] == f"'{newest}' {renamed}: the run goes on from the checkpoint before it, {PREVIOUS_NAME}."
    assert re.fullmatch(r"Resuming at epoch \d of 6\.", printed[1])
    assert (folder / DAMAGED_NAME).exists() == (lost != "missing")


def test_no_checkpoint_is_whole(train):
    folder = train("run", "plateau")[0]
    for name in (CHECKPOINT_NAME, PREVIOUS_NAME):
        damage(folder / name)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(DamagedFileError, match=r"(?s)is damaged, and the one before too: .*Copy a checkpoint back"):
        train("run", "plateau", resume=True)
    assert before == {path.name: path.read_bytes() for path in folder.iterdir()}
    (folder / PREVIOUS_NAME).unlink()
    with pytest.raises(DamagedFileError, match=r"(?s)is damaged: .*no earlier checkpoint in .*Copy a checkpoint back"):
        train("run", "plateau", resume=True)


@pytest.mark.parametrize("seed", range(3))
def test_a_flipped_bit_of_a_checkpoint_is_refused(seed, train):
    path = train("run", "plateau", max_epochs=1)[0] / CHECKPOINT_NAME
    whole, rng = path.read_bytes(), np.random.default_rng(seed)
    header = 8 + int.from_bytes(whole[:8], "little")
    for place in map(int, [*rng.integers(0, header, 8), *rng.integers(header, len(whole), 8)]):
        content = bytearray(whole)
        content[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(content)
        with pytest.raises(DamagedFileError):
            read_tensor_file(path, CHECKPOINT)


@pytest.mark.parametrize("missing", ["identity", "counters", "progress", "model", "ema", "optimizer"])
def test_a_checkpoint_that_holds_something_else(missing, train):
    folder = train("run", "plateau", max_epochs=1)[0]
    path = folder / CHECKPOINT_NAME
    (folder / PREVIOUS_NAME).unlink()
    tensors, header = read_tensor_file(path, CHECKPOINT)
    header.pop(missing, None)
    header.get("counters", {}).pop(missing, None)
    kept = {name: tensor for name, tensor in tensors.items() if not name.startswith(missing)}
    if missing == "optimizer":
        kept["optimizer.nobody.exp_avg"] = torch.zeros(3)
    write_tensor_file(path, kept, header, CHECKPOINT)
    with pytest.raises(CheckpointError, match="does not hold what a clebsch training checkpoint holds"):
        train("run", "plateau", resume=True)


def test_checkpoints_within_a_long_epoch(train, monkeypatch):
    """They are written where they are due, not at ends of epochs alone."""
    places = []
    save = trainer._save

    def note(path, state, identity):
        places.append((state.progress.epoch, state.progress.batch))
        save(path, state, identity)

    monkeypatch.setattr(trainer, "_save", note)
    train("run", "plateau", max_epochs=2)
    assert places == [(0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (2, 0), (2, 0)]


def test_what_is_said_of_a_finished_training(train):
    train("run", "plateau", max_epochs=2)
    console = Console(file=io.StringIO(), width=300)
    train("run", "plateau", max_epochs=2, resume=True, console=console)
    printed = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert printed[0] == "All 2 epochs are done; nothing is left to train."


@pytest.mark.parametrize(("name", "ends"), [("SIGINT", KeyboardInterrupt), ("SIGTERM", 143), ("SIGUSR1", 138)])
def test_a_signal_stops_after_the_step_and_nothing_is_lost(name, ends, train, monkeypatch):
    whole = train("whole", "cosine")
    steps, step = itertools.count(1), trainer.take_step
    number = getattr(signal, name)

    def kill(*arguments):
        if next(steps) == 8:
            os.kill(os.getpid(), number)
        step(*arguments)

    before = signal.getsignal(number)
    console = Console(file=io.StringIO(), width=300)
    with monkeypatch.context() as patch, pytest.raises((KeyboardInterrupt, SystemExit)) as caught:
        patch.setattr(trainer, "take_step", kill)
        train("parts", "cosine", console=console)
    assert caught.type is ends or caught.value.code == ends
    assert signal.getsignal(number) == before and next(steps) == 9
    said = console.file.getvalue().splitlines()[-1]  # type: ignore[attr-defined]
    assert said.startswith(f"Stopped by {name} after step 8, epoch 2 of 6 complete. The same command continues from '")
    assert_same_end(whole, train("parts", "cosine", resume=True))


@pytest.fixture
def heeded() -> Iterator[None]:
    """SIGINT ends Python, also where the shell starts what runs in the background deaf to it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heeded")
def test_a_second_signal_acts_at_once():
    with StopSignals() as signals, pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
        assert signals.received == signal.SIGINT
        os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) == signal.default_int_handler


def test_signals_are_left_alone_in_other_threads():
    found = []

    def work():
        with StopSignals() as signals:
            found.append(signals.received)
            found.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    before = signal.getsignal(signal.SIGTERM)
    thread.start()
    thread.join()
    assert found == [None, before]


def test_a_full_disk_while_training_keeps_the_last_checkpoint(train, monkeypatch):
    whole = train("whole", "plateau")
    saves, write = itertools.count(1), os.fsync

    def full(descriptor):
        if next(saves) > 20:
            raise OSError(28, "No space left on device")
        write(descriptor)

    with monkeypatch.context() as patch, pytest.raises(OutputError, match="No space left on device"):
        patch.setattr(os, "fsync", full)
        train("parts", "plateau")
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
    path = folder / CHECKPOINT_NAME
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


def test_a_checkpoint_from_before_some_fields_of_the_model(train, monkeypatch):
    """What is not in it has its default."""
    whole = train("whole", "plateau")
    stop_after(monkeypatch, 12)
    path = train("parts", "plateau")[0] / CHECKPOINT_NAME
    monkeypatch.undo()
    tensors, header = read_tensor_file(path, CHECKPOINT)
    model = header["identity"]["potential"]["model"]
    assert model.pop("distance_transform", "missing") is None
    assert all(layer.pop("density", "missing") is None for layer in model["layers"])
    write_tensor_file(path, tensors, header, CHECKPOINT)
    assert_same_end(whole, train("parts", "plateau", resume=True))


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
    expected = ["Resuming at epoch 2 of 3.", f"The last bits may differ from those of one run: {difference}."]
    assert printed[:2] == expected


def test_another_backend_is_said(train, make_potential):
    train("run", "plateau", max_epochs=1)
    other = make_potential()
    other.backend = "another"
    history = train("run", "plateau", max_epochs=2, resume=True, potential=other)[2].history
    assert history[1]["resumed_with"] == [f"backend: {make_potential().backend} in the checkpoint, another now"]


@pytest.mark.parametrize("silent", ["of arithmetic", "of processes"])
def test_a_checkpoint_that_does_not_say_its_arithmetic_resumes(silent, train):
    """The first ones did not, and later ones did not count the processes, of which there was one."""
    whole = train("whole", "plateau")
    folder, *_ = train("run", "plateau", max_epochs=2)
    path = folder / CHECKPOINT_NAME
    tensors, header = read_tensor_file(path, CHECKPOINT)
    assert set(header["arithmetic"]) == {"backend", "threads", "device", "dtype", "processes"}
    if silent == "of processes":
        del header["arithmetic"]["processes"]
    else:
        del header["arithmetic"], header["counters"]["progress"]["resumed_with"]
    write_tensor_file(path, tensors, header, CHECKPOINT)
    assert_same_end(whole, train("run", "plateau", resume=True))


def test_every_label_is_in_the_digest(train_graphs):
    graph = replace(train_graphs[0], labels={**train_graphs[0].labels, "dipole": torch.zeros(3, dtype=torch.float64)})
    changed = [replace(graph, labels={**graph.labels, name: value + 1e-9}) for name, value in graph.labels.items()]
    without = replace(graph, labels={name: graph.labels[name] for name in ("energy", "forces")})
    digests = {data_digest([other])["sha256"] for other in (graph, without, *changed)}
    assert len(digests) == 2 + len(graph.labels) == 5


def test_periodicity_and_weights_are_in_the_digest(train_graphs):
    graph = replace(train_graphs[0], cell=9.0 * torch.eye(3, dtype=torch.float64), pbc=torch.zeros(3, dtype=torch.bool))
    others = [replace(graph, pbc=torch.tensor(pbc)) for pbc in ((True, True, False), (True, True, True))]
    weighted = replace(graph, weights={"energy": 2.0})
    assert len({data_digest([other])["sha256"] for other in (graph, *others, weighted)}) == 4


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
