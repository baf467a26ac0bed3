"""Several processes are one: the same numbers, one decision, and one end."""

from __future__ import annotations

import itertools
import json
import os
import signal
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch.distributed import HashStore  # pyright: ignore[reportPrivateImportUsage]

from clebsch.data import Configuration, Graph
from clebsch.errors import ConfigError, DataError
from clebsch.models import Potential, PotentialConfig
from clebsch.models.presets import mace
from clebsch.models.tensor_file import read_tensor_file
from clebsch.training import TrainConfig, fit, trainer, watch
from clebsch.training.checkpoint import CHECKPOINT, CHECKPOINT_NAME
from clebsch.training.distributed import ALONE, Group, World
from clebsch.training.division import build_divided, compare_divided
from clebsch.training.launchers import Place, alone, find_place, first_host
from clebsch.training.step import divide
from clebsch.training.terms import loss_terms
from processes import Outcome, run_together

ELEMENTS, R_MAX = ("H", "C", "O"), 3.0
E0 = {"H": -13.6, "C": -1030.5, "O": -2042.25}
COURSES: dict[str, dict[str, Any]] = {
    "dimers": {"dimer_weight": 10.0, "ema_decay": 0.9},
    "atoms": {
        "batch_unit": "atoms",
        "batch_size": 15,
        "loss": {"kind": "huber"},
        "schedule": {"kind": "plateau", "patience": 1},
        "stages": [{"start": 0.5, "energy_weight": 100.0, "lr_factor": 0.5}],
    },
    "muon": {"optimizer": {"kind": "muon"}, "schedule": {"kind": "cosine"}, "max_grad_norm": 0.1},
}


def settings(course: str, **changes: Any) -> TrainConfig:
    return TrainConfig.model_validate({"batch_size": 4, "max_epochs": 3, **COURSES[course], **changes})


def potential(dtype: torch.dtype = torch.float64) -> Potential:
    model = mace(elements=ELEMENTS, r_max=R_MAX, num_channels=4, l_max=1, correlation=2, num_layers=1)
    return Potential(PotentialConfig(model=model), e0=E0, dtype=dtype)


def partial(graphs: Sequence[Graph]) -> list[Graph]:
    """The graphs without some of their labels, and with weights of which some are zero."""

    def without(graph: Graph, name: str) -> Graph:
        return replace(graph, labels={key: value for key, value in graph.labels.items() if key != name})

    return [
        without(graphs[0], "forces"),
        without(graphs[1], "energy"),
        replace(graphs[2], weights={"energy": 3.0, "forces": 0.5}),
        replace(graphs[3], weights={"forces": 0.0}),
        *graphs[4:],
    ]


def train(world: World, folder: Path, course: str, sets: tuple[list[Graph], list[Graph]], **changes: Any) -> Any:
    """Fit and return history without times, digest and weights."""
    model = potential()
    if not world.first:  # a process that starts elsewhere
        with torch.no_grad():
            next(model.parameters()).add_(1.0)
    result = fit(model, *sets, settings(course, **changes), folder, seed=3, resume=True)
    history = [{key: value for key, value in record.items() if key != "seconds"} for record in result.history]
    return history, {name: value.numpy() for name, value in model.state_dict().items()}, result.stopped_by


def train_further(world: World, *arguments: Any) -> Any:
    """As `train`, with arguments by position."""
    folder, course, sets, changes = arguments
    return train(world, folder, course, sets, **changes)


def assert_equal(outcomes: list[Outcome], expected: Any, tolerance: float) -> None:
    """All processes have the same weights, bit for bit, and history and weights of ``expected`` to ``tolerance``."""
    assert [outcome.error for outcome in outcomes] == [""] * len(outcomes), outcomes
    histories, weights = zip(*(outcome.value[:2] for outcome in outcomes), strict=True)
    for other in range(1, len(outcomes)):
        assert histories[other] == histories[0]
        assert all(np.array_equal(value, weights[0][name]) for name, value in weights[other].items())
    for name, value in expected[1].items():
        np.testing.assert_allclose(weights[0][name], value, rtol=tolerance, atol=tolerance * np.abs(value).max())
    for found, wanted in zip(histories[0], expected[0], strict=True):
        assert {key: value for key, value in found.items() if key != "resumed_with"} == pytest.approx(
            wanted, rel=tolerance
        )


@pytest.fixture
def sets(train_graphs: list[Graph], valid_graphs: list[Graph]) -> tuple[list[Graph], list[Graph]]:
    return partial(train_graphs), valid_graphs


@pytest.mark.parametrize(("size", "course"), [(2, "dimers"), (3, "atoms"), (3, "muon")])
def test_the_steps_are_those_of_one_process(size: int, course: str, sets: Any, tmp_path: Path):
    """With ten graphs in batches of four, one of three processes has nothing in the last step."""
    expected = train(ALONE, tmp_path / "one", course, sets)
    outcomes = run_together(size, train, tmp_path / "many", course, sets)
    assert_equal(outcomes, expected, 1e-10 if course == "muon" else 1e-11)
    assert outcomes[0].value[0] == [
        {key: value for key, value in json.loads(line).items() if key != "seconds"}
        for line in (tmp_path / "many" / "metrics.jsonl").read_text().splitlines()
    ]


def test_all_processes_skip_the_same_steps(sets: Any, tmp_path: Path):
    """Or stop at the same one, with a checkpoint and one error."""
    train_graphs, valid = sets
    labels = {**train_graphs[5].labels, "forces": 1000 * train_graphs[5].labels["forces"]}
    spoiled = ([*train_graphs[:5], replace(train_graphs[5], labels=labels), *train_graphs[6:]], valid)
    changes = {"batch_size": 2, "spike": {"action": "skip", "factor": 20}}
    expected = train(ALONE, tmp_path / "one", "dimers", spoiled, **changes)
    assert expected[0][-1]["skipped"] == 1
    outcomes = run_together(2, train_further, tmp_path / "many", "dimers", spoiled, changes)
    assert_equal(outcomes, expected, 1e-9)
    changes = {**changes, "spike": {"action": "raise", "factor": 20}}
    outcomes = run_together(2, train_further, tmp_path / "stopped", "dimers", spoiled, changes)
    assert [outcome.error for outcome in outcomes] == ["SpikeError", "OtherProcessError"]
    assert all("times the median of the steps before" in outcome.message for outcome in outcomes)
    assert checkpoint(tmp_path / "stopped")[1]["counters"]["progress"]["step"] >= 10


def slow_clock(world: World, *arguments: Any) -> Any:
    """Each process has a clock of its own, on which a step takes longer the higher its rank."""
    step, now = trainer.take_step, [0.0]

    def take_step(*given: Any) -> None:
        now[0] += 1.0 + world.rank
        step(*given)

    trainer.take_step = take_step
    watch.time = SimpleNamespace(monotonic=lambda: now[0])  # type: ignore[assignment]
    return train_further(world, *arguments)


def test_all_processes_anneal_by_the_clock_of_the_first(sets: Any, tmp_path: Path):
    changes = {"max_epochs": 100, "max_seconds": 8.0, "anneal_in_time": True}
    outcomes = run_together(2, slow_clock, tmp_path, "muon", sets, changes)
    assert [outcome.error for outcome in outcomes] == ["", ""]
    assert [outcome.value[2] for outcome in outcomes] == ["max_seconds"] * 2
    first, second = (outcome.value[0] for outcome in outcomes)
    assert first == second and first[-1]["step"] == 8
    assert first[-1]["lr"] == pytest.approx(0.01 * (0.01 + 0.99 * 0.5 * (1 + np.cos(np.pi * 7 / 8))), rel=1e-3)


def stop_at(world: World, checks: int, *arguments: Any) -> Any:
    """The time of the first process runs out at a given look at its clock; those of others never do."""
    calls = itertools.count(1)
    trainer.Clock.expired = lambda clock: next(calls) > checks  # type: ignore[method-assign]
    return train_further(world, *arguments)


def checkpoint(folder: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    tensors, header = read_tensor_file(folder / CHECKPOINT_NAME, CHECKPOINT)
    del header["counters"]["progress"]["seconds"]
    return tensors, header


def test_resuming_in_as_many_processes_is_exact(sets: Any, tmp_path: Path):
    whole = run_together(2, train, tmp_path / "whole", "dimers", sets)
    stopped = run_together(2, stop_at, 6, tmp_path / "parts", "dimers", sets, {})
    assert [outcome.value[2] for outcome in stopped] == ["max_seconds"] * 2
    assert checkpoint(tmp_path / "parts")[1]["counters"]["progress"]["batch"] > 0
    resumed = run_together(2, train, tmp_path / "parts", "dimers", sets)
    assert_equal(resumed, whole[0].value, 0.0)
    (tensors, header), (others, other_header) = checkpoint(tmp_path / "whole"), checkpoint(tmp_path / "parts")
    assert header == other_header
    assert all(torch.equal(value, others[name]) for name, value in tensors.items()) and tensors.keys() == others.keys()


def test_resuming_in_another_number_of_processes(sets: Any, tmp_path: Path):
    expected = train(ALONE, tmp_path / "one", "dimers", sets)
    folder = tmp_path / "parts"
    run_together(2, stop_at, 2, folder, "dimers", sets, {})
    run_together(3, stop_at, 4, folder, "dimers", sets, {})
    last = train(ALONE, folder, "dimers", sets)
    assert_equal([Outcome(last)], expected, 1e-11)
    said = [line for record in last[0] for line in record.get("resumed_with", [])]
    assert said == ["processes: 2 in the checkpoint, 3 now", "processes: 3 in the checkpoint, 1 now"]


def interrupted(world: World, name: str, *arguments: Any) -> Any:
    """The last process gets a signal, twice, in its second step."""
    step, steps = trainer.take_step, itertools.count(1)

    def take_step(*given: Any) -> None:
        if next(steps) == 2 and world.rank == world.size - 1:
            os.kill(os.getpid(), getattr(signal, name))
            os.kill(os.getpid(), getattr(signal, name))
        step(*given)

    trainer.take_step = take_step
    return train_further(world, *arguments)


@pytest.mark.parametrize(("name", "ends"), [("SIGTERM", ["143", "143"]), ("SIGINT", ["KeyboardInterrupt", "130"])])
def test_a_signal_to_one_process_stops_all_with_a_checkpoint(name: str, ends: list[str], sets: Any, tmp_path: Path):
    outcomes = run_together(2, interrupted, name, tmp_path, "dimers", sets, {"max_epochs": 1000})
    assert [str(outcome.code or outcome.error) for outcome in outcomes] == ends
    assert checkpoint(tmp_path)[1]["counters"]["progress"]["step"] == 2


def test_a_loss_that_is_not_finite_in_one_process_ends_all(sets: Any, tmp_path: Path):
    graphs, valid = sets
    bad = torch.full_like(graphs[5].labels["energy"], torch.nan)
    graphs = [replace(graph, origin=f"frame {index}") for index, graph in enumerate(graphs)]
    graphs[5] = replace(graphs[5], labels={**graphs[5].labels, "energy": bad})
    outcomes = run_together(2, train_further, tmp_path, "dimers", (graphs, valid), {"batch_size": 10})
    share = [outcome for outcome in outcomes if outcome.error == "NonFiniteLossError"]
    others = [outcome for outcome in outcomes if outcome.error == "OtherProcessError"]
    assert len(share) == len(others) == 1
    assert "frame 5" in share[0].message and share[0].message.count("frame") < 10
    assert "of the batch holds" in share[0].message
    assert share[0].message in others[0].message and "of 2 has failed. NonFiniteLossError: " in others[0].message


def full_disk(world: World, *arguments: Any) -> Any:
    if world.first:
        calls, write = itertools.count(1), os.fsync

        def fsync(descriptor: int) -> None:
            if next(calls) > 8:
                raise OSError(28, "No space left on device")
            write(descriptor)

        os.fsync = fsync  # type: ignore[assignment]
    return train_further(world, *arguments)


def test_a_file_that_cannot_be_written_ends_all(sets: Any, tmp_path: Path):
    outcomes = run_together(2, full_disk, tmp_path, "dimers", sets, {"max_epochs": 1000, "checkpoint_seconds": 0.0})
    assert [outcome.error for outcome in outcomes] == ["OutputError", "OtherProcessError"]
    assert "No space left on device" in outcomes[1].message


def failing(world: World) -> None:
    """The first fails while the other waits for it, at a place where they do not ask each other."""
    if world.first:
        raise DataError("train.xyz, frame 7: broken")
    world.max(0)


def test_a_process_that_fails_leaves_word_for_those_that_wait():
    first, second = run_together(2, failing)
    assert (first.error, second.error) == ("DataError", "OtherProcessError")
    assert second.message == f"Another process has failed. DataError: {first.message}"


def vanishing(world: World, *arguments: Any) -> Any:
    step, steps = trainer.take_step, itertools.count(1)

    def take_step(*given: Any) -> None:
        if next(steps) == 3 and world.rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        step(*given)

    trainer.take_step = take_step
    return train_further(world, *arguments)


def test_a_process_that_is_gone_ends_all(sets: Any, tmp_path: Path):
    outcomes = run_together(3, vanishing, tmp_path, "dimers", sets, {"max_epochs": 1000})
    assert [outcome.error for outcome in outcomes] == ["OtherProcessError", "Killed", "OtherProcessError"]
    assert all("has lost another" in outcome.message for outcome in (outcomes[0], outcomes[2]))


def other_data(world: World, folder: Path, sets: Any) -> Any:
    graphs, valid = sets
    return train(world, folder, "dimers", (graphs if world.first else graphs[::-1], valid))


def other_weights(world: World, folder: Path, sets: Any) -> Any:
    update = trainer.ExponentialMovingAverage.update

    def disturbed(average: Any) -> None:
        update(average)
        if not world.first:
            next(iter(average.average.values())).view(-1)[0] += 1e-14

    trainer.ExponentialMovingAverage.update = disturbed  # type: ignore[method-assign]
    return train(world, folder, "dimers", sets)


def test_processes_that_differ(sets: Any, tmp_path: Path):
    first, second = run_together(2, other_data, tmp_path / "data", sets)
    assert (first.error, second.error) == ("OtherProcessError", "DataError")
    assert "Process 1 of 2 does not have what the first has: training set. Give all" in second.message
    first, second = run_together(2, other_weights, tmp_path / "weights", sets)
    assert (first.error, second.error) == ("OtherProcessError", "DataError")
    assert "the weights after epoch 1. Let all processes run the same versions" in second.message


def divided(world: World, sets: Sequence[list[Configuration]]) -> list[Any]:
    """Of every set numbers of atoms, elements, two kinds of labels, two of predictions, and all edges."""
    found = []
    for frames in sets:
        graphs = build_divided(world, frames, ELEMENTS, R_MAX)
        batches = [graphs[start : start + 2] for start in range(0, len(graphs), 2)]
        comparison = vars(compare_divided(world, potential(), batches, ["energy", "stress"]))
        edges = [[graph.centers.numpy(), graph.neighbors.numpy(), graph.shifts.numpy()] for graph in graphs]
        arrays = [comparison["num_atoms"], comparison["symbols"]]
        arrays += [values for key in ("labels", "predictions") for values in comparison[key].values()]
        found.append([*arrays, *(array for rows in edges for array in rows)])
    return found


def frames_of(count: int) -> list[Configuration]:
    """Labelled atoms in a periodic box, some numbers of them."""
    rng = np.random.default_rng(2)
    frames = []
    for atoms in rng.integers(2, 7, count):
        labels = {"energy": rng.normal(), "stress": rng.normal(size=(3, 3))}
        where = 5.0 * rng.random((atoms, 3))
        frames.append(Configuration(rng.choice([1, 6, 8], atoms), where, 5.0 * np.eye(3), np.full(3, True), labels))
    return frames


def test_graphs_are_the_same_and_predictions_in_order():
    """Also for fewer batches than processes; to rounding, as a batch may be cut."""
    sets = [frames_of(7), frames_of(3)]
    one = divided(ALONE, sets)
    for outcome in run_together(3, divided, sets):
        assert not outcome.error, outcome
        for found, wanted in zip(outcome.value, one, strict=True):
            assert len(wanted) > 8 and len(found) == len(wanted)
            assert all(map(np.array_equal, found[:4], wanted[:4])) and all(map(np.array_equal, found[6:], wanted[6:]))
            for part, whole in zip(found[4:6], wanted[4:6], strict=True):
                np.testing.assert_allclose(part, whole, rtol=1e-11, atol=1e-12)


def group(rank: int, size: int) -> Group:
    return Group(Place(rank, size, rank, ("", 0)), HashStore())


@pytest.mark.parametrize("size", [2, 3, 8])
@pytest.mark.parametrize("costs", [[], [0, 0], [5], [1] * 7, [100, 1, 1, 1, 100, 1, 3]], ids=len)
def test_every_item_has_one_process(size: int, costs: list[float]):
    portions = [list(group(rank, size).portion(costs)) for rank in range(size)]
    assert [index for portion in portions for index in portion] == list(range(len(costs)))
    picked = [group(rank, size).pick(costs) for rank in range(size)]
    assert sorted(index for mine in picked for index in mine) == list(range(len(costs)))
    loads = [sum(costs[index] for index in mine) for mine in picked]
    assert max(loads) <= sum(costs) / size + max(costs, default=0)


def test_terms_without_data_are_of_one_process(train_graphs: list[Graph]):
    config = settings("dimers")
    terms, everything = loss_terms(config, potential(), train_graphs, 0), range(len(train_graphs))
    shares = [divide(group(rank, 3), train_graphs, everything, terms, config.loss) for rank in range(3)]
    assert [len(share.terms) for share in shares] == [0, 0, 1]
    assert shares[0].counts == {"energy": 10, "forces": 3 * sum(graph.num_atoms for graph in train_graphs)}
    whole = divide(ALONE, train_graphs, everything, (), config.loss)
    assert list(whole.graphs) == train_graphs and whole.counts is None


def test_devices():
    assert group(1, 2).device("cpu") == "cpu" and ALONE.device("cuda:1") == "cuda:1"
    with pytest.raises(ConfigError, match=r"'cuda:0' is one GPU, but there are 2 processes\. Give 'cuda'"):
        group(1, 2).device("cuda:0")
    with pytest.raises(ConfigError, match="process 999 of this machine has no GPU of its own"):
        group(999, 1000).device("cuda")


TORCHRUN = {"RANK": "1", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "MASTER_ADDR": "a", "MASTER_PORT": "29500"}
SLURM = {
    "SLURM_PROCID": "5", "SLURM_STEP_NUM_TASKS": "8", "SLURM_LOCALID": "1", "SLURM_STEP_NODELIST": "node[03-05,7],gpu1",
    "SLURM_JOB_ID": "123", "SLURM_STEP_ID": "0",
}  # fmt: skip


def test_who_has_started_this_process():
    assert find_place({}) is None
    assert find_place(TORCHRUN) == find_place({**TORCHRUN, **SLURM}) == Place(1, 4, 1, ("a", 29500))
    assert find_place({**TORCHRUN, "RANK": "0", "WORLD_SIZE": "1"}) is None
    assert find_place(SLURM) == Place(5, 8, 1, ("node03", 20123))
    assert find_place({**SLURM, "MASTER_ADDR": "b", "MASTER_PORT": "1"}) == Place(5, 8, 1, ("b", 1))
    # In a batch script itself there is no step: one process, which may start others.
    assert find_place({"SLURM_PROCID": "0", "SLURM_NTASKS": "8", "SLURM_JOB_ID": "123"}) is None
    assert find_place(alone({**TORCHRUN, **SLURM, "HOME": "/"})) is None


def test_variables_that_are_missing_or_no_numbers():
    for given, name in ((TORCHRUN, "MASTER_PORT"), (TORCHRUN, "RANK"), (SLURM, "SLURM_PROCID")):
        with pytest.raises(ConfigError, match=rf"but not {name}, so this process does not know the others"):
            find_place({key: value for key, value in given.items() if key != name})
    with pytest.raises(ConfigError, match="RANK is 'one'; expected a number"):
        find_place({**TORCHRUN, "RANK": "one"})


@pytest.mark.parametrize(
    ("nodes", "first"),
    [("n1", "n1"), ("n[1-3]", "n1"), ("a[07,09-11]b,c", "a07b"), ("r[1-2]n[003-4]", "r1n003"), ("x,y", "x")],
)
def test_first_hosts(nodes: str, first: str):
    assert first_host(nodes) == first
