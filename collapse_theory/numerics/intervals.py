"""Interval arithmetic on arrays: between which bounds a formula stays on each of many cells.

The ends are computed in float64, not rounded outwards: bounds hold up to rounding. NaN is no bound:
a division by 0 inside, or a function outside its domain, and all that is made of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import reduce
from typing import Any

import numpy as np


class Interval:
    """The numbers from `low` to `high`, arrays of one shape; inf is the limit of numbers."""

    __array_ufunc__ = None  # NumPy's scalars leave their operators to those below
    __slots__ = ("high", "low")

    def __init__(self, low: Any, high: Any) -> None:
        self.low, self.high = low, high

    @classmethod
    def hull(cls, values: Iterable[Any]) -> Interval:
        """Return the least interval that holds `values`."""
        values = list(values)
        return cls(reduce(np.minimum, values), reduce(np.maximum, values))

    @classmethod
    def of(cls, number: Any) -> Interval:
        return number if isinstance(number, Interval) else cls(number, number)

    def image(self, function: Callable[[Any], Any], turns: Iterable[Any] = ()) -> Interval:
        """Return the values of a function that is monotone between `turns`."""
        ends = [np.clip(turn, self.low, self.high) for turn in turns]
        return self.hull(function(u) for u in (self.low, self.high, *ends))

    def __neg__(self) -> Interval:
        return Interval(-self.high, -self.low)

    def __add__(self, other: Any) -> Interval:
        other = self.of(other)
        return Interval(self.low + other.low, self.high + other.high)

    def __mul__(self, other: Any) -> Interval:
        if not isinstance(other, Interval):
            ends = (other * self.low, other * self.high)
            return Interval(*(ends if other >= 0 else ends[::-1]))
        ends = [(a, b) for a in (self.low, self.high) for b in (other.low, other.high)]
        found = self.hull(a * b for a, b in ends)
        if not np.any(np.isnan(found.low)):
            return found
        # Where an end is 0 and the other inf, products of numbers near them are near 0 or beyond
        # all bounds, of which another pair of ends tells; unless one is 0 throughout, by underflow.
        lost = np.isnan(self.low) | np.isnan(self.high) | np.isnan(other.low) | np.isnan(other.high)
        for one, many in ((self, other), (other, self)):
            lost = lost | ((one.low == 0) & (one.high == 0) & np.isinf(many.low - many.high))
        found = self.hull(np.where((a == 0) | (b == 0), 0.0, a * b) for a, b in ends)
        return Interval(np.where(lost, np.nan, found.low), np.where(lost, np.nan, found.high))

    def __truediv__(self, other: Any) -> Interval:
        return self * self.of(other) ** -1.0

    def __rtruediv__(self, other: Any) -> Interval:
        return self**-1.0 * other

    def __pow__(self, p: float) -> Interval:
        if p >= 0:
            return self.image(lambda u: u**p, [0.0])
        high = np.where((self.high == 0) & (self.low < 0), -0.0, self.high)  # from below
        found = self.hull([self.low**p, high**p])
        pole = (self.low < 0) & (self.high > 0)
        return Interval(np.where(pole, np.nan, found.low), np.where(pole, np.nan, found.high))

    __radd__, __rmul__ = __add__, __mul__
