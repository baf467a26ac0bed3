"""Processes that train together: what they sum, decide and know in common, and how the failure of one ends all."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from rich.console import Console
from torch import Tensor, nn
from torch.distributed import PrefixStore, Store, TCPStore  # pyright: ignore[reportPrivateImportUsage]

from clebsch.errors import ConfigError, DataError, OtherProcessError
from clebsch.training.launchers import RESTARTS, Place, find_place

Tensors = dict[str, Tensor]
MEETING = timedelta(minutes=5)  # for all processes to be there
PATIENCE = timedelta(minutes=30)  # with processes that are there, but slow; those that end are noticed at once


class World:
    """The processes that train together; this class is one process alone, for which all is as if it were not there.

    All of them call the same methods in the same order. Nothing that is sent is pickled: it is numbers, or JSON.
    """

    rank, size, local_rank = 0, 1, 0

    @property
    def first(self) -> bool:
        """Whether this is the process that writes files and speaks."""
        return self.rank == 0

    def console(self, console: Console | None) -> Console | None:
        """Return ``console`` for the first process, and a mute one for others."""
        return console if self.first else Console(quiet=True)

    def device(self, name: str) -> str:
        """Return the device of this process, which for ``cuda`` is a GPU of its own; raises ConfigError for one GPU."""
        return name

    @contextmanager
    def together(self) -> Iterator[None]:
        """Run a block, which must not call other processes; if it fails in one of them, it raises in all.

        The first that fails raises its error, all others an OtherProcessError.
        """
        yield

    def max(self, *numbers: int) -> tuple[int, ...]:
        """Return the largest of every number over all processes."""
        return numbers

    def sum(self, tensor: Tensor) -> Tensor:
        """Return the sum of a tensor over all processes."""
        return tensor

    def share(self, content: Any) -> Any:
        """Return the JSON content of the first process."""
        return content

    def require_same(self, content: Callable[[], Mapping[str, Any]], cure: str) -> None:
        """Raise DataError, which ends with ``cure``, unless the JSON content by name is that of the first process."""

    def gather(self, tensors: Mapping[str, Tensor]) -> list[Tensors]:
        """Return the tensors of every process, on the CPU; their names and shapes may differ."""
        return [dict(tensors)]

    def broadcast(self, tensors: Mapping[str, Tensor]) -> Tensors:
        """Return the tensors of the first process, on the CPU if they come from elsewhere."""
        return dict(tensors)

    def step(self, compute: Callable[[], Tensors], names: Sequence[str], parameters: Sequence[nn.Parameter]) -> Tensors:
        """Return the sums over processes of what ``compute`` returns, and leave in ``parameters`` those of gradients.

        Args:
            compute: sets the gradients and returns numbers by name; if it fails in one process, this raises in all.
            names: of the numbers.
            parameters: those whose gradients nobody has set keep none.
        """
        return compute()

    def portion(self, costs: Sequence[float]) -> range:
        """Return the indices of this process's part of items with ``costs``: one run of them, in their order."""
        return range(len(costs))

    def pick(self, costs: Sequence[float]) -> list[int]:
        """Return the indices of this process's part of items with ``costs``, divided as evenly as they can be."""
        return list(range(len(costs)))


class Group(World):
    """Several processes, each of which has one.

    Args:
        place: rank and number of processes.
        store: what all can read; a process that fails leaves word there.
    """

    def __init__(self, place: Place, store: Store) -> None:
        self.rank, self.size, self.local_rank = place.rank, place.size, place.local_rank
        self._store = store

    def device(self, name: str) -> str:
        if not name.startswith("cuda"):
            return name
        if name != "cuda":
            raise ConfigError(f"device: '{name}' is one GPU, but there are {self.size} processes. Give 'cuda'.")
        found = torch.cuda.device_count()
        if self.local_rank >= found:
            raise ConfigError(
                f"device: process {self.local_rank} of this machine has no GPU of its own, as there are {found}. "
                "Start as many processes on every machine as it has GPUs, or train on the CPU."
            )
        return f"cuda:{self.local_rank}"

    @contextmanager
    def together(self) -> Iterator[None]:
        error = None
        try:
            yield
        except Exception as caught:
            error = caught
        (failed,) = self.max(0 if error is None else self.size - self.rank)
        self._agree(error, self.size - failed if failed else None)

    def max(self, *numbers: int) -> tuple[int, ...]:
        tensor = torch.tensor(numbers, dtype=torch.int64)
        self._call(dist.all_reduce, tensor, dist.ReduceOp.MAX)
        return tuple(tensor.tolist())

    def sum(self, tensor: Tensor) -> Tensor:
        total = tensor.clone()
        self._call(dist.all_reduce, total)
        return total

    def share(self, content: Any) -> Any:
        return self._from(0, content)

    def require_same(self, content: Callable[[], Mapping[str, Any]], cure: str) -> None:
        with self.together():
            mine = json.loads(json.dumps(content()))
        expected = self.share(mine)
        with self.together():
            differ = [name for name in {**expected, **mine} if expected.get(name) != mine.get(name)]
            if differ:
                raise DataError(
                    f"Process {self.rank} of {self.size} does not have what the first has: {', '.join(differ)}. {cure}"
                )

    def gather(self, tensors: Mapping[str, Tensor]) -> list[Tensors]:
        return [self._tensors_from(rank, tensors) for rank in range(self.size)]

    def broadcast(self, tensors: Mapping[str, Tensor]) -> Tensors:
        received = self._tensors_from(0, tensors)
        return dict(tensors) if self.first else received

    def step(self, compute: Callable[[], Tensors], names: Sequence[str], parameters: Sequence[nn.Parameter]) -> Tensors:
        error, values = None, [0.0] * len(names)
        try:
            found = compute()
            values = torch.stack([found[name].double() for name in names]).tolist()
        except Exception as caught:
            error = caught
        failed = [float(error is not None and rank == self.rank) for rank in range(self.size)]
        there = [float(error is None and parameter.grad is not None) for parameter in parameters]
        numbers = self.sum(torch.tensor([*failed, *there, *values], dtype=torch.float64)).tolist()
        failed, there, values = (numbers[: self.size], numbers[self.size : -len(names)], numbers[-len(names) :])
        self._agree(error, next((rank for rank, count in enumerate(failed) if count), None))
        self._sum_gradients([parameter for parameter, count in zip(parameters, there, strict=True) if count])
        sums = torch.tensor(values, dtype=torch.float64, device=parameters[0].device)
        return dict(zip(names, sums, strict=True))

    def portion(self, costs: Sequence[float]) -> range:
        ends = np.cumsum(costs)
        middles = (ends - np.asarray(costs) / 2) / max(ends[-1:].sum(), 1)
        owners = np.floor(self.size * middles)
        return range(int((owners < self.rank).sum()), int((owners <= self.rank).sum()))

    def pick(self, costs: Sequence[float]) -> list[int]:
        loads, mine = [0.0] * self.size, []
        for index in sorted(range(len(costs)), key=lambda index: -costs[index]):  # the largest first
            rank = loads.index(min(loads))
            loads[rank] += costs[index]
            if rank == self.rank:
                mine.append(index)
        return sorted(mine)

    def _sum_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Sum the gradients, zero where this process has none, in one message for each dtype."""
        for dtype in dict.fromkeys(parameter.dtype for parameter in parameters):
            alike = [parameter for parameter in parameters if parameter.dtype == dtype]
            gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in alike]
            flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
            self._call(dist.all_reduce, flat)
            for parameter, part in zip(alike, flat.split([p.numel() for p in alike]), strict=True):
                parameter.grad = part.view_as(parameter)

    def _agree(self, error: Exception | None, failed: int | None) -> None:
        """Raise in all processes if ``failed``, the first that has an ``error``, is a process."""
        if failed is None:
            return
        kind, said = self._from(failed, [type(error).__name__, str(error)])
        if error is not None and failed == self.rank:
            raise error
        raise OtherProcessError(f"Process {failed} of {self.size} has failed. {kind}: {said}", kind)

    def _from(self, rank: int, content: Any) -> Any:
        """The JSON content of one process."""
        text = json.dumps(content).encode() if rank == self.rank else b""
        (length,) = self.max(len(text))
        tensor = torch.zeros(length, dtype=torch.uint8)
        if text:
            tensor.copy_(torch.frombuffer(bytearray(text), dtype=torch.uint8))
        self._call(dist.broadcast, tensor, rank)
        return json.loads(tensor.numpy().tobytes())

    def _tensors_from(self, rank: int, tensors: Mapping[str, Tensor]) -> Tensors:
        """The tensors of one process, on the CPU."""
        mine = {name: value.detach().cpu().contiguous() for name, value in tensors.items()} if rank == self.rank else {}
        kinds = {name: (str(value.dtype).removeprefix("torch."), list(value.shape)) for name, value in mine.items()}
        found: Tensors = {}
        for name, (dtype, shape) in self._from(rank, kinds).items():
            found[name] = mine[name] if name in mine else torch.empty(shape, dtype=getattr(torch, dtype))
            if found[name].numel():
                self._call(dist.broadcast, found[name].reshape(-1).view(torch.uint8), rank)
        return found

    def _call(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Call a function of torch.distributed, which fails if another process is no longer there."""
        try:
            function(*arguments)
        except RuntimeError as error:
            raise self._lost(error) from None

    def _lost(self, error: Exception) -> OtherProcessError:
        """The error that says what the process that is gone has left word of, to be shown by one process."""
        try:
            if self._store.check(["failed"]):
                kind, said = json.loads(self._store.get("failed"))
                return OtherProcessError(f"Another process has failed. {kind}: {said}", kind)
            shown = self._store.add("lost", 1) > 1
        except RuntimeError:  # the first process, which keeps the store, is the one that is gone
            shown = False
        return OtherProcessError(
            f"Process {self.rank} of {self.size} has lost another: it was killed, ran out of memory, or the network "
            f"failed ({_first_sentence(error)}). The same command goes on from the last checkpoint.",
            shown=shown,
        )

    def leave_word(self, error: BaseException) -> None:
        """Leave word of an error that ends this process, for those that wait for it."""
        with suppress(RuntimeError):
            self._store.set("failed", json.dumps([type(error).__name__, str(error)]))


ALONE = World()
_joined: list[World] = []


def current() -> World:
    """Return the processes that `join` has brought together, or this one alone."""
    return _joined[-1] if _joined else ALONE


@contextmanager
def join(environment: Mapping[str, str] = os.environ) -> Iterator[World]:
    """Within the block, train together with the other processes that torchrun or srun has started.

    A process that nobody has started as one of several stays alone. Tensors on the CPU travel by gloo, those on GPUs
    by NCCL. If the block fails in one process, the others fail as soon as they wait for it.

    Raises:
        ConfigError: the environment says that there are others, but not all about them.
        OtherProcessError: they do not come, or one has failed.
    """
    place = find_place(environment)
    if place is None:
        yield current()
        return
    world = _meet(place, environment)
    _joined.append(world)
    try:
        yield world
        world.max(0)  # none ends, and closes its connections, before all are done
    except OtherProcessError:
        raise
    except KeyboardInterrupt as error:
        world.leave_word(error)
        if world.first:
            raise
        raise SystemExit(128 + signal.SIGINT) from None  # one of them says it
    except BaseException as error:
        world.leave_word(error)
        raise
    finally:
        _joined.pop()
        dist.destroy_process_group()


def _meet(place: Place, environment: Mapping[str, str]) -> Group:
    """Wait until all processes are there."""
    host, port = place.address
    try:
        # torchrun and --nproc keep the store themselves; else the first process does.
        kept = environment.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
        store = TCPStore(host, port, place.size, place.rank == 0 and not kept, timeout=MEETING)
        group = PrefixStore(f"clebsch/group/{environment.get(RESTARTS, 0)}", store)
        backend = "cpu:gloo,cuda:nccl" if dist.is_nccl_available() and torch.cuda.is_available() else "gloo"
        dist.init_process_group(backend, store=group, rank=place.rank, world_size=place.size, timeout=PATIENCE)
    except RuntimeError as error:
        raise OtherProcessError(
            f"Process {place.rank} of {place.size} has not met the others at {host}:{port} "
            f"({_first_sentence(error)}). Check that all were started and that this address is that of the first; "
            "MASTER_ADDR and MASTER_PORT give another.",
            shown=False,
        ) from None
    return Group(place, words(store, environment))


def open_store() -> TCPStore:
    """Return a store at a free port of this machine, which this process keeps for others to meet."""
    return TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)


def words(store: Store, environment: Mapping[str, str]) -> Store:
    """Return the part of a store where the processes leave word of how they end, anew where torchrun restarts them.

    ``failed`` is the error of one that has failed; the first to add to ``lost`` tells the user of one that has not.
    """
    return PrefixStore(f"clebsch/words/{environment.get(RESTARTS, 0)}", store)


def _first_sentence(error: Exception) -> str:
    return str(error).splitlines()[0].split(". ")[0].rstrip(".")
