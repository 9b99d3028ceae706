"""The Wasserstein-1 distance between two laws, exact up to rounding."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collapse_theory.laws.law import RewardLaw

__all__ = ["wasserstein"]

_GRID = 129
_HALVINGS = 27


def wasserstein(first: RewardLaw, second: RewardLaw) -> float:
    """Return W1 = ∫ |F(x) - G(x)| dx.

    F - G is integrated in closed form between the points where it can change its sign: atoms, ends
    of densities, and its zeros. Against a discrete law a zero is a quantile of the other law.
    Between two densities zeros are bracketed on a grid of both laws' quantiles; where F - G turns
    between two grid points, the turning point is found and joins the grid.
    """
    if not first.parts and not second.parts:
        points = np.unique(np.concatenate([first.atoms[:, 0], second.atoms[:, 0]]))
        difference = first._cdf(points) - second._cdf(points)
        return float(np.abs(difference[:-1]) @ np.diff(points))
    pair = _Pair(first, second)
    if not first.parts or not second.parts:
        points = _breakpoints(first, second)
        zeros = _discrete_zeros(pair, points)
    else:
        points = np.unique(np.concatenate([_breakpoints(first, second), _grid(first, second)]))
        points = np.unique(np.concatenate([points, _turning_points(pair, points)]))
        zeros = _zeros(pair, points)
    points = np.unique(np.concatenate([points, zeros]))
    return float(np.abs(pair.integrals(points)).sum())


class _Pair:
    """The difference H = F - G of two distribution functions."""

    def __init__(self, first: RewardLaw, second: RewardLaw) -> None:
        self.first, self.second = first, second

    def right(self, x: np.ndarray) -> np.ndarray:
        """H(x), the limit from the right."""
        return self.first._cdf(x) - self.second._cdf(x)

    def left(self, x: np.ndarray) -> np.ndarray:
        """H(x-), the limit from the left."""
        return self.first._cdf(x, side="left") - self.second._cdf(x, side="left")

    def slope(self, x: np.ndarray) -> np.ndarray:
        """H'(x); NaN where both densities are infinite."""
        with np.errstate(invalid="ignore"):
            return self.first.pdf(x) - self.second.pdf(x)

    def integrals(self, points: np.ndarray) -> np.ndarray:
        """∫ H over each interval between two neighbours of `points`, all atoms among them."""
        total = np.zeros(points.size - 1)
        for law, sign in ((self.first, 1.0), (self.second, -1.0)):
            steps = law._sums[np.searchsorted(law.atoms[:, 0], points[:-1], side="right")]
            area = steps * np.diff(points)
            for part in law.parts:
                area = area + np.diff(part.cdf_integral(points))
            total += sign * area
        return total


def _breakpoints(first: RewardLaw, second: RewardLaw) -> np.ndarray:
    parts = (*first.parts, *second.parts)
    return np.unique(
        np.concatenate([first.atoms[:, 0], second.atoms[:, 0], *(part.knots() for part in parts)])
    )


def _grid(first: RewardLaw, second: RewardLaw) -> np.ndarray:
    """Quantiles of both laws, closer together towards the ends."""
    q = np.sin(np.linspace(0.0, 0.5 * np.pi, _GRID)) ** 2
    # H is 0 at both ends, which hides a change of sign next to them: go on to rounding there.
    tail = np.geomspace(1e-16, q[1], 16)
    q = np.concatenate([q, tail, 1.0 - tail])
    return np.concatenate([first._table.rough(q), second._table.rough(q)])


def _discrete_zeros(pair: _Pair, points: np.ndarray) -> np.ndarray:
    """Zeros of H within intervals on which one of the laws has no mass."""
    swap = bool(pair.first.parts)
    steps, smooth = (pair.second, pair.first) if swap else (pair.first, pair.second)
    changes = pair.right(points[:-1]) * pair.left(points[1:]) < 0
    low, high = points[:-1][changes], points[1:][changes]
    return np.clip(smooth._table.rough(steps._cdf(low)), low, high)


def _zeros(pair: _Pair, points: np.ndarray) -> np.ndarray:
    at_low, at_high = pair.right(points[:-1]), pair.left(points[1:])
    changes = at_low * at_high < 0
    return _halve(pair.left, at_low[changes], points[:-1][changes], points[1:][changes])


def _turning_points(pair: _Pair, points: np.ndarray) -> np.ndarray:
    """Extrema of H: between them, and the points, H is monotone and has one zero at most."""
    # A little inside, as densities may jump or be infinite at the points themselves.
    inset = 1e-9 * np.diff(points)
    low, high = points[:-1] + inset, points[1:] - inset
    at_low = pair.slope(low)
    turns = np.sign(at_low) * np.sign(pair.slope(high)) < 0
    return _halve(pair.slope, at_low[turns], low[turns], high[turns])


def _halve(
    function: Callable[[np.ndarray], np.ndarray],
    at_low: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
) -> np.ndarray:
    """Return where `function` changes its sign, by bisection of all intervals at once.

    The integral is flat at a zero of H, so an error of 2^-27 of an interval can't be seen in it.
    """
    if low.size == 0:
        return low
    for _ in range(_HALVINGS):
        middle = 0.5 * (low + high)
        same = np.sign(function(middle)) == np.sign(at_low)
        low, high = np.where(same, middle, low), np.where(same, high, middle)
    return 0.5 * (low + high)
