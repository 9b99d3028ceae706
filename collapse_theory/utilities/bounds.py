"""Between which bounds a formula, its slope and its curvature stay on cells of gaps.

On one cell that holds all gaps these are the rules of composition, as in disciplined convex
programming (M. Grant, S. Boyd and Y. Ye, 2006): a concave increasing function of a concave one is
concave, since f'' <= 0 and f' >= 0 there and u'' <= 0 give f'' u'**2 + f' u'' <= 0. On smaller
cells they prove what takes numbers, too.
"""

from __future__ import annotations

from functools import reduce
from typing import Any

import numpy as np

from collapse_theory.numerics.intervals import Interval
from collapse_theory.numerics.taylor import Taylor
from collapse_theory.utilities.expression import Jet, Jets, Tree, evaluate, plus, times
from collapse_theory.utilities.functions import FUNCTIONS


class _Bounds(Jets):
    """Bounds of value and derivatives; where U' falls at a kink, U'' has no lower bound."""

    filled = staticmethod(Taylor.bounds)

    def min(self, *parts: Jet) -> Jet:
        """Return what holds all branches that may be the least."""
        values = [Interval.of(part[0]) for part in parts]
        least = reduce(np.minimum, (u.high for u in values))
        may = [~(u.low > least) for u in values]

        def hull(k: int) -> Interval:
            found = [Interval.of(0.0 if part[k] is None else part[k]) for part in parts]
            low = [np.where(m, f.low, np.inf) for m, f in zip(may, found, strict=True)]
            high = [np.where(m, f.high, -np.inf) for m, f in zip(may, found, strict=True)]
            return Interval(reduce(np.minimum, low), reduce(np.maximum, high))

        value, second = hull(0), hull(2)
        kinked = (np.sum(may, axis=0) > 1) & ~np.isnan(second.low)
        second = Interval(np.where(kinked, -np.inf, second.low), second.high)
        return Interval(value.low, np.minimum(value.high, least)), hull(1), second

    def call(self, name: str, u: Jet) -> Jet:
        return self._chain(*FUNCTIONS[name].bounds(Interval.of(u[0])), u)

    def own(self, utility: Any, u: Jet) -> Jet:
        if utility.regular is not None:
            return evaluate(utility.regular, u, self)
        unknown = Interval.of(np.nan * Interval.of(u[0]).low)
        return unknown, unknown, unknown

    def _chain(self, value: Any, first: Any, second: Any, u: Jet) -> Jet:
        # u'**2 of one sign, whatever that of u'; a plain number may overflow to inf.
        square = u[1] ** 2.0 if isinstance(u[1], Interval) else times(u[1], u[1])
        return value, times(first, u[1]), plus(times(second, square), times(first, u[2]))


_BOUNDS = _Bounds()


def curvature_bound(tree: Tree, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Return what U'' doesn't exceed on each of the cells from `low` to `high`, NaN if unknown."""
    with np.errstate(all="ignore"):
        second = evaluate(tree, (Interval(low, high), 1.0, None), _BOUNDS)[2]
    return np.zeros_like(low) + (0.0 if second is None else Interval.of(second).high)
