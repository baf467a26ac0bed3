"""Packs: what is written is read, one by one and in columns; damage is noticed; training is that on a list."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.calculators.emt import EMT

import clebsch
from clebsch.data import (
    Configuration,
    LabelKeys,
    Pack,
    PackedGraphs,
    build_graphs,
    elements_of,
    find_elements,
    fit_e0,
    is_pack,
    labelled,
    read_configurations,
    sizes_of,
    some_of,
    stretches_of,
    write_pack,
)
from clebsch.errors import DamagedFileError, DataError
from clebsch.run import run
from small_runs import recipe


def frames_of_all_kinds() -> list[Configuration]:
    """A crystal, a molecule with energy alone, one with forces alone and weights, an isolated atom."""
    crystal = bulk("Cu", cubic=True)
    crystal.rattle(0.1, seed=0)
    crystal.calc = EMT()
    crystal.get_stress()
    first = Configuration.from_atoms(crystal, LabelKeys(), "a.xyz, frame 3")
    water = molecule("H2O")
    second = Configuration(water.numbers, water.positions, labels={"energy": np.array(-3.5)}, origin="b.xyz, frame 0")
    third = Configuration(
        water.numbers, water.positions + 1, labels={"forces": water.positions}, weights={"forces": 2.0},
        config_type="pushed", origin="somewhere",
    )  # fmt: skip
    atom = Configuration(np.array([29]), np.zeros((1, 3)), labels={"energy": np.array(1.5)}, origin="c, frame 9")
    return [first, second, third, replace(first, origin="a.xyz, frame 4"), atom]


def equal(one: Configuration, other: Configuration) -> bool:
    """Whether two configurations are the same, bit for bit."""
    arrays = all(
        np.array_equal(getattr(one, name), getattr(other, name)) for name in ("numbers", "positions", "pbc", "cell")
    )
    labels = one.labels.keys() == other.labels.keys() and all(
        np.array_equal(one.labels[name], other.labels[name]) for name in one.labels
    )
    rest = (one.weights, one.config_type, one.origin) == (other.weights, other.config_type, other.origin)
    return arrays and labels and rest


@pytest.mark.parametrize("frames_per_shard", [1, 2, 10])
def test_what_is_written_is_read(tmp_path: Path, frames_per_shard: int):
    frames = frames_of_all_kinds()
    pack = write_pack(iter(frames), tmp_path / "pack", frames_per_shard)
    assert is_pack(tmp_path / "pack") and not is_pack(tmp_path)
    assert len(pack) == 5 and all(equal(*pair) for pair in zip(pack, frames, strict=True))
    chosen = pack.select([3, 1])
    assert equal(chosen[0], frames[3]) and equal(chosen[-1], frames[1]) and len(chosen[:]) == 2
    with pytest.raises(IndexError):
        pack[5]


def test_columns_say_what_a_list_says(tmp_path: Path):
    frames = frames_of_all_kinds()
    pack = write_pack(frames, tmp_path / "pack", 2)
    assert elements_of(pack) == find_elements(frames) == ("H", "O", "Cu")
    assert sizes_of(pack) == sizes_of(frames) == [4, 3, 3, 4, 1]
    for name in ("energy", "forces", "stress", "dipole"):
        assert labelled(pack, name).tolist() == labelled(frames, name).tolist()
    assert pack.isolated().tolist() == [False] * 4 + [True]
    assert pack.files == ["a.xyz", "b.xyz", "somewhere", "a.xyz", "c"]
    assert pack.compositions(("Cu", "H")).tolist() == [[4, 0], [0, 2], [0, 2], [4, 0], [1, 0]]
    assert fit_e0(pack, ("H", "O", "Cu")) == fit_e0(frames, ("H", "O", "Cu"))
    assert [frame.origin for frame in some_of(pack, 2)] == ["a.xyz, frame 3", "c, frame 9"]


def test_weights_by_config_type(tmp_path: Path):
    pack = write_pack(frames_of_all_kinds(), tmp_path / "pack")
    weighted = pack.weighted({"pushed": {"forces": 0.0}})
    assert weighted[2].weights == {"forces": 0.0} and pack[2].weights == {"forces": 2.0}
    assert pack.counts("forces").tolist() == [True, False, True, True, False]
    assert weighted.counts("forces").tolist() == [True, False, False, True, False]
    assert len({pack.digest, weighted.digest, pack.select([0]).digest, pack.select([1]).digest}) == 4


def test_damage_is_noticed(tmp_path: Path):
    folder = tmp_path / "pack"
    write_pack(frames_of_all_kinds(), folder)
    with pytest.raises(DataError, match="not empty"):
        write_pack(frames_of_all_kinds(), folder)
    with pytest.raises(DataError, match="nothing to pack"):
        write_pack([], tmp_path / "other")
    path = folder / "shard-00000" / "positions.npy"
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    with pytest.raises(DamagedFileError, match=r"positions\.npy is not what the index says"):
        Pack.open(folder)
    path.unlink()
    with pytest.raises(DamagedFileError, match="no whole pack"):
        Pack.open(folder)
    for text in (
        "",
        "[]",
        "{}",
        '{"shards": [{}]}',
        json.dumps({"format": "clebsch pack", "version": 99, "shards": []}),
    ):
        (folder / "index.json").write_text(text)
        with pytest.raises(DamagedFileError, match="no whole pack"):
            Pack.open(folder)


def test_graphs_are_those_of_a_list(tmp_path: Path):
    """Also where they were expected, or others were."""
    frames = frames_of_all_kinds()
    elements, r_max = ("H", "O", "Cu"), 3.0
    graphs = PackedGraphs(write_pack(frames, tmp_path / "pack", 2), elements, r_max)
    graphs.expect([0, 1])
    graphs.expect([1, 2])
    for index, expected in enumerate(build_graphs(frames, elements, r_max)):
        found = graphs[index]
        assert found.positions.equal(expected.positions) and found.neighbors.equal(expected.neighbors)
        assert found.labels.keys() == expected.labels.keys() and found.origin == expected.origin


def test_training_on_a_pack_is_training_on_a_list(alloy_file: Path, tmp_path: Path):
    """The same errors to the last bit: order, weights, statistics and splits do not depend on where the data are."""
    write_pack(read_configurations(alloy_file), tmp_path / "pack", 5)
    for name, train in (("list", alloy_file), ("packed", tmp_path / "pack")):
        data = {"train": str(train), "valid": {"last": 3}, "tests": {"same": str(train)}}
        run(recipe(alloy_file, tmp_path / name, data=data))
    one, two = (json.loads((tmp_path / name / "results.json").read_text()) for name in ("list", "packed"))
    assert one["errors"] == two["errors"] and one["statistics"] == two["statistics"]


def test_a_pack_stands_alone(alloy_file: Path, tmp_path: Path):
    write_pack(read_configurations(alloy_file), tmp_path / "pack")
    for change, message in (
        ({"train": [str(tmp_path / "pack"), str(alloy_file)]}, "A pack stands alone"),
        ({"train": str(tmp_path / "pack"), "units": {"energy": "kcal/mol"}}, r"units \(eV and Å\) were chosen"),
    ):
        with pytest.raises(DataError, match=message):
            run(recipe(alloy_file, tmp_path / "run", data=change))


def test_elements_are_those_of_the_selected(tmp_path: Path):
    frames = frames_of_all_kinds()
    pack = write_pack(frames, tmp_path / "pack", 2)
    assert pack.select([1]).elements == ("H", "O") and pack.select([3, 4]).elements == ("Cu",)


def test_stretches_are_consecutive(tmp_path: Path):
    """So that a time series is still one; a list is left as it is."""
    frame = frames_of_all_kinds()[1]
    frames = [replace(frame, origin=f"a.xyz, frame {number}") for number in range(100)]
    found = [int(item.origin.split()[-1]) for item in stretches_of(write_pack(frames, tmp_path / "pack"), 20)]
    assert len(found) == 20 and found[:4] == [0, 1, 2, 3] and found[-4:] == [96, 97, 98, 99]
    assert np.count_nonzero(np.diff(found) == 1) == 15
    assert stretches_of(frames, 20) is frames


def test_a_pack_is_evaluated_like_its_file(alloy_file: Path, tmp_path: Path):
    result = run(recipe(alloy_file, tmp_path / "run"))
    write_pack(read_configurations(alloy_file), tmp_path / "pack")
    one, two = (clebsch.evaluate(result.potential, path) for path in (alloy_file, tmp_path / "pack"))
    assert one.as_dict() == two.as_dict()
