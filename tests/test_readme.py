"""What the README shows runs, in the order it is shown, and prints what it says.

A fence after ``<!-- runnable -->`` is executed; after ``<!-- runnable: name -->`` it is a file of that name.
A text fence that follows a runnable one is its output.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from programs import needs_compiler, needs_engines, needs_lammps

ROOT = Path(__file__).resolve().parents[1]
FENCE = re.compile(
    r"<!-- runnable(?:: (?P<file>\S+))? -->\n```(?P<language>\w+)\n(?P<code>.*?)```(?:\n+```text\n(?P<output>.*?)```)?",
    re.DOTALL,
)
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
RUNNABLE = [path for path in DOCUMENTS if FENCE.search(path.read_text())]


def environment(folder: Path) -> dict[str, str]:
    """This environment, with a ``clebsch`` on the path that is this interpreter's."""
    programs = folder / "programs"
    programs.mkdir()
    script = programs / "clebsch"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m clebsch "$@"\n')
    script.chmod(0o755)
    return {**os.environ, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}


MARKS = {"compiled.md": needs_compiler, "lammps.md": needs_lammps, "engines.md": needs_engines}


@pytest.mark.parametrize(
    "path", [pytest.param(path, marks=MARKS.get(path.name, ()), id=path.name) for path in RUNNABLE]
)
def test_what_is_shown_runs(path: Path, tmp_path: Path):
    variables = environment(tmp_path)
    commands = {"python": [sys.executable, "-c"], "bash": ["bash", "-euo", "pipefail", "-c"]}
    for block in FENCE.finditer(path.read_text()):
        if block["file"]:
            (tmp_path / block["file"]).write_text(block["code"])
            continue
        command = [*commands[block["language"]], block["code"]]
        result = subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True)
        assert result.returncode == 0, f"{block['code']}\n{result.stdout}\n{result.stderr}"
        if block["output"]:
            assert result.stdout.strip() == block["output"].strip()


def test_the_readme_is_among_them():
    assert ROOT / "README.md" in RUNNABLE


def anchors(path: Path) -> set[str]:
    """Names of the headings of a document, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", [*DOCUMENTS, ROOT / "CONTRIBUTING.md"], ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path):
    for target, anchor in re.findall(r"\]\(([^)#]*)(?:#([^)]*))?\)", path.read_text()):
        if target.startswith("https://"):
            continue
        linked = path.parent / target if target else path
        assert linked.exists(), f"{path}: {target}"
        assert not anchor or anchor in anchors(linked), f"{path}: {target}#{anchor}"
