"""The highest value of a density on an interval: bounds that hold between all points."""

from __future__ import annotations

import numpy as np

from collapse_theory.laws import (
    BetaDensity,
    ExponentialSumDensity,
    Part,
    PiecewiseDensity,
    RewardLaw,
)

__all__ = ["highest"]


def highest(law: RewardLaw, low: float, high: float) -> float:
    """Return a bound on the law's density in [low, high]; inf where none is known."""
    return sum(_highest(part, low, high) for part in law.parts)


def _highest(part: Part, low: float, high: float) -> float:
    low, high = max(low, part.low), min(high, part.high)
    if not low <= high:
        return 0.0
    if isinstance(part, BetaDensity):
        return _of_beta(part, low, high)
    if isinstance(part, PiecewiseDensity):
        # A Legendre polynomial is at most 1 in size.
        touched = (part.edges[1:] >= low) & (part.edges[:-1] <= high)
        return float(np.abs(part.coefficients[touched]).sum(axis=1).max())
    if isinstance(part, ExponentialSumDensity):
        # cosh over its value at the ends is at most 1 and at least 0.
        return part.constant + float(np.maximum(part.weights, 0.0).sum())
    return np.inf


def _of_beta(part: BetaDensity, low: float, high: float) -> float:
    """A Beta density has one turning point at most, its mode or its lowest point."""
    places = [low, high]
    bend = part.a + part.b - 2.0
    if bend != 0.0:
        turn = part.low + (part.high - part.low) * (part.a - 1.0) / bend
        if low < turn < high:
            places.append(turn)
    return float(np.max(part.pdf(np.array(places))))
