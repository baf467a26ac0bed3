"""The shape of the code: imports go down only, one screen per idea, no pickle, a light front door."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "clebsch"
MODULES = sorted(SOURCE.rglob("*.py"))


def read_ranks(text: str) -> dict[str, int]:
    """Rank of every part in an order such as "cli → run, sweep → config", in which the last have the lowest, 0."""
    layers = [[part.strip() for part in layer.split(",")] for layer in text.split("→")]
    parts = [part for layer in layers for part in layer]
    assert all(part.isidentifier() for part in parts) and len(parts) == len(set(parts)), f"not an order: {text}"
    return {part: rank for rank, layer in enumerate(reversed(layers)) for part in layer}


# A part may import itself and the parts of lower rank; parts of one rank do not know each other. The order is the code
# block with arrows in CONTRIBUTING.md.
BLOCKS = re.findall(r"^```\n(.*?)^```", (ROOT / "CONTRIBUTING.md").read_text(), re.DOTALL | re.MULTILINE)
(ORDER,) = (block for block in BLOCKS if "→" in block)
RANKS = read_ranks(ORDER)
# The front door and the command line import on first use, so that `import clebsch` and `clebsch --help` stay light.
LAZY = {"__init__.py", "cli"}
THIRD_PARTY = {
    "ase", "jaxtyping", "llvmlite", "matplotlib", "numpy", "pydantic", "rich", "safetensors", "torch", "typer", "vesin",
    "yaml",
}  # fmt: skip
OPTIONAL = {"chemiscope", "ipi", "openmm", "phonopy", "plotly", "ray", "tblite", "torch_sim"}

# Private names of other packages that have no public counterpart.
PRIVATE = {
    "_AutoDispatchBelowAutograd": "of torch._C: an operator called below autograd",
    "_C": "the autograd engine of torch",
    "_exit": "of os: the documented end of a forked process",
    "_apply": "torch.nn.Module: what every cast and move goes through; an override keeps constants in float64",
    "_subclasses": "where torch's manual has FakeTensorMode",
    "_version": "torch.Tensor: how often it was changed in place",
}

MAX_BODY, MAX_FILE, MAX_ARGUMENTS = 60, 500, 8


def part_of(path: Path) -> str:
    """Name of the part a file belongs to: 'models' for models/potential.py, 'run' for run.py."""
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imports(tree: ast.AST) -> Iterator[tuple[str, ast.stmt]]:
    """Every absolute module name imported anywhere in ``tree``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: relative import; write clebsch.…"
            assert node.module is not None
            if node.module == "clebsch":
                for alias in node.names:
                    yield f"clebsch.{alias.name}", node
            else:
                yield node.module, node


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)))


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function's body, its docstring apart."""
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    return body[-1].end_lineno - body[0].lineno + 1 if body else 0  # type: ignore[operator]


def arguments(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    given = function.args
    names = [argument.arg for argument in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
    return [name for name in names if name not in ("self", "cls")]


# The one file that unpickles: run as a program of another process, which is kept from doing harm, and never imported.
FOREIGN = SOURCE / "interop" / "foreign.py"


def lines_with(pattern: re.Pattern[str]) -> list[str]:
    """Lines of code, comments apart, in which ``pattern`` is found."""
    return [
        f"{path}:{number}: {line}"
        for path in MODULES
        if path != FOREIGN
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if pattern.search(line.split("#")[0])
    ]


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), filename=str(path))


def test_there_are_modules():
    assert len(MODULES) > 20


def test_the_order_names_every_part_once():
    assert set(RANKS) == {part_of(path) for path in MODULES} - {"__init__"}
    assert read_ranks("a, b\n→ c → d,\ne") == {"a": 2, "b": 2, "c": 1, "d": 0, "e": 0}
    for broken in ("a → b, a", "a → → b", "a b → c"):
        with pytest.raises(AssertionError, match="not an order"):
            read_ranks(broken)


def test_the_rooms_that_are_described_are_there():
    rows = re.findall(r"^\| (`.*?) \|", (ROOT / "docs" / "architecture.md").read_text(), re.MULTILINE)
    assert sorted(re.findall(r"`(\w+)`", " ".join(rows))) == sorted(set(RANKS) - {"__main__"})


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_go_down(path: Path):
    if path == SOURCE / "__init__.py":
        return
    part = part_of(path)
    for name, node in imports(parse(path)):
        if name.split(".")[0] != "clebsch":
            continue
        other = name.split(".")[1]
        assert other in RANKS, f"{path}:{node.lineno}: '{name}' is the front door or an unknown part"
        assert other == part or RANKS[other] < RANKS[part], f"{path}:{node.lineno}: {part} must not import {name}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_are_declared_and_at_the_top(path: Path):
    tree = parse(path)
    for name, node in imports(tree):
        top = name.split(".")[0]
        known = top == "clebsch" or top in sys.stdlib_module_names or top in THIRD_PARTY | OPTIONAL
        assert known, f"{path}:{node.lineno}: '{name}' is no dependency of the library"
    if path.relative_to(SOURCE).parts[0] in LAZY:
        return
    for function in functions(tree):
        if function.name == "__getattr__":  # a lazy front door of a part
            continue
        for name, node in imports(function):
            allowed = name.split(".")[0] in OPTIONAL
            assert allowed, f"{path}:{node.lineno}: import '{name}' at the top of the file"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_one_screen_per_idea(path: Path):
    assert len(path.read_text().splitlines()) <= MAX_FILE, f"{path} is longer than {MAX_FILE} lines"
    for function in functions(parse(path)):
        where = f"{path}:{function.lineno}: {function.name}"
        assert body_lines(function) <= MAX_BODY, f"{where} has more than {MAX_BODY} lines"
        if path.name in ("presets.py", "app.py"):  # fields of a config, options of a command
            continue
        names = arguments(function)
        assert len(names) <= MAX_ARGUMENTS, f"{where} has more than {MAX_ARGUMENTS} arguments: {names}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_every_module_says_what_it_is(path: Path):
    text = path.read_text()
    if text.strip():
        assert ast.get_docstring(ast.parse(text)), f"{path} has no docstring"


def test_no_pickle():
    forbidden = re.compile(
        r"^\s*(import|from)\s+(pickle|dill|joblib|shelve|marshal)\b"
        r"|\btorch\.(save|load)\(|\b(c?[pP]ickle|dill|joblib)\.\w+\(|allow_pickle\s*=\s*True"
    )
    assert lines_with(forbidden) == []


def test_what_unpickles_is_never_imported():
    names = {name for path in MODULES for name, _ in imports(parse(path))}
    assert FOREIGN.is_file() and "clebsch.interop.foreign" not in names
    assert not [name for name, _ in imports(parse(FOREIGN)) if name.split(".")[0] == "clebsch"]


def test_every_dependency_has_a_lowest_version():
    """``name>=version`` and nothing else: what ``make lowest`` can install."""
    tomllib = pytest.importorskip("tomllib", reason="part of Python since 3.11")
    stated = tomllib.loads((ROOT / "pyproject.toml").read_text())
    project = stated["project"]
    extras = [name for names in project["optional-dependencies"].values() for name in names]
    for name in [*stated["build-system"]["requires"], *project["dependencies"], *extras]:
        assert re.fullmatch(r"[A-Za-z0-9-]+>=[0-9.]+", name), name


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and name != "_"


def defined(tree: ast.AST) -> Iterator[str]:
    """Every name that ``tree`` gives to a function, a class, a variable or an attribute."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, (ast.Name, ast.Attribute)) and isinstance(node.ctx, ast.Store):
            yield node.id if isinstance(node, ast.Name) else node.attr


def private_uses(tree: ast.AST, own: set[str]) -> Iterator[tuple[str, int]]:
    """Private names, and their lines, that are imported from other packages or are attributes not in ``own``."""
    for name, node in imports(tree):
        if name.split(".")[0] != "clebsch":
            taken = [alias.name for alias in node.names] if isinstance(node, ast.ImportFrom) else []
            yield from ((part, node.lineno) for part in [*name.split("."), *taken] if is_private(part))
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and is_private(node.attr):
            inherited = isinstance(node.value, ast.Call) and ast.unparse(node.value) == "super()"
            if inherited or node.attr not in own:
                yield node.attr, node.lineno


def test_private_names_of_other_packages():
    """They change without notice; a public name with the same numbers, or an entry of ``PRIVATE`` that says why not."""
    trees = {path: parse(path) for folder in ("src", "scripts", "tests") for path in (ROOT / folder).rglob("*.py")}
    own = {name for tree in trees.values() for name in defined(tree)}
    found = [(path, *use) for path, tree in trees.items() for use in private_uses(tree, own)]
    assert not [f"{path}:{line}: {name}" for path, name, line in found if name not in PRIVATE]


def test_private_names_are_noticed():
    method = "def _c(self): super()._c(); self._d = torch._e; self._d._c"
    tree = ast.parse(f"import torch._a\nfrom torch import _b\nclass A:\n {method}\n")
    assert {name for name, _ in private_uses(tree, set(defined(tree)))} == {"_a", "_b", "_c", "_e"}


def test_no_state_of_the_whole_process():
    """No default dtype, no global seed, no environment variable is written by the library."""
    forbidden = re.compile(r"set_default_dtype|torch\.manual_seed|np\.random\.seed|os\.environ\[[^\]]*\]\s*=(?!=)")
    assert lines_with(forbidden) == []


def test_no_modules_without_a_subject():
    assert not [path for path in MODULES if path.stem in ("utils", "helpers", "misc", "common", "tools")]


def test_nothing_speaks_of_one_machine_or_of_its_making():
    """No path of a particular machine, and no word about who or what wrote the text."""
    forbidden = re.compile(r"(?<![\w.])/(home|root|tmp|work|Users)/|\bsessions?\b", re.IGNORECASE)
    texts = [*SOURCE.rglob("*"), *ROOT.glob("*"), *(ROOT / "docs").rglob("*"), *(ROOT / "recipes").rglob("*")]
    for path in texts:
        if path.name == ".git":  # in a worktree, a file that says where the repository is
            continue
        if path.is_file() and path.suffix in (".py", ".md", ".yaml", ".toml", ".txt", ".cff", ""):
            for number, line in enumerate(path.read_text().splitlines(), 1):
                assert not forbidden.search(line), f"{path}:{number}: {line}"


def imported_with(module: str) -> set[str]:
    """Top-level packages in memory after ``import module`` in a fresh interpreter."""
    code = f"import sys, {module}; print(*{{name.split('.')[0] for name in sys.modules}})"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(result.stdout.split())


@pytest.mark.parametrize("module", ["clebsch", "clebsch.cli"])
def test_front_door_is_light(module: str):
    heavy = {"torch", "ase", "numpy", "pydantic", "matplotlib", "scipy", "safetensors"}
    assert not imported_with(module) & heavy
