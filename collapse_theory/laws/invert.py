"""The inverse of an increasing function of a distance, for whole arrays at a time."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

__all__ = ["invert_increasing"]

_EPS = float(np.finfo(np.float64).eps)
_ITERATIONS = 200


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
        settled = good & (np.abs(new - x) <= _EPS * x)
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
