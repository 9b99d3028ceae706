"""The full ranking on the half of its rewards nearer the top: the optimum is symmetric.

Unknown are e_1, ..., e_h: the gaps between the h top rewards that differ, and the distance from the
last of them to the middle. The first reward may stand for a group of `tied` completions. The two
halves mirror each other, so each pair on one side counts twice, and the pairs across the middle
have gaps C_i + C_j with C_i the distance to the middle: sums of positive terms, as are the gradient
and the Hessian, whatever the size of the gaps (docs/theory.md#in-the-gaps).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from collapse_theory.lazy import special
from collapse_theory.utilities import Utility


@dataclass(frozen=True)
class SymmetricRanking:
    """The program of n completions on their upper half; `tied` of them share each end."""

    utility: Utility
    n: int
    tied: int = 1

    @property
    def size(self) -> int:
        """The number of unknowns."""
        return self.n // 2 - self.tied + 1

    def gaps(self, e: np.ndarray) -> np.ndarray:
        """Return all n-1 gaps between neighbours, the tied ones 0."""
        half = np.concatenate([np.zeros(self.tied - 1), e])
        if self.n % 2:
            return np.concatenate([half, half[::-1]])
        return np.concatenate([half[:-1], [2 * half[-1]], half[:-1][::-1]])

    def derivatives(self, e: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return gradient (h,) and negative Hessian (h, h) of half the sum over pairs."""
        masks = _masks(len(e))
        centre, x = self._pair_gaps(e, masks)
        first, second = self.utility.derivatives(x)
        second = -second
        if self.tied > 1:
            weights = np.outer(self._counts, self._counts)
            first, second = first * weights, second * weights
        side_first, across_first = masks.split(first)
        side, across = masks.split(second)
        to_middle, bend = across_first.sum(axis=1), across.sum(axis=1)
        if self.n % 2:
            # The completion in the middle, at distance C_i from each.
            c_first, c_second = self.utility.derivatives(centre)
            to_middle = to_middle + self._counts * c_first
            bend = bend - self._counts * c_second
        gradient = to_middle.cumsum()
        beyond = side_first[:, ::-1].cumsum(axis=1)[:, ::-1].cumsum(axis=0)
        gradient[:-1] += beyond.diagonal(1)
        return gradient, _hessian(side, across, bend, masks)

    def force_on_tied(self, e: np.ndarray) -> float:
        """Return the sum of U' from one tied completion to all the others that are elsewhere."""
        tops = np.concatenate([[0.0], np.cumsum(e[:-1])])[1:]
        below = np.cumsum(e[::-1])[::-1]
        distances = np.concatenate([tops, below[0] + below])
        counts = np.concatenate([np.ones(len(e) - 1), self._counts])
        if self.n % 2:
            distances, counts = np.append(distances, below[0]), np.append(counts, 1.0)
        return float(np.sum(counts * self.utility.slope(distances)))

    # ------------------------------------------------------------------------------------

    @property
    def _counts(self) -> np.ndarray:
        counts = np.ones(self.size)
        counts[0] = self.tied
        return counts

    def _pair_gaps(self, e: np.ndarray, masks: _Masks) -> tuple[np.ndarray, np.ndarray]:
        """Return C and one matrix: above the diagonal t_j - t_i, else C_i + C_j."""
        centre = e[::-1].cumsum()[::-1]
        steps = np.empty_like(e)
        steps[0], steps[1:] = 0.0, e[:-1]
        side = np.where(masks.upper, steps, 0.0).cumsum(axis=1)
        return centre, np.where(masks.upper, side, centre[:, None] + centre)


@dataclass(frozen=True)
class _Masks:
    upper: np.ndarray  # j > i
    lower: np.ndarray  # j < i
    least: np.ndarray  # min(i, j)

    def split(self, packed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the pairs on one side, and the full symmetric matrix of those across."""
        below = np.where(self.lower, packed, 0.0)
        across = np.where(self.upper, 0.0, packed) + below.T
        return np.where(self.upper, packed, 0.0), across


@lru_cache(maxsize=8)
def _masks(h: int) -> _Masks:
    order = np.arange(h)
    rows = order[:, None]
    return _Masks(order > rows, order < rows, np.minimum(order, rows))


def _hessian(side: np.ndarray, across: np.ndarray, bend: np.ndarray, masks: _Masks) -> np.ndarray:
    # Pairs on one side that straddle both k and l: i <= min(k, l), j > max(k, l).
    beyond = side[:, ::-1].cumsum(axis=1)[:, ::-1]
    both = np.zeros_like(side)
    beyond[:, 1:].cumsum(axis=0, out=both[:, :-1])
    both = np.where(masks.lower, both.T, both)
    # Pairs across the middle, once or twice in each gap.
    both += across.cumsum(axis=0).cumsum(axis=1)
    both += bend.cumsum()[masks.least]
    return both


def initial_gaps(utility: Utility, n: int, tiny: bool = False) -> np.ndarray:
    """Return half gaps with sum 1/2 from the quantiles of Beta((1-p)/2, (1-p)/2).

    p is U's exponent at gaps of about 1/n, or with `tiny` at 0: the limit law of a power x**p is
    that Beta law.
    """
    x = np.array([0.3 / n])
    with np.errstate(all="ignore"):  # flat there, 0/0, or a steep pole
        first, second = utility.derivatives(x)
        p = utility.exponent if tiny else float((1 + x * second / first)[0])
    a = min(max((1 - p) / 2, 1e-3), 1.0) if np.isfinite(p) else 1.0
    h = n // 2
    places = special.betaincinv(a, a, (np.arange(1, h + 1) - 0.5) / n)
    e = np.diff(np.append(places, 0.5))
    if n % 2 == 0:
        e[-1] = max(e[-1], 0.25 / n * e.max())
    if not tiny:
        e = e / 2 + 0.25 / h
    e = np.maximum(e, 1e-280)  # within float64, with room to fall further
    return e * (0.5 / e.sum())
