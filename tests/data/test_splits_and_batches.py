"""Splits and batch orders: complete, without overlap, and the same for the same seed."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clebsch.data import BatchSampler, Blocks, Last, split, split_trajectories
from clebsch.errors import DataError


@given(n=st.integers(1, 200), fraction=st.floats(0.0, 0.9), seed=st.integers(0, 5))
def test_split_is_a_partition(n: int, fraction: float, seed: int):
    train, valid = split(n, int(fraction * n), seed)
    assert sorted([*train, *valid]) == list(range(n))
    assert len(valid) == int(fraction * n)
    assert (np.diff(train) > 0).all()


def test_split_by_number_and_fraction():
    assert [len(part) for part in split(500, 50)] == [450, 50]
    assert [len(part) for part in split(500, 0.1)] == [450, 50]
    assert [len(part) for part in split(5, 0)] == [5, 0]
    np.testing.assert_array_equal(split(500, 50, seed=3)[1], split(500, 0.1, seed=3)[1])
    assert split(500, 50, seed=3)[1].tolist() != split(500, 50, seed=4)[1].tolist()


@pytest.mark.parametrize("valid", [-1, 10, 11, 1.0, 1.5, -0.1, 0.99])
def test_split_leaves_something_to_train_on(valid: float):
    with pytest.raises(DataError, match="leave something of the 10 configurations"):
        split(10, valid)


sizes = st.lists(st.integers(1, 40), max_size=60)


@given(num_atoms=sizes, batch_size=st.integers(1, 9), shuffle=st.booleans(), epoch=st.integers(0, 3))
def test_batches_by_number(num_atoms: list[int], batch_size: int, shuffle: bool, epoch: int):
    batches = BatchSampler(num_atoms, batch_size=batch_size, shuffle=shuffle).batches(epoch)
    assert sorted(index for batch in batches for index in batch) == list(range(len(num_atoms)))
    assert all(len(batch) == batch_size for batch in batches[:-1])


@given(num_atoms=sizes, max_atoms=st.integers(1, 60), shuffle=st.booleans(), epoch=st.integers(0, 3))
def test_batches_by_atoms(num_atoms: list[int], max_atoms: int, shuffle: bool, epoch: int):
    batches = BatchSampler(num_atoms, max_atoms=max_atoms, shuffle=shuffle).batches(epoch)
    assert sorted(index for batch in batches for index in batch) == list(range(len(num_atoms)))
    for batch in batches:
        assert len(batch) == 1 or sum(num_atoms[index] for index in batch) <= max_atoms
    for batch, following in pairwise(batches):
        assert sum(num_atoms[index] for index in [*batch, following[0]]) > max_atoms


def test_order_depends_on_seed_and_epoch_alone():
    sampler = BatchSampler([15] * 50, batch_size=5, seed=7)
    later = [sampler.batches(epoch) for epoch in range(4)]
    assert BatchSampler([15] * 50, batch_size=5, seed=7).batches(3) == later[3]
    assert later[0] != later[1]
    assert BatchSampler([15] * 50, batch_size=5, seed=8).batches(0) != later[0]
    assert BatchSampler([15] * 7, batch_size=3, shuffle=False).batches(9) == [[0, 1, 2], [3, 4, 5], [6]]


@pytest.mark.parametrize("size", [{}, {"batch_size": 5, "max_atoms": 60}, {"batch_size": 0}, {"max_atoms": -1}])
def test_one_size(size: dict[str, Any]):
    with pytest.raises(DataError, match="Give either batch_size or max_atoms"):
        BatchSampler([15] * 3, **size)


def test_the_last_frames_of_every_trajectory():
    kept, held_out = split_trajectories([10, 4], Last(last=0.2))
    assert held_out.tolist() == [8, 9, 13] and kept.tolist() == [*range(8), 10, 11, 12]
    assert split_trajectories([10, 4], Last(last=3))[1].tolist() == [7, 8, 9, 11, 12, 13]


@given(st.integers(1, 300), st.integers(1, 6), st.floats(0.01, 0.9))
def test_blocks_are_consecutive_and_apart(length: int, blocks: int, part: float):
    held_out = Blocks(blocks=blocks, part=part).of(length)
    assert len(set(held_out.tolist())) == len(held_out) == round(length * part)
    assert set(held_out) <= set(range(length))
    assert np.count_nonzero(np.diff(held_out) > 1) < blocks


def test_trajectories_leave_something_to_train_on():
    with pytest.raises(DataError, match="leaves nothing of the 3 configurations"):
        split_trajectories([3], Last(last=3))


@given(st.lists(st.sampled_from([0.1, 0.25, 1.0, 2.5]), min_size=1, max_size=40), st.integers(0, 2**32 - 1))
def test_graphs_are_drawn_as_often_as_is_asked(draws: list[float], seed: int):
    """In 20 epochs each as often as it should, to one; in the long run no graph of a group is preferred."""
    sampler = BatchSampler([1] * len(draws), batch_size=7, seed=seed, draws=draws)
    count = np.zeros(len(draws))
    for epoch in range(20):
        for batch in sampler.batches(epoch):
            np.add.at(count, batch, 1)
    assert np.abs(count - 20 * np.array(draws)).max() <= 1.0


def test_drawn_epochs_depend_on_seed_and_epoch_alone():
    one, two = (BatchSampler([1] * 30, batch_size=4, seed=1, draws=[0.3] * 20 + [2.0] * 10) for _ in range(2))
    one.batches(0)
    assert one.batches(5) == two.batches(5) != one.batches(6)
    assert sorted(i for batch in one.batches(5) for i in batch if i >= 20) == sorted(2 * list(range(20, 30)))


def test_a_validation_part_of_nothing_is_named():
    with pytest.raises(DataError, match=r"'last': 0.1.*takes nothing of 10 files of at most 4 frames.*data\.valid"):
        split_trajectories([4] * 10, Last(last=0.1))
