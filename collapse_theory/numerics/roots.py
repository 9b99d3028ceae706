"""Roots of monotone functions: brackets, bisection, and the inverse of a distribution function."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

# Scales outside exp(+-LOG_WIDEST) = 1e+-30 of what is looked for are taken as "there is none":
# squares and cubes of them are still in float64.
LOG_WIDEST = float(np.log(1e30))
_EPS = float(np.finfo(np.float64).eps)
_ITERATIONS = 200  # of the inversion: eight halve a bracket at least once
_CLOSE_STEP = 1e-9  # relative: Newton's step after one so short is beneath rounding


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


def invert_increasing(
    evaluate: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]],
    target: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    start: np.ndarray,
) -> np.ndarray:
    """Return d in [low, high] with B(d) = target, by bracketed Newton steps on log B against log d.

    Near an end of a law B(d) ~ C d^(p+1), a straight line in these coordinates: Newton's method
    then converges at once, to full relative accuracy in d, where a step in d itself creeps.

    Parameters
    ----------
    evaluate
        From distances and the indices of their points to B and its derivative there.
    target, low, high, start : (n,) arrays
        Wanted values, brackets with B(low) <= target <= B(high), and first guesses.
    """
    d, low, high = start.copy(), low.copy(), high.copy()
    active = np.flatnonzero(target > 0)
    d[target <= 0] = low[target <= 0]
    for iteration in range(_ITERATIONS):
        if active.size == 0:
            break
        x, t = d[active], target[active]
        value, slope = evaluate(x, active)
        low[active] = np.where(value < t, np.maximum(x, low[active]), low[active])
        high[active] = np.where(value < t, high[active], np.minimum(x, high[active]))
        lo, hi = low[active], high[active]
        # Every eighth step halves, so that no shape of B can hold Newton's method up for long.
        new = _newton(x, value, slope, t) if iteration % 8 != 7 else np.full_like(x, np.nan)
        good = (new > lo) & (new < hi)
        new = np.where(good, new, _middle(lo, hi))
        exact = np.abs(value - t) <= _EPS * t
        settled = good & (np.abs(new - x) <= _CLOSE_STEP * x)
        done = exact | settled | (hi - lo <= 2 * _EPS * hi) | (new <= lo)
        d[active] = np.where(exact, x, np.where(new <= lo, hi, new))
        active = active[~done]
    return d


def _newton(x: np.ndarray, value: np.ndarray, slope: np.ndarray, target: np.ndarray) -> np.ndarray:
    with np.errstate(all="ignore"):
        return x * np.exp(np.log(target / value) * value / (x * slope))


def _middle(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    # Geometric, as distances from an end run over hundreds of decades.
    return np.where(low > 0, np.sqrt(low) * np.sqrt(high), high * 2.0**-20)
