"""How far an answer can be from the optimum, computed from the program and the answer alone.

The objective f is concave, so f(r*) - f(r) <= max over feasible s of <grad f(r), s - r>. The
extreme points of 1 >= s_1 >= ... >= s_n >= 0 are the step vectors, each a single gap of size 1; so
the bound is max_k G_k - sum_k G_k d_k with G_k the derivative by the gap d_k (the Frank-Wolfe
duality gap: Jaggi 2013).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from collapse_theory.programs.kinks import supergradients
from collapse_theory.programs.ranking import pair_gaps, straddle
from collapse_theory.utilities.base import Utility
from collapse_theory.values import Value

__all__ = ["Certificate", "certify"]

EPS = float(np.finfo(np.float64).eps)


@dataclass(frozen=True, eq=False)
class Certificate(Value):
    """Objective and bounds of an answer: ``f* - objective <= gap``.

    `sated` says that every pair has all that the utility gives: nothing can be better.
    """

    objective: float
    gap: float
    shortfall: float
    sated: bool = False

    @property
    def relative_gap(self) -> float:
        """The gap over U(1) - objective: unchanged under U -> cU + d; 0 for two completions."""
        if self.sated or self.gap == 0 or self.shortfall == math.inf:
            return 0.0 if self.gap < math.inf else math.inf
        return self.gap / self.shortfall if self.shortfall > 0 else math.inf


def certify(utility: Utility, gaps: np.ndarray) -> Certificate:
    """Return the certificate of the rewards with these `gaps` (n-1,) in the box [0, 1].

    The objective is the mean of U over pairs, the scale of U itself. The bound includes what
    rounding in the sums may hide.
    """
    n = len(gaps) + 1
    pairs = n * (n - 1) / 2
    x = pair_gaps(gaps)
    upper = ~np.tri(n, dtype=bool)
    with np.errstate(all="ignore"):
        values, slopes = utility.value(x[upper]), utility.slope(x)
        objective = float(np.mean(values))
        shortfall = float(np.mean(utility.shortfall(x[upper], 1.0)))
        extra = 0.0
        if utility.kinks and np.all(np.isfinite(slopes[upper])):
            slopes, extra = supergradients(utility, x, upper, slopes)
        force = straddle(np.where(upper, slopes, 0.0)) / pairs
    if n == 2 and gaps[0] == 1.0:
        return Certificate(objective, 0.0, 0.0)
    if not np.all(np.isfinite(force)):
        return Certificate(objective, math.inf, shortfall)
    top = float(force.max())
    # sum_k d_k (top - G_k) + top (1 - sum_k d_k): no difference of large numbers.
    missing = math.fsum([1.0, *(-gaps)])
    bound = math.fsum(gaps * (top - force)) + top * missing
    # Each G_k is a sum of n**2 / 4 positive terms: it carries about sqrt(n) units of rounding.
    rounding = (4 + math.sqrt(n)) * EPS * top
    gap = max(bound + extra / pairs, 0.0) + rounding
    return Certificate(objective, gap, shortfall, _sated(utility, x[upper]))


def _sated(utility: Utility, x: np.ndarray) -> bool:
    """Whether U is flat beyond a kink that the gaps of all pairs have reached, up to rounding.

    Then the shortfall is rounding too, and nothing to measure a gap by.
    """
    kinks = [kink for kink in utility.kinks if kink < 1]
    reached = bool(kinks) and x.min() >= kinks[-1] * (1 - 1e-13)
    return bool(reached and utility.slope(np.float64(1.0)) == 0)
