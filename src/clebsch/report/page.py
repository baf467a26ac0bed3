"""One HTML page that needs nothing else: sections, tables, charts and structures, their JavaScript inlined once."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

from clebsch.errors import BackendError
from clebsch.files import write_file
from clebsch.version import __version__

STYLE = """
body { font-family: system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; color: #1b1b1b; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.2rem; border-bottom: 1px solid #ddd; }
table { border-collapse: collapse; font-size: 0.9rem; } td, th { padding: 0.25rem 0.7rem; text-align: right; }
td:first-child, th:first-child { text-align: left; } th { border-bottom: 1px solid #888; }
tr.published td { color: #666; font-style: italic; } pre { background: #f6f6f6; padding: 0.8rem; overflow: auto; }
.chart { width: 100%; height: 26rem; } .structures { width: 100%; height: 38rem; border: 0; }
footer { color: #777; margin: 3rem 0; }
"""
VIEWER_STYLE = (
    "body { margin: 0; font-family: system-ui, sans-serif; } #structure { height: 30rem; position: relative; }"
)
START_VIEWER = (
    "Chemiscope.StructureVisualizer.load({meta: 'meta', structure: 'structure', info: 'info'}, dataset, "
    "new Chemiscope.Warnings());"
)


@dataclass
class Page:
    """A report in the making.

    Args:
        title: of the page.
    """

    title: str
    parts: list[str] = field(default_factory=list)
    charts: list[dict[str, Any]] = field(default_factory=list)

    def section(self, heading: str, text: str = "") -> None:
        """Begin a section."""
        self.parts.append(f"<h2>{html.escape(heading)}</h2>")
        if text:
            self.parts.append(f"<p>{html.escape(text)}</p>")

    def code(self, text: str) -> None:
        """Add text as it is."""
        self.parts.append(f"<pre>{html.escape(text)}</pre>")

    def table(self, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Add a table; a row whose first cell is *in asterisks* is shown as a published one."""
        lines = [f"<tr>{''.join(f'<th>{html.escape(cell)}</th>' for cell in head)}</tr>"]
        for row in rows:
            published = row[0].startswith("*") and row[0].endswith("*")
            cells = [row[0].strip("*"), *row[1:]]
            kind = ' class="published"' if published else ""
            lines.append(f"<tr{kind}>{''.join(f'<td>{html.escape(cell)}</td>' for cell in cells)}</tr>")
        self.parts.append(f"<table>{''.join(lines)}</table>")

    def markdown(self, text: str) -> None:
        """Add the headings, paragraphs and tables of a Markdown text that this library has written."""
        for block in re.split(r"\n\s*\n", text.strip()):
            if block.startswith("# "):
                self.section(block.removeprefix("# "))
            elif block.startswith("|"):
                head, _, *rows = [[c.strip() for c in line.strip()[1:-1].split("|")] for line in block.splitlines()]
                self.table(head, rows)
            else:
                self.parts.append(f"<p>{html.escape(block)}</p>")

    def chart(self, traces: Sequence[dict[str, Any]], layout: dict[str, Any]) -> None:
        """Add a plotly chart: its traces and layout as plotly.js reads them; nothing without traces."""
        if not traces:
            return
        self.parts.append(f'<div class="chart" id="chart{len(self.charts)}"></div>')
        margins = {"margin": {"t": 40, "r": 20}, "legend": {"font": {"size": 11}}}
        self.charts.append({"data": list(traces), "layout": {**margins, **layout}})

    def structure_viewer(self, dataset: dict[str, Any]) -> None:
        """Add 3D structures with properties to choose them by: a data set of chemiscope.

        They are a document of their own inside the page, since chemiscope and plotly style the same elements.
        """
        panes = "".join(f'<div id="{part}"></div>' for part in ("meta", "structure", "info"))
        document = (
            f"<!doctype html><html><head><style>{VIEWER_STYLE}</style><script>{_chemiscope_js()}</script></head>"
            f"<body>{panes}<script>const dataset = {_json(dataset)};{START_VIEWER}</script></body></html>"
        )
        self.parts.append(f'<iframe class="structures" srcdoc="{html.escape(document)}"></iframe>')

    def write(self, path: str | Path) -> Path:
        """Write the page and return its path.

        Raises:
            BackendError: plotly or chemiscope, whose JavaScript is inlined, is not installed.
            OutputError: the file cannot be written.
        """
        scripts = [f"<script>{_plotly_js()}</script>"] if self.charts else []
        content = (
            f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(self.title)}</title>'
            f"<style>{STYLE}</style>{''.join(scripts)}</head><body><h1>{html.escape(self.title)}</h1>"
            f"{''.join(self.parts)}<footer>clebsch {__version__}</footer>"
            f"<script>{_start(self.charts)}</script></body></html>"
        )
        return write_file(path, content)


def _start(charts: list[dict[str, Any]]) -> str:
    """What draws the charts once the page is there."""
    if not charts:
        return ""
    draw = "charts.forEach((c, i) => Plotly.newPlot('chart' + i, c.data, c.layout, {responsive: true}));"
    return f"const charts = {_json(charts)};{draw}"


def _json(content: Any) -> str:
    """JSON that may stand inside a script element, in which no tag and no comment can begin."""
    return json.dumps(content, allow_nan=False).replace("<", "\\u003c")


def _plotly_js() -> str:
    try:
        from plotly.offline import get_plotlyjs
    except ImportError:
        raise BackendError("A report needs plotly: pip install 'clebsch[report]'.") from None
    return get_plotlyjs().replace("</script", "<\\/script")


def _chemiscope_js() -> str:
    try:
        source = files("chemiscope") / "sphinx" / "static" / "chemiscope.min.js"
    except ModuleNotFoundError:
        raise BackendError("A report with structures needs chemiscope: pip install 'clebsch[report]'.") from None
    return source.read_text(encoding="utf-8").replace("</script", "<\\/script")
