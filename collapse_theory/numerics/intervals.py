"""Interval arithmetic on arrays: between which bounds a formula stays on each of many cells.

The bounds are not rounded outwards: they are for finding where to look, not for proofs to the last
digit. Without a bound (0 times inf, a division by 0) they are -inf and inf.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import reduce
from typing import Any

import numpy as np


class Interval:
    """The numbers from `low` to `high`, arrays of one shape."""

    __array_ufunc__ = None  # NumPy's scalars leave their operators to those below

    def __init__(self, low: Any, high: Any) -> None:
        lost = np.isnan(low) | np.isnan(high)
        self.low = np.where(lost, -np.inf, low)
        self.high = np.where(lost, np.inf, high)

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
        other = self.of(other)
        return self.hull(a * b for a in (self.low, self.high) for b in (other.low, other.high))

    def __truediv__(self, other: Any) -> Interval:
        return self * self.of(other) ** -1.0

    def __rtruediv__(self, other: Any) -> Interval:
        return self.of(other) / self

    def __pow__(self, p: float) -> Interval:
        found = self.image(lambda u: u**p, [0.0])
        pole = (self.low <= 0) & (self.high >= 0) & (p < 0)
        return Interval(np.where(pole, np.nan, found.low), found.high)

    __radd__, __rmul__ = __add__, __mul__
