"""The Wasserstein-1 distance between two laws, exact up to rounding."""

from __future__ import annotations

import numpy as np

from collapse_theory.laws.quantiles import DistributionFunction
from collapse_theory.numerics.roots import halve

__all__ = ["wasserstein"]

_GRID = 129
# The integral is flat at a zero of F - G: an error of 2^-27 of an interval can't be seen in it.
_HALVINGS = 27


def wasserstein(first: DistributionFunction, second: DistributionFunction) -> float:
    """Return W1 = ∫ |F(x) - G(x)| dx.

    F - G is integrated in closed form between the points where it can change its sign: atoms, ends
    of densities, and its zeros. Against a discrete law a zero is a quantile of the other law.
    Between two densities zeros are bracketed on a grid of both laws' quantiles; where F - G turns
    between two grid points, the turning point is found and joins the grid.
    """
    if not first.parts and not second.parts:
        points = np.unique(np.concatenate([first.points, second.points]))
        difference = first(points) - second(points)
        return float(np.abs(difference[:-1]) @ np.diff(points))
    pair = _Difference(first, second)
    points = np.unique(np.concatenate([first.knots, second.knots]))
    if not first.parts or not second.parts:
        zeros = _discrete_zeros(pair, points)
    else:
        points = np.unique(np.concatenate([points, _grid(first), _grid(second)]))
        points = np.unique(np.concatenate([points, _turning_points(pair, points)]))
        changes = pair.right(points[:-1]) * pair.left(points[1:]) < 0
        zeros = halve(pair.right, points[:-1][changes], points[1:][changes], _HALVINGS)
    points = np.unique(np.concatenate([points, zeros]))
    apart = first.integrals_between(points) - second.integrals_between(points)
    return float(np.abs(apart).sum())


class _Difference:
    """The difference H = F - G of two distribution functions."""

    def __init__(self, first: DistributionFunction, second: DistributionFunction) -> None:
        self.first, self.second = first, second

    def right(self, x: np.ndarray) -> np.ndarray:
        """H(x), the limit from the right."""
        return self.first(x) - self.second(x)

    def left(self, x: np.ndarray) -> np.ndarray:
        """H(x-), the limit from the left."""
        return self.first(x, side="left") - self.second(x, side="left")

    def slope(self, x: np.ndarray) -> np.ndarray:
        """H'(x); NaN where both densities are infinite."""
        with np.errstate(invalid="ignore"):
            return self.first.pdf(x) - self.second.pdf(x)


def _grid(law: DistributionFunction) -> np.ndarray:
    """Quantiles of a law, closer together towards the ends."""
    q = np.sin(np.linspace(0.0, 0.5 * np.pi, _GRID)) ** 2
    # H is 0 at both ends, which hides a change of sign next to them: go on to rounding there.
    tail = np.geomspace(1e-16, q[1], 16)
    return law.rough(np.concatenate([q, tail, 1.0 - tail]))


def _discrete_zeros(pair: _Difference, points: np.ndarray) -> np.ndarray:
    """Zeros of H within intervals on which one of the laws has no mass."""
    swap = bool(pair.first.parts)
    steps, smooth = (pair.second, pair.first) if swap else (pair.first, pair.second)
    changes = pair.right(points[:-1]) * pair.left(points[1:]) < 0
    low, high = points[:-1][changes], points[1:][changes]
    return np.clip(smooth.rough(steps(low)), low, high)


def _turning_points(pair: _Difference, points: np.ndarray) -> np.ndarray:
    """Extrema of H: between them, and the points, H is monotone and has one zero at most."""
    # A little inside, as densities may jump or be infinite at the points themselves.
    inset = 1e-9 * np.diff(points)
    low, high = points[:-1] + inset, points[1:] - inset
    turns = np.sign(pair.slope(low)) * np.sign(pair.slope(high)) < 0
    return halve(pair.slope, low[turns], high[turns], _HALVINGS)
