"""Ratios of means over prompts, with intervals that hold what they claim for few prompts too."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from collapse_theory.values import Value

_DRAWS = 999
_MANY = 500  # prompts from which on the normal law is as good as the bootstrap
NORMAL = 1.959963984540054  # its 97.5% quantile
_LEAST = 0.05  # no draw's standard error counts as less than so much of the sample's


@dataclass(frozen=True, eq=False, repr=False)
class Measure(Value):
    """A number with its 95% interval over prompts.

    Examples
    --------
    >>> print(Measure(0.25, 0.2, 0.31))
    0.25 [0.20, 0.31]
    """

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        # Two decimals, and more where the number is smaller than they show.
        size = max(abs(self.value), abs(self.high))
        if 0 < size < 1e-5 or not math.isfinite(size):
            return f"{self.value:.1e} [{self.low:.1e}, {self.high:.1e}]"
        places = 2 if size >= 0.1 or size == 0 else min(1 - math.floor(math.log10(size)), 12)
        return f"{self.value:.{places}f} [{self.low:.{places}f}, {self.high:.{places}f}]"

    def __repr__(self) -> str:
        return f"Measure({self})"

    def percent(self) -> str:
        """Return a share as people read it: "25% [20%, 31%]"."""
        return f"{self.value:.0%} [{self.low:.0%}, {self.high:.0%}]"


def ratio_of_means(top: np.ndarray, below: np.ndarray) -> Measure:
    """Return sum(top) / sum(below) over prompts, with a bootstrap-t interval of its logarithm.

    With a prompt's influence i_p = top_p / mean(top) - below_p / mean(below), the standard error
    of log(ratio) is s.d.(i) / sqrt(P). Prompts are drawn anew, each draw's deviation is divided by
    its own standard error, and the quantiles of that stand in for those of a normal law: sums of
    squares are skewed, and a plain bootstrap over 10 prompts is short by a tenth and more
    (Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, section 12.5). Where the mean
    of `top` isn't above 0, the interval is what the least squares of top - ratio * below give.
    """
    count, numerator, denominator = top.size, float(top.mean()), float(below.mean())
    ratio = numerator / denominator
    if not top.any():
        return Measure(0.0, 0.0, 0.0)
    if count < 2:
        return Measure(ratio, 0.0, math.inf)
    if numerator <= 0:
        error = float((top - ratio * below).std(ddof=1)) / math.sqrt(count) / denominator
        return Measure(ratio, 0.0, max(ratio + 2 * error, 0.0))
    influence = top / numerator - below / denominator
    error = float(influence.std(ddof=1)) / math.sqrt(count)
    low = high = NORMAL
    if count <= _MANY and error > 0:
        low, high = _studentised(top, below, error)
    return Measure(ratio, ratio * math.exp(-high * error), ratio * math.exp(low * error))


@lru_cache(maxsize=8)
def _weights(count: int) -> np.ndarray:
    """Return how often each draw takes each prompt, over their number: ever the same draws."""
    rng = np.random.default_rng(count)
    return rng.multinomial(count, np.full(count, 1.0 / count), size=_DRAWS) / count


def _studentised(top: np.ndarray, below: np.ndarray, error: float) -> tuple[float, float]:
    """Return how many standard errors the interval reaches above and below the logarithm."""
    count = top.size
    order = np.lexsort((below, top))  # the order of the prompts decides nothing
    top, below = top[order], below[order]
    weights = _weights(count)
    columns = np.stack([top, below, top * top, top * below, below * below], axis=1)
    a, b, aa, ab, bb = (weights @ columns).T
    a, b = np.maximum(a, 1e-9 * top.mean()), np.maximum(b, 1e-9 * below.mean())
    variance = np.maximum(aa / a**2 - 2 * ab / (a * b) + bb / b**2, 0.0)
    errors = np.maximum(np.sqrt(variance / (count - 1)), _LEAST * error)
    deviations = (np.log(a / b) - math.log(top.mean() / below.mean())) / errors
    tail, other = np.quantile(deviations, [0.025, 0.975])
    return float(max(-tail, 0.0)), float(max(other, 0.0))


def widened(measure: Measure, factor: float) -> Measure:
    """Return a measure above 0 with its interval so many times as wide, on a logarithmic scale."""
    if not 0 < measure.low <= measure.high < math.inf:
        return measure
    value = measure.value
    low, high = (value * (end / value) ** factor for end in (measure.low, measure.high))
    return Measure(value, low, high)


def share_of(count: float, of: float) -> Measure:
    """Return a share of prompts with Wilson's interval; effective numbers needn't be whole.

    Examples
    --------
    >>> print(share_of(0, 50))
    0.000 [0.000, 0.071]
    """
    square = NORMAL**2
    share = count / of
    middle = (share + square / (2 * of)) / (1 + square / of)
    half = math.sqrt(share * (1 - share) / of + square / (4 * of * of))
    half *= NORMAL / (1 + square / of)
    low, high = max(middle - half, 0.0), min(middle + half, 1.0)
    return Measure(share, low if count else 0.0, high if count < of else 1.0)
