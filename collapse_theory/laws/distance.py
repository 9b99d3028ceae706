"""The Wasserstein-1 distance between two laws, exact up to rounding."""

from __future__ import annotations

import numpy as np

from collapse_theory.laws.quantiles import DistributionFunction
from collapse_theory.numerics.roots import halve

# The integral is flat at a zero of F - G: an error of 2^-27 of an interval can't be seen in it.
_HALVINGS = 27


def wasserstein(first: DistributionFunction, second: DistributionFunction) -> float:
    """Return W1 = ∫ |F(x) - G(x)| dx.

    F - G is integrated in closed form between the points where it can change its sign: atoms, ends
    of densities, and its zeros. Against a discrete law a zero is a quantile of the other law.
    Between two densities zeros are bracketed on a grid of both laws' quantiles and of rewards;
    where F - G turns back towards 0 between two grid points, the turning point joins the grid.
    """
    if not first.parts and not second.parts:
        points = np.unique(np.concatenate([first.points, second.points]))
        difference = first(points) - second(points)
        return float(np.abs(difference[:-1]) @ np.diff(points))

    def apart(x: np.ndarray, side: str = "right") -> np.ndarray:
        return first(x, side) - second(x, side)

    points = np.unique(np.concatenate([first.knots, second.knots]))
    smooth = first.parts and second.parts
    if smooth:
        points = np.unique(np.concatenate([points, first.grid, second.grid]))
        points = np.unique(np.concatenate([points, _turning_points(first, second, points)]))
    changes = apart(points[:-1]) * apart(points[1:], "left") < 0
    low, high = points[:-1][changes], points[1:][changes]
    if smooth:
        zeros = halve(apart, low, high, _HALVINGS)
    else:  # where one of the laws has no mass: a quantile of the other
        steps, other = (second, first) if first.parts else (first, second)
        zeros = np.clip(other.rough(steps(low)), low, high)
    points = np.unique(np.concatenate([points, zeros]))
    each = first.integrals_between(points) - second.integrals_between(points)
    return float(np.abs(each).sum())


def _turning_points(
    f: DistributionFunction, g: DistributionFunction, points: np.ndarray
) -> np.ndarray:
    """Extrema of H = F - G where it may be back at 0 from a sign that it has at both neighbours.

    Between them, and the points, H has one zero at most.
    """

    def slope(x: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore"):  # NaN where both densities are infinite
            return f.pdf(x) - g.pdf(x)

    low, high = points[:-1], points[1:]
    before, after = (f(low), g(low)), (f(high, "left"), g(high, "left"))
    sign = np.sign(before[0] - before[1])
    # F and G rise: H lies between these two.
    least, most = before[0] - after[1], after[0] - before[1]
    doubt = (sign * np.sign(after[0] - after[1]) >= 0) & (least < 0) & (most > 0)
    low, high, sign = low[doubt], high[doubt], sign[doubt]
    # A little inside, as densities may jump or be infinite at the points themselves.
    inset = 1e-9 * (high - low)
    low, high = low + inset, high - inset
    first, last = np.sign(slope(low)), np.sign(slope(high))
    turns = (first * last < 0) & (sign * first <= 0)
    return halve(slope, low[turns], high[turns], _HALVINGS)
