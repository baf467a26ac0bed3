"""Plants single faults in the library, one at a time, and says which of them no test notices.

    python scripts/mutate.py --since main                            files that have changed since main
    python scripts/mutate.py src/clebsch/data --count 60 --seed 1    files or folders by name

Faults are planted in copies of the tree, never in the tree itself. For each, the test files that call the function it
is in run until the first failure: those named like the module first, then those of its folder, then the quickest.
Which test files call which functions is found once, by running every test file by itself (as long as the suite takes on
one core), and kept in .mutate, which git ignores; remove it when tests have moved. The table has every fault that
survived with its lines.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mutations import Fault, faults_of, functions_of

ROOT = Path(__file__).resolve().parents[1]
KEPT = ROOT / ".mutate"
CALLS = KEPT / "calls.json"
PYTEST = ("-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-p", "no:xdist", "--no-header", "--tb=no")

Calls = dict[str, dict[str, Any]]  # by test file: the seconds it takes, and the functions it calls by source file


@dataclass(frozen=True)
class Verdict:
    """What became of a fault: "killed", "survived", "timed out" or "not called", and by which test."""

    fault: Fault
    outcome: str
    test: str = ""


def main() -> None:
    """Choose faults, run the tests on each, and write the table."""
    arguments = _parse()
    calls = json.loads(CALLS.read_text()) if CALLS.exists() else find_calls(arguments.processes)
    chosen = choose(_files(arguments), arguments.count, arguments.seed)
    started = time.monotonic()

    def judge(tree: Path, fault: Fault) -> Verdict:
        verdict = _judge(tree, fault, calls, arguments.seconds)
        print(f"{verdict.outcome:11} {fault.path}:{fault.line} {fault.kind} {verdict.test}", flush=True)
        return verdict

    verdicts = in_copies(judge, chosen, arguments.processes)
    table = as_markdown(verdicts, time.monotonic() - started)
    Path(arguments.output).write_text(table)
    print(f"\n{table.splitlines()[0]}\n{arguments.output} has the rest")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="*", help="files or folders; none for what has changed since --since")
    parser.add_argument("--since", default="HEAD", metavar="REF", help="a commit of git (default: HEAD)")
    parser.add_argument("--count", type=int, default=150, help="faults to plant (default: 150)")
    parser.add_argument("--seed", type=int, default=0, help="of the choice of faults (default: 0)")
    parser.add_argument("--seconds", type=float, default=60, help="of tests per fault, about (default: 60)")
    parser.add_argument("--processes", type=int, default=2, help="faults at once (default: 2)")
    parser.add_argument("--output", default="mutants.md", help="the table (default: mutants.md)")
    return parser.parse_args()


def _files(arguments: argparse.Namespace) -> list[str]:
    """Source files of the library, as paths from the root."""
    if arguments.paths:
        paths = [Path(path).resolve() for path in arguments.paths]
        files = [file for path in paths for file in (sorted(path.rglob("*.py")) if path.is_dir() else [path])]
        return [str(file.relative_to(ROOT)) for file in files]
    changed = _git("diff", "--name-only", arguments.since, "--", "src").split()
    return [path for path in changed if path.endswith(".py") and (ROOT / path).exists()]


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout


def choose(files: Iterable[str], count: int, seed: int) -> list[Fault]:
    """At most ``count`` faults, no two of them on a line, the same ones for a seed."""
    generator = random.Random(seed)
    lines: dict[tuple[str, int], list[Fault]] = {}
    for path in files:
        for fault in faults_of(path, (ROOT / path).read_text()):
            lines.setdefault((path, fault.line), []).append(fault)
    places = generator.sample(sorted(lines), min(count, len(lines)))
    return [generator.choice(lines[place]) for place in places]


def in_copies(work: Callable[[Path, Any], Any], items: Sequence[Any], processes: int) -> list[Any]:
    """``work(tree, item)`` of every item, each in one of several copies of the tree."""
    files = _git("ls-files", "-co", "--exclude-standard").splitlines()
    with tempfile.TemporaryDirectory() as folder:
        trees: queue.Queue[Path] = queue.Queue()
        for number in range(processes):
            tree = Path(folder, str(number))
            for file in files:
                if (ROOT / file).is_file():
                    (tree / file).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy2(ROOT / file, tree / file)
            trees.put(tree)

        def run(item: Any) -> Any:
            tree = trees.get()
            try:
                return work(tree, item)
            finally:
                trees.put(tree)

        with ThreadPoolExecutor(processes) as pool:
            return list(pool.map(run, items))


# Which test files call which functions --------------------------------------------------------------------------------


def find_calls(processes: int) -> Calls:
    """Run every test file by itself and keep what it calls."""
    tests = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "tests").rglob("test_*.py"))
    print(f"finding out which of {len(tests)} test files call which functions: once, about as long as the suite takes")
    found = dict(zip(tests, in_copies(_calls_of, tests, processes), strict=True))
    KEPT.mkdir(mode=0o700, exist_ok=True)
    CALLS.write_text(json.dumps(found))
    return found


def _calls_of(tree: Path, test: str) -> dict[str, Any]:
    file = tree / "calls.json"
    _run_tests(tree, [test], 900, "-p", "mutate_calls", CALLS_FILE=str(file))
    known = json.loads(file.read_text()) if file.exists() else {"seconds": 900.0, "calls": []}
    names: dict[str, dict[int, str]] = {}
    found: dict[str, set[str]] = {}
    for place, line in known["calls"]:
        path = str(Path(place).relative_to(tree))
        if path not in names:
            names[path] = functions_of((tree / path).read_text())
        found.setdefault(path, set()).add(names[path].get(line, ""))
    file.unlink(missing_ok=True)
    print(f"{known['seconds']:6.1f} s {test}", flush=True)
    return {"seconds": known["seconds"], "calls": {path: sorted(functions) for path, functions in found.items()}}


def tests_for(fault: Fault, calls: Calls, seconds: float) -> list[str]:
    """Test files that call the function of a fault, the most likely first, for about so many seconds.

    For code that runs when a module is imported, and for functions that tests call in other processes only, these are
    all files that call any of the module.
    """
    loads = {test: known["calls"][fault.path] for test, known in calls.items() if fault.path in known["calls"]}
    found = [test for test, functions in loads.items() if _is_called(fault.function, functions)] or list(loads)
    module = Path(fault.path)

    def likelihood(test: str) -> tuple[bool, bool, float]:
        stem, folder = Path(test).stem, Path(test).parent.name
        beside = folder in module.parts or module.parent.name in stem
        return module.stem not in stem, not beside, calls[test]["seconds"]

    found.sort(key=likelihood)
    chosen, total = [], 0.0
    for test in found:
        total += calls[test]["seconds"]
        if chosen and total > seconds:
            break
        chosen.append(test)
    return chosen


def _is_called(function: str, functions: Sequence[str]) -> bool:
    """Whether a function is among those called, or a method of a class."""
    return any(name == function or name.startswith(f"{function}.") for name in functions)


# One fault ------------------------------------------------------------------------------------------------------------


def _judge(tree: Path, fault: Fault, calls: Calls, seconds: float) -> Verdict:
    """Plant a fault in a copy of the tree, run the tests, and take it out again."""
    tests = tests_for(fault, calls, seconds)
    if not tests:
        return Verdict(fault, "not called")
    file = tree / fault.path
    original = file.read_text()
    _rewrite(file, fault.source)
    try:
        limit = 60 + 4 * sum(calls[test]["seconds"] for test in tests)
        status, output = _run_tests(tree, tests, limit)
    finally:
        _rewrite(file, original)
    if status is None:
        return Verdict(fault, "timed out", tests[0])
    failed = re.search(r"^(?:FAILED|ERROR) (\S+)", output, re.MULTILINE)
    return Verdict(fault, "killed" if status else "survived", failed[1] if failed else "")


def _rewrite(file: Path, text: str) -> None:
    """Write a file with a later time than it had: Python compiles again what is newer, to the second."""
    later = file.stat().st_mtime + 2
    file.write_text(text)
    os.utime(file, (later, later))


def _run_tests(tree: Path, tests: Sequence[str], seconds: float, *options: str, **extra: str) -> tuple[int | None, str]:
    """The exit status of pytest, None if it took too long, and what it printed."""
    KEPT.mkdir(mode=0o700, exist_ok=True)
    variables = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(str(tree / folder) for folder in ("src", "scripts")),
        "OMP_NUM_THREADS": "1",
        "CLEBSCH_CACHE": str(KEPT / "kernels"),  # none that a fault has made is left for others
        **extra,
    }
    command = [sys.executable, *PYTEST, "-rfE", *options, *tests]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    process = subprocess.Popen(
        command, cwd=tree, env=variables, start_new_session=True, preexec_fn=_heed_interrupts, **pipes
    )
    try:
        output, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return None, ""
    return process.returncode, output


def _heed_interrupts() -> None:
    """SIGINT as in a terminal, which tests send themselves; a shell makes what it starts in the background deaf."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


# The table ------------------------------------------------------------------------------------------------------------


def as_markdown(verdicts: Sequence[Verdict], seconds: float) -> str:
    """Counts by folder, then every fault that was not noticed with its lines."""
    total = Counter(verdict.outcome for verdict in verdicts)
    counts = ", ".join(f"{total[outcome]} {outcome}" for outcome in ("killed", "survived", "timed out", "not called"))
    lines = [f"{len(verdicts)} faults in {seconds / 60:.0f} minutes: {counts}.", ""]
    lines += ["| folder | killed | survived | timed out | not called |", "|---|---|---|---|---|"]
    by_folder: dict[str, Counter[str]] = {}
    for verdict in verdicts:
        by_folder.setdefault(str(Path(verdict.fault.path).parent), Counter())[verdict.outcome] += 1
    for folder, found in sorted(by_folder.items()):
        row = (found[outcome] for outcome in ("killed", "survived", "timed out", "not called"))
        lines.append(f"| {folder} | {' | '.join(map(str, row))} |")
    for verdict in verdicts:
        if verdict.outcome in ("survived", "not called"):
            fault = verdict.fault
            diff = fault.diff((ROOT / fault.path).read_text())
            lines += ["", f"{verdict.outcome}, {fault.kind}: {fault.path}:{fault.line}", "", "```diff", diff, "```"]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
