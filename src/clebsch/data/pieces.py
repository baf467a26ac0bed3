"""Files read piece by piece, in several processes if asked, for data larger than memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import ExitStack
from functools import partial
from itertools import islice
from multiprocessing import get_context
from pathlib import Path

from ase import Atoms

from clebsch.data.formats import EXTENDED_XYZ, find_format, frame_loaders
from clebsch.data.labels import LabelKeys, check_labels_present
from clebsch.data.reading import Reading, choose_units, interpret, load_frames, read_frames, require_file
from clebsch.data.units import Units

FRAMES_PER_PIECE = 500
FEW = 100  # frames that show which labels a file has
Numbered = list[tuple[int, Callable[[], Atoms]]]


def read_in_pieces(
    path: str | Path,
    keys: LabelKeys,
    *,
    types: Mapping[int, str] | None = None,
    units: Units | Mapping[str, str] | None = None,
    nan_is_none: bool = False,
    processes: int = 1,
) -> Iterator[Reading]:
    """Read a file as `read_source` does, but yield it in pieces of 500 frames, so that memory stays flat.

    Args:
        path: the file.
        keys: names of the labels.
        types: elements of the types of a LAMMPS dump.
        units: units of the file.
        nan_is_none: a label that holds a NaN is missing.
        processes: that parse extended XYZ; with more than one, the program needs ``if __name__ == "__main__":``.

    Raises DataError as `read_configurations` does.
    """
    path = Path(path)
    require_file(path)
    chosen, facts = choose_units(path, units)
    seen: set[str] = set()
    found = _pieces(path, types, partial(_read, path, keys, chosen, nan_is_none), processes)
    for number, reading in enumerate(found):
        seen |= {name for frame in reading.configurations for name in frame.labels}
        first = tuple(facts) if number == 0 else ()
        yield Reading(path, reading.configurations, (*first, *reading.facts), reading.doubts)
    if not set(keys.named()) <= seen:
        check_labels_present(read_frames(path, f":{FEW}", types=types), keys, str(path))


def _pieces(
    path: Path, types: Mapping[int, str] | None, read: Callable[[Numbered], Reading], processes: int
) -> Iterator[Reading]:
    """Read pieces one after another, or some of them at once; their order is that of the file."""
    numbered = enumerate(frame_loaders(path, types))
    pieces = iter(lambda: list(islice(numbered, FRAMES_PER_PIECE)), [])
    if processes == 1 or find_format(path) != EXTENDED_XYZ:
        yield from map(read, pieces)
        return
    with ExitStack() as stack:
        # Not by fork, after which threads of PyTorch and OpenMP may be missing.
        pool = stack.enter_context(ProcessPoolExecutor(processes, mp_context=get_context("spawn")))
        stack.callback(pool.shutdown, wait=False, cancel_futures=True)
        running: deque[Future[Reading]] = deque()
        for piece in pieces:
            running.append(pool.submit(read, piece))
            if len(running) > 2 * processes:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()


def _read(path: Path, keys: LabelKeys, units: Units, nan_is_none: bool, numbered: Numbered) -> Reading:
    return interpret(path, list(load_frames(path, numbered)), keys, units, nan_is_none=nan_is_none)
