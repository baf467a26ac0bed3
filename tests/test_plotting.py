"""The plotting layer: colours for any number of things, legends only where there is something, files by suffix."""

from __future__ import annotations

from pathlib import Path

import pytest

from clebsch.plotting import PALETTE, colours, figure, legend, save_figure


def test_colours_repeat():
    assert colours(2) == list(PALETTE[:2])
    assert colours(len(PALETTE) + 1)[-1] == PALETTE[0]


@pytest.mark.parametrize(("name", "start"), [("a.png", b"\x89PNG"), ("a.pdf", b"%PDF"), ("a", b"\x89PNG")])
def test_the_suffix_picks_the_format(tmp_path: Path, name: str, start: bytes):
    drawn, axes = figure(2)
    assert save_figure(drawn, tmp_path / name).read_bytes().startswith(start)
    assert len(axes) == 2


def test_a_legend_needs_labels():
    _, (bare, labelled) = figure(2)
    labelled.plot([0, 1], label="line")
    legend(bare)
    legend(labelled, loc="upper left")
    assert bare.get_legend() is None
    assert [text.get_text() for text in labelled.get_legend().get_texts()] == ["line"]
