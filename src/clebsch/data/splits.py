"""Splitting a data set into a training and a validation part."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import numpy as np
from pydantic import AfterValidator, Field

from clebsch.config import StrictConfig
from clebsch.errors import DataError


def _part(value: int | float) -> int | float:
    """A number, or a fraction below 1."""
    if isinstance(value, float) and value >= 1.0:
        raise ValueError("a fraction must be below 1; a number of frames is an integer")
    return value


Part = Annotated[int | float, Field(gt=0), AfterValidator(_part)]


class Last(StrictConfig):
    """The last frames of every trajectory.

    Attributes:
        last: number (integer) or fraction (below 1) of the frames of every file.
    """

    last: Part

    def of(self, length: int) -> np.ndarray:
        """Return the indices that are set aside of a trajectory of so many frames."""
        return np.arange(length - _count(length, self.last), length)


class Blocks(StrictConfig):
    """Blocks of consecutive frames of every trajectory, at equal distances.

    Attributes:
        blocks: number of blocks.
        part: number (integer) or fraction (below 1) of the frames of every file, of all blocks together.
    """

    blocks: int = Field(ge=1)
    part: Part = 0.1

    def of(self, length: int) -> np.ndarray:
        """Return the indices that are set aside of a trajectory of so many frames."""
        count = _count(length, self.part)
        blocks = max(1, min(self.blocks, count))
        sizes = [len(part) for part in np.array_split(np.arange(count), blocks)]
        centres = (np.arange(blocks) + 0.5) * length / blocks
        starts = [round(centre - size / 2) for centre, size in zip(centres, sizes, strict=True)]
        return np.concatenate([np.arange(start, start + size) for start, size in zip(starts, sizes, strict=True)])


def split_trajectories(lengths: Sequence[int], valid: Last | Blocks) -> tuple[np.ndarray, np.ndarray]:
    """Return (training, validation) indices, both ascending, of trajectories one after another.

    Frames along a trajectory are alike, so that a part drawn at random would have near copies in the training set.

    Args:
        lengths: numbers of frames.
        valid: what is set aside of each.

    Raises:
        DataError: nothing is left to train on.
    """
    starts = np.cumsum([0, *lengths])
    chosen = [start + valid.of(length) for start, length in zip(starts, lengths, strict=False)]
    held_out = np.unique(np.concatenate([*chosen, np.zeros(0, dtype=np.int64)]).astype(np.int64))
    if not len(held_out):
        longest = max(lengths, default=0)
        raise DataError(
            f"The validation part {valid.model_dump()} takes nothing of {len(lengths)} files of at most {longest} "
            "frames. Take a larger part of each (data.valid), or draw it at random: data.valid: 0.1."
        )
    kept = np.setdiff1d(np.arange(starts[-1]), held_out)
    if not len(kept):
        raise DataError(
            f"The validation part {valid.model_dump()} leaves nothing of the {starts[-1]} configurations to train on."
        )
    return kept, held_out


def _count(length: int, part: int | float) -> int:
    """Number of frames that are set aside, no more than there are."""
    return min(round(length * part) if isinstance(part, float) else part, length)


def split(n: int, valid: int | float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return (training, validation) indices of ``n`` configurations, both ascending.

    The validation part is drawn without replacement by ``numpy.random.default_rng(seed)``.

    Args:
        n: number of configurations.
        valid: size of the validation part: a number of configurations (int), or a fraction below 1 (float).
        seed: seed of the generator.

    Raises:
        DataError: the validation part is negative or leaves nothing to train on.
    """
    fraction = isinstance(valid, float)
    count = round(n * valid) if fraction else int(valid)
    if valid < 0 or count >= n or (fraction and valid >= 1.0):
        kind = "a fraction below 1.0" if fraction else "a number of configurations"
        raise DataError(
            f"The validation part ({kind}) must be at least 0 and leave something of the {n} configurations to train "
            f"on, got {valid!r}."
        )
    order = np.random.default_rng(seed).permutation(n)
    return np.sort(order[count:]), np.sort(order[:count])
