"""The faults that scripts/mutate.py plants: where they are, where none is, and that a seed chooses the same ones."""

from __future__ import annotations

import ast

import mutate
import pytest
from mutations import faults_of, functions_of

SOURCE = '''"""What a + b is not."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    LIMIT = 3


def size(x: list[int], flag: bool) -> float:
    """Not 1 + 1 of anything."""
    if not x:
        raise ValueError(f"{1 + 1} numbers and {2 * 2}: " + str(7))
    logger.info("so many: %d", 1 + 1)
    return abs(x[1:][0]) * 2.0


@dataclass(frozen=True)
class Point:
    @property
    def norm(self) -> float:
        self.seen = True
        return scale(self.x, self.y) if self.x < 3 and self.y else 0.0
'''


def faults(kind: str) -> set[tuple[int, str]]:
    """Line and new text of every fault of a kind."""
    lines = SOURCE.splitlines()
    found = set()
    for fault in faults_of("a.py", SOURCE):
        changed = [new.strip() for old, new in zip(lines, fault.source.splitlines(), strict=True) if old != new]
        if fault.kind == kind:
            found.add((fault.line, *changed))
    return found


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("comparison", {(22, "return scale(self.x, self.y) if (self.x >= 3) and self.y else 0.0")}),
        ("and, or", {(22, "return scale(self.x, self.y) if (self.x < 3 or self.y) else 0.0")}),
        ("operator", {(14, "return (abs(x[1:][0]) / 2.0)")}),
        ("sign or not", {(11, "if x:")}),
        ("size removed", {(14, "return x[1:][0] * 2.0")}),
        ("slice", {(14, "return abs(x[1 + 1:][0]) * 2.0")}),
        ("arguments swapped", {(22, "return scale(self.y, self.x) if self.x < 3 and self.y else 0.0")}),
        ("statement dropped", {(12, "pass"), (21, "pass")}),
    ],
)
def test_faults_of_a_kind(kind: str, expected: set[tuple[int, str]]):
    assert faults(kind) == expected


def test_constants_change_but_not_in_texts_messages_and_types():
    found = faults("constant")
    assert {line for line, _ in found} == {14, 21, 22}
    assert (21, "self.seen = False") in found and (14, "return abs(x[1:][0]) * 2.002") in found
    assert all(ast.parse(fault.source) for fault in faults_of("a.py", SOURCE))


def test_faults_know_their_function():
    by_line = {fault.line: fault.function for fault in faults_of("a.py", SOURCE)}
    assert by_line == {11: "size", 12: "size", 14: "size", 21: "Point.norm", 22: "Point.norm"}
    functions = functions_of(SOURCE)
    assert functions[9] == "size" and functions[19] == functions[20] == "Point.norm"  # with its decorator


def test_a_seed_chooses_faults():
    files = ["src/clebsch/data/splits.py", "src/clebsch/data/batches.py"]
    first, same, other = (mutate.choose(files, 10, seed) for seed in (1, 1, 2))
    assert first == same != other and len({(fault.path, fault.line) for fault in first}) == 10


def test_tests_that_call_the_function_run_named_ones_first():
    calls = {
        "tests/test_slow.py": {"seconds": 50.0, "calls": {"src/a.py": ["f", "C.g"]}},
        "tests/test_quick.py": {"seconds": 1.0, "calls": {"src/a.py": ["f"]}},
        "tests/test_a.py": {"seconds": 9.0, "calls": {"src/a.py": ["f"]}},
        "tests/test_b.py": {"seconds": 1.0, "calls": {"src/b.py": ["f"]}},
    }

    def chosen(function: str, seconds: float = 60.0) -> list[str]:
        fault = mutate.Fault("src/a.py", 1, function, "constant", "")
        return [test[len("tests/test_") : -len(".py")] for test in mutate.tests_for(fault, calls, seconds)]

    assert chosen("f") == ["a", "quick", "slow"] and chosen("f", 20.0) == ["a", "quick"]
    assert chosen("C.g") == chosen("C") == ["slow"]
    assert chosen("never") == ["a", "quick", "slow"]  # in another process, it may be
    assert mutate.tests_for(mutate.Fault("src/c.py", 1, "f", "constant", ""), calls, 60.0) == []
