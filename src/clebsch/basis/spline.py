"""Radial weights as cubic B-splines on a uniform grid of distances."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional

from clebsch.errors import ConfigError

# A node's influence on control points falls by 2 - sqrt(3) = 0.27 per interval, to 5e-19 within REACH of them.
REACH = 32
DENSE = 256  # intervals up to which the interpolation is one matrix; in longer grids, a matrix for every BLOCK of rows
BLOCK = 64


class SplineGrid(nn.Module):
    r"""Cubic B-splines with the knots :math:`r_g = g h`, :math:`h = r_{max} / G`.

    .. math:: R(r) = \sum_{s=0}^{3} b_s(u)\, c_{g+s}, \qquad r = (g + u) h, \quad 0 \le u < 1

    with G + 3 control points c, the last three zero, so that R and its first two derivatives vanish at r_max. They are
    chosen so that R has given values at the nodes r_0 … r_{G-2} and a continuous third derivative at r_1; the error is
    of fourth order in h (de Boor, A Practical Guide to Splines, chapter IV).

    Args:
        intervals: G.
        r_max: cutoff radius in Å.
        dtype: of the arithmetic.

    Raises:
        ConfigError: fewer than 8 intervals.
    """

    nodes: Tensor
    interpolation: Tensor
    pieces: Tensor

    def __init__(self, intervals: int, r_max: float, dtype: torch.dtype) -> None:
        super().__init__()
        self.intervals, self.spacing = intervals, r_max / intervals
        nodes = np.arange(intervals - 1) * self.spacing
        nodes[0] = 1e-6 * self.spacing  # radial functions like sin(r) / r are taken near, not at zero
        interpolation = interpolation_matrix(intervals) if intervals <= DENSE else interpolation_blocks(intervals)
        for name, values in (("nodes", nodes), ("interpolation", interpolation), ("pieces", PIECES)):
            self.register_buffer(name, torch.tensor(values, dtype=dtype), persistent=False)

    @property
    def rows(self) -> int:
        """Number of control points."""
        return self.intervals + 3

    def locate(self, r: Float[Tensor, " edges"]) -> tuple[Int64[Tensor, " edges"], Float[Tensor, "edges 4"]]:
        """Distances in Å to the first of four control points and the values b of their B-splines."""
        scaled = (r / self.spacing).clamp(max=self.intervals)  # longer edges, of lists with a skin, weigh nothing
        index = scaled.detach().floor().clamp(0, self.intervals - 1)
        u = scaled - index
        square = u * u
        return index.long(), torch.stack([torch.ones_like(u), u, square, square * u], dim=1) @ self.pieces

    def control_points(self, values: Float[Tensor, "*blocks nodes width"]) -> Float[Tensor, "*blocks rows width"]:
        """Values at the nodes to control points."""
        if self.interpolation.dim() == 2:
            return self.interpolation @ values
        blocks, _, window = self.interpolation.shape
        behind = (blocks - 1) * BLOCK + window - REACH - values.shape[-2]
        windows = functional.pad(values, (0, 0, REACH, behind)).unfold(-2, window, BLOCK)
        return (self.interpolation @ windows.mT).flatten(-3, -2).narrow(-2, 0, self.rows)


# b_s(u) = sum over the powers of u, one row per power (de Boor, chapter IX).
PIECES = np.array([[1, 4, 1, 0], [-3, 0, 3, 0], [3, -6, 3, 0], [-1, 3, -3, 1]]) / 6


def interpolation_matrix(intervals: int) -> Float[np.ndarray, "rows nodes"]:
    """The matrix [G + 3, G - 1] from values at the nodes 0 … G - 2 to control points."""
    if intervals < 8:
        raise ConfigError(f"spline_intervals: expected at least 8, got {intervals}; 64 to 512 are usual")
    system = np.zeros((intervals, intervals))  # control points -1 … G - 2
    system[0, :5] = [1, -4, 6, -4, 1]
    for node in range(intervals - 1):
        for shift, factor in enumerate((1, 4, 1)):
            if node + shift < intervals:
                system[node + 1, node + shift] = factor / 6
    matrix = np.zeros((intervals + 3, intervals - 1))
    matrix[:intervals] = np.linalg.inv(system)[:, 1:]
    return matrix


def interpolation_blocks(intervals: int) -> Float[np.ndarray, "blocks rows window"]:
    """The blocks of the matrix of a long grid: BLOCK rows each, and the columns within REACH of them.

    All else is below 1e-18. Far from the ends of the grid, the matrix of a short grid is the same but for a shift.
    """
    short = interpolation_matrix(DENSE)
    window = BLOCK + 2 * REACH
    found = np.zeros((-(-(intervals + 3) // BLOCK), BLOCK, window))
    for number, block in enumerate(found):
        shift = min(max(number * BLOCK - DENSE // 2, 0), intervals - DENSE)  # of the short grid along the long one
        first = number * BLOCK - shift
        rows = slice(first, min(first + BLOCK, len(short)))
        columns = slice(max(first - REACH, 0), min(first - REACH + window, DENSE - 1))
        start = columns.start - (first - REACH)
        part = short[rows, columns]
        block[: part.shape[0], start : start + part.shape[1]] = part
    return found
