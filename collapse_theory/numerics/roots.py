"""Roots of monotone functions: a bracket found by steps outward, then bisection."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

__all__ = ["LOG_WIDEST", "bisect", "bracket", "halve"]

# Scales outside exp(+-LOG_WIDEST) = 1e+-30 of what is looked for are taken as "there is none":
# squares and cubes of them are still in float64.
LOG_WIDEST = float(np.log(1e30))


def bracket(
    falling: Callable[[float], float],
    start: float = 0.0,
    *,
    limit: float = LOG_WIDEST,
    none_above: Exception,
    none_below: Exception,
) -> tuple[float, float]:
    """Return low < high with falling(low) > 0 and not falling(high) > 0, by steps that double.

    Parameters
    ----------
    falling : callable
        A function that falls, as of the logarithm of a scale. NaN counts as "not above 0".
    start : float
        Where to begin.
    limit : float
        How far from `start` to look.
    none_above, none_below : Exception
        Raised where the function is still positive at start + limit, and where it is not yet
        positive at start - limit.
    """
    low = high = start
    step = 1.0
    while falling(high) > 0:
        low, high, step = high, high + step, 2.0 * step
        if high > start + limit:
            raise none_above
    step = 1.0
    while low == high or not falling(low) > 0:
        low, step = low - step, 2.0 * step
        if low < start - limit:
            raise none_below
    return low, high


def bisect(
    falling: Callable[[float], float], low: float, high: float, width: float = 0.0, rounds: int = 60
) -> float:
    """Return the middle of a bracket of a falling function, halved until it is `width` wide."""
    for _ in range(rounds):
        if high - low < width:
            break
        middle = 0.5 * (low + high)
        low, high = (middle, high) if falling(middle) > 0 else (low, middle)
    return 0.5 * (low + high)


def halve(
    function: Callable[[np.ndarray], np.ndarray], low: np.ndarray, high: np.ndarray, rounds: int
) -> np.ndarray:
    """Return where `function` changes its sign, by bisection of all intervals at once."""
    if low.size == 0:
        return low
    at_low = np.sign(function(low))
    for _ in range(rounds):
        middle = 0.5 * (low + high)
        same = np.sign(function(middle)) == at_low
        low, high = np.where(same, middle, low), np.where(same, high, middle)
    return 0.5 * (low + high)
