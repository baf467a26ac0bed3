"""Figures: axes side by side, one palette, one style, one way to save."""

from __future__ import annotations

from io import BytesIO
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from clebsch.files import write_file

# Okabe & Ito's palette, which colour-blind readers can tell apart.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")
DOTS_PER_INCH = 160


def figure(columns: int, width: float = 4.2, height: float = 3.8) -> tuple[Figure, list[Axes]]:
    """Return a figure of ``columns`` axes side by side, each ``width`` × ``height`` inches, outside pyplot's state."""
    drawn = Figure(figsize=(width * columns, height), layout="constrained")
    FigureCanvasAgg(drawn)
    return drawn, list(drawn.subplots(1, columns, squeeze=False)[0])


def colours(count: int) -> list[str]:
    """Return ``count`` colours of the palette, repeated if there are more."""
    return list(islice(cycle(PALETTE), count))


def legend(axes: Axes, **style: Any) -> None:
    """Add a legend without frame, of small letters, if anything has a label."""
    if axes.get_legend_handles_labels()[0]:
        axes.legend(**{"frameon": False, "fontsize": "small", **style})


def save_figure(drawn: Figure, path: str | Path) -> Path:
    """Write a figure in the format of the path's suffix, PNG if it has none; raises OutputError if it cannot."""
    content = BytesIO()
    drawn.savefig(content, dpi=DOTS_PER_INCH, format=Path(path).suffix.removeprefix(".") or "png")
    return write_file(path, content.getvalue())
