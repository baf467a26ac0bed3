"""Single faults of Python source: where one can be planted, and the text of the file that has it."""

from __future__ import annotations

import ast
import copy
import difflib
from collections.abc import Iterator
from dataclasses import dataclass

COMPARISONS = {
    ast.Lt: ast.GtE, ast.LtE: ast.Gt, ast.Gt: ast.LtE, ast.GtE: ast.Lt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
ARITHMETIC = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
}  # fmt: skip
SYMMETRIC = {"min", "max", "isinstance", "minimum", "maximum", "allclose", "isclose", "array_equal", "equal", "dot"}
SELF_CONTAINED = (ast.Constant, ast.Name, ast.Attribute, ast.Call, ast.Subscript)  # as a part of any expression
SIZES = {"abs", "sqrt"}
TALK = {"logger", "warnings", "console", "say", "warn", "print", "track"}  # what is only said


@dataclass(frozen=True)
class Fault:
    """One fault: of which kind, in which function of which file, and the source with it."""

    path: str
    line: int
    function: str
    kind: str
    source: str

    def diff(self, original: str) -> str:
        """The lines that change."""
        lines = difflib.unified_diff(original.splitlines(), self.source.splitlines(), lineterm="", n=0)
        return "\n".join(line for line in list(lines)[2:] if not line.startswith("@@"))


def faults_of(path: str, source: str) -> list[Fault]:
    """Every fault of a file, in the order of its lines."""
    tree = ast.parse(source)
    found = []
    for node, function in _nodes(tree, ""):
        for kind, replacement in _replacements(node):
            text = _replaced(source, node, replacement)
            try:
                ast.parse(text)
            except SyntaxError:
                continue
            found.append(Fault(path, node.lineno, function, kind, text))
    return found


def functions_of(source: str) -> dict[int, str]:
    """The qualified name of every function by the lines on which its code may say it begins."""
    found: dict[int, str] = {}

    def visit(node: ast.AST, outer: str) -> None:
        for child in ast.iter_child_nodes(node):
            name = outer
            if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                name = f"{outer}.{child.name}".lstrip(".")
                if not isinstance(child, ast.ClassDef):
                    first = min([child.lineno, *(decorator.lineno for decorator in child.decorator_list)])
                    found.update(dict.fromkeys(range(first, child.lineno + 1), name))
            visit(child, name)

    visit(ast.parse(source), "")
    return found


def _nodes(node: ast.AST, function: str) -> Iterator[tuple[ast.AST, str]]:
    """All nodes that a fault may be in, with the function around them; texts, types and messages are left out."""
    for child in _inside(node):
        inner = function
        if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            inner = f"{function}.{child.name}".lstrip(".")
        yield child, inner
        yield from _nodes(child, inner)


def _inside(node: ast.AST) -> Iterator[ast.AST]:
    left_out: list[ast.AST] = []
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        left_out = [*node.decorator_list, *([node.returns] if node.returns else [])]
    elif isinstance(node, ast.ClassDef):
        left_out = list(node.decorator_list)
    elif isinstance(node, ast.arg):
        return
    elif isinstance(node, ast.AnnAssign):
        left_out = [node.annotation]
    elif isinstance(node, ast.Assert):
        left_out = [node.msg] if node.msg else []
    for child in ast.iter_child_nodes(node):
        if child not in left_out and not _is_talk(child):
            yield child


def _is_talk(node: ast.AST) -> bool:
    """Texts, messages, and functions that only make errors; code for type checkers."""
    if isinstance(node, (ast.JoinedStr, ast.Import, ast.ImportFrom)):
        return True
    if isinstance(node, ast.keyword):
        return node.arg == "strict"  # of zip, where lengths are always equal
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.returns is not None:
        return ast.unparse(node.returns).strip("'\"").endswith("Error")
    if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
        return True
    if isinstance(node, ast.Assign) and any(ast.unparse(target) == "__all__" for target in node.targets):
        return True
    if isinstance(node, ast.Call):
        name = ast.unparse(node.func)
        return name.split(".")[0] in TALK or name.split(".")[-1].endswith(("Error", "Exit", "TypeVar", "field"))
    return False


def _replacements(node: ast.AST) -> Iterator[tuple[str, str]]:
    """Kind and text of what may stand in place of a node."""
    if isinstance(node, ast.expr):
        for kind, other in _other_expressions(node):
            text = ast.unparse(ast.fix_missing_locations(other))
            yield kind, text if isinstance(other, SELF_CONTAINED) and text[0] != "-" else f"({text})"
    elif _can_be_dropped(node):
        yield "statement dropped", "pass"
    if isinstance(node, ast.AugAssign) and type(node.op) in ARITHMETIC:
        other = copy.deepcopy(node)
        other.op = ARITHMETIC[type(node.op)]()
        yield "operator", ast.unparse(other)


def _can_be_dropped(node: ast.AST) -> bool:
    """Whether the program goes on without a statement: a call, a change in place, an error, the next turn of a loop."""
    if isinstance(node, ast.Expr):
        return not isinstance(node.value, (ast.Constant, ast.Yield, ast.YieldFrom)) and not _is_talk(node.value)
    if isinstance(node, ast.Assign):
        return all(isinstance(target, (ast.Attribute, ast.Subscript)) for target in node.targets)
    return isinstance(node, (ast.AugAssign, ast.Raise, ast.Continue, ast.Break))


def _other_expressions(node: ast.expr) -> Iterator[tuple[str, ast.expr]]:
    other: ast.expr = copy.deepcopy(node)
    if isinstance(node, ast.Compare) and type(node.ops[0]) in COMPARISONS:
        other.ops[0] = COMPARISONS[type(node.ops[0])]()  # type: ignore[attr-defined]
        yield "comparison", other
    elif isinstance(node, ast.BinOp) and type(node.op) in ARITHMETIC and not _has_text(node):
        other.op = ARITHMETIC[type(node.op)]()  # type: ignore[attr-defined]
        yield "operator", other
    elif isinstance(node, ast.BoolOp):
        other.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()  # type: ignore[attr-defined]
        yield "and, or", other
    elif isinstance(node, ast.UnaryOp):
        yield "sign or not", node.operand
    elif isinstance(node, ast.Constant):
        yield from (("constant", ast.Constant(value)) for value in _other_constants(node.value))
    elif isinstance(node, ast.Call):
        yield from _other_calls(node)
    elif isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Slice) and isinstance(node.ctx, ast.Load):
        for bound in ("lower", "upper"):
            value = getattr(node.slice, bound)
            if value is not None:
                moved = copy.deepcopy(node)
                setattr(moved.slice, bound, ast.BinOp(value, ast.Add(), ast.Constant(1)))
                yield "slice", moved


def _other_constants(value: object) -> tuple[object, ...]:
    if isinstance(value, bool):
        return (not value,)
    if isinstance(value, int):
        return (value + 1, -value) if value else (value + 1,)
    if isinstance(value, float) and value:
        return (value * 1.001, -value)
    return ()


def _other_calls(node: ast.Call) -> Iterator[tuple[str, ast.expr]]:
    name = ast.unparse(node.func).split(".")[-1]
    if name in SIZES and isinstance(node.func, ast.Attribute) and not node.args:
        yield "size removed", node.func.value
    elif name in SIZES and len(node.args) == 1:
        yield "size removed", node.args[0]
    plain = len(node.args) >= 2 and not any(isinstance(arg, ast.Starred) for arg in node.args[:2])
    if plain and name not in SYMMETRIC and ast.unparse(node.args[0]) != ast.unparse(node.args[1]):
        other = copy.deepcopy(node)
        other.args[:2] = reversed(other.args[:2])
        yield "arguments swapped", other


def _has_text(node: ast.BinOp) -> bool:
    """Whether texts are added or formatted."""
    sides = (node.left, node.right)
    return any(isinstance(x, ast.JoinedStr) or isinstance(getattr(x, "value", None), str) for x in sides)


def _replaced(source: str, node: ast.AST, text: str) -> str:
    """The source with other text in place of a node; its columns count bytes."""
    lines = source.encode().splitlines(keepends=True)
    first, last = node.lineno - 1, node.end_lineno - 1  # type: ignore[attr-defined]
    before = b"".join(lines[:first]) + lines[first][: node.col_offset]  # type: ignore[attr-defined]
    after = lines[last][node.end_col_offset :] + b"".join(lines[last + 1 :])  # type: ignore[attr-defined]
    return (before + text.encode() + after).decode()
