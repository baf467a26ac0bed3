"""How often configurations are drawn, by config_type or file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import ase.io
import pytest

from clebsch.data import LabelKeys, PackedGraphs, build_graphs, read_configurations, write_pack
from clebsch.errors import ConfigError
from clebsch.run import run
from clebsch.training import FitResult
from clebsch.training.draws import draws_of
from small_runs import recipe

ELEMENTS = ("Cu", "Au")


def test_names_are_config_types_or_files(alloy_file: Path, tmp_path: Path):
    frames = read_configurations(alloy_file, LabelKeys(), ":4")
    frames[1] = replace(frames[1], config_type="surface")
    frames[2] = replace(frames[2], origin="data/cheap_md.xyz, frame 7")
    draws = {"surface": 3.0, "cheap*": 0.1}
    packed = PackedGraphs(write_pack(frames, tmp_path / "pack"), ELEMENTS, 3.5)
    for graphs in (build_graphs(frames, ELEMENTS, 3.5), packed):
        assert draws_of(graphs, draws) == [1.0, 3.0, 0.1, 1.0]
        assert draws_of(graphs, {}) is None
        with pytest.raises(ConfigError, match=r"'surfaces'.*Did you mean 'surface'\?"):
            draws_of(graphs, {"surfaces": 2.0})


def test_an_epoch_has_the_configurations_that_are_drawn(alloy_file: Path, tmp_path: Path):
    """Of nine training configurations a third: three steps of one."""
    path = tmp_path / "cheap.xyz"
    ase.io.write(path, ase.io.read(alloy_file, ":"))
    train = {"max_epochs": 2, "batch_size": 1, "draws": {"cheap.xyz": 1 / 3}}
    result = run(recipe(path, tmp_path / "run", data={"train": str(path), "valid": 3}, train=train))
    assert isinstance(result.fit, FitResult)
    assert [record["step"] for record in result.fit.history] == [3, 6]


def test_an_epoch_draws_something(alloy_file: Path):
    graphs = build_graphs(read_configurations(alloy_file, LabelKeys(), ":4"), ELEMENTS, 3.5)
    with pytest.raises(ConfigError, match=r"an epoch draws 0\.4 of 4 configurations"):
        draws_of(graphs, {"*": 0.1})
