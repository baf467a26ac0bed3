"""Splitting a data set into a training and a validation part."""

from __future__ import annotations

import numpy as np

from clebsch.errors import DataError


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
