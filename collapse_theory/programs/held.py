"""Certificates where rewards are unbounded: held by a penalty, or by a utility with a maximum.

Under a penalty of modulus m = 2 kappa / n the objective is strongly concave, and
f* - f(r) <= |grad f(r)|**2 / (2 m). Without one the bound is Fenchel's: slopes p that balance at
every completion give f(s) <= mean sup_y (U(y) - p y) for every s. They are made from U'(gaps) by
the least change that balances them: on all pairs, p_ij = U'_ij - (h_i - h_j) / n with h the
gradient.
"""

from __future__ import annotations

import math

import numpy as np

from collapse_theory.programs.certificates import EPS, Certificate
from collapse_theory.programs.kinks import pairs_at_kinks
from collapse_theory.programs.ranking import pair_gaps, straddle
from collapse_theory.utilities import Utility

__all__ = ["centred", "certify_held"]


def centred(gaps: np.ndarray) -> np.ndarray:
    """Return the rewards with these `gaps` and mean 0, each as its distance from the middle."""
    n = len(gaps) + 1
    rewards = np.concatenate([[0.0], -np.cumsum(gaps)])
    if np.array_equal(gaps, gaps[::-1]):
        half = np.concatenate([gaps[: (n - 1) // 2], [gaps[n // 2 - 1] / 2] if n % 2 == 0 else []])
        top = np.cumsum(half[::-1])[::-1]
        return np.concatenate([top, [0.0] * (n % 2), -top[::-1]])
    return rewards - rewards.mean()


def certify_held(utility: Utility, gaps: np.ndarray, kappa: float) -> Certificate:
    """Return the certificate of mean U - kappa mean r_i**2 at the centred rewards with `gaps`.

    `shortfall` is the spread of U over the pairs' gaps g; or the mean of |U'| g or -U'' g**2 where
    that is more, as for two completions, which have but one gap.
    """
    n = len(gaps) + 1
    if not np.any(gaps) and utility.slope_at_zero <= 0:
        # U is concave and doesn't rise from 0: no pair can have more.
        return Certificate(float(utility.value(np.float64(0.0))), 0.0, 0.0)
    pairs = n * (n - 1) / 2
    x, upper, rewards = pair_gaps(gaps), ~np.tri(n, dtype=bool), centred(gaps)
    with np.errstate(all="ignore"):
        values, slopes = utility.value(x[upper]), utility.slope(x)
        force = straddle(np.where(upper, slopes, 0.0)) / pairs
        size = straddle(np.where(upper, np.abs(slopes), 0.0)) / pairs
        # Just below a kink, where U still rises.
        first, second = utility.derivatives(x[upper] * (1 - 1e-6))
        curved = float(np.mean(-second * x[upper] ** 2))
    objective = float(np.mean(values)) - kappa * float(np.mean(rewards**2))
    spread = max(float(np.ptp(values)), float(np.mean(np.abs(first) * x[upper])), curved)
    if not np.all(np.isfinite(force)):
        return Certificate(objective, math.inf, spread)
    pulls = 2 * kappa / n * np.cumsum(rewards)[:-1]
    extra = 0.0
    if utility.kinks and kappa > 0:
        change, extra = _at_kinks(utility, x, upper, force - pulls, pairs)
        force = force + change
    rest = np.diff(np.concatenate([[0.0], force - pulls, [0.0]]))
    rounding = (4 + math.sqrt(n)) * EPS * np.concatenate([[0.0], size + pulls, [0.0]])
    rest = np.abs(rest) + rounding[1:] + rounding[:-1]
    if kappa > 0:
        gap = n * math.fsum(rest**2) / (4 * kappa) + extra
    else:
        gap = _dual_gap(utility, x, upper, force, rounding)
    size_of_terms = float(np.mean(np.abs(values))) + kappa * float(np.mean(rewards**2))
    return Certificate(objective, gap + 4 * EPS * size_of_terms, spread)


def _dual_gap(
    utility: Utility, x: np.ndarray, upper: np.ndarray, force: np.ndarray, rounding: np.ndarray
) -> float:
    """Return mean sup_y (U(y) - p y) - mean U for balanced slopes p near U'."""
    n = len(x)
    # In sums over pairs; the forces' differences are the gradient.
    gradient = np.diff(np.concatenate([[0.0], force, [0.0]])) * n * (n - 1) / 2
    shift = -(gradient[:, None] - gradient) / n
    p = (utility.slope(x) + shift)[upper]
    start = x[upper]
    best = start.copy()
    for _ in range(50):
        with np.errstate(all="ignore"):
            first, second = utility.derivatives(best)
            step = np.clip((p - first) / second, -1.0, 1.0)
        if np.isnan(step).any():
            return math.inf
        best = best + step
        if np.abs(step).max() < 1e-14 * max(1.0, float(np.abs(best).max())):
            break
    else:
        return math.inf  # no gap has the slope p: the bound says nothing
    # U(y) - p y - (U(g) - p g); the balanced p have mean p g = 0.
    gain = utility.value(best) - utility.value(start) - p * (best - start)
    return float(np.mean(np.maximum(gain, 0.0))) + float(rounding.max())


def _at_kinks(
    utility: Utility, x: np.ndarray, upper: np.ndarray, rest: np.ndarray, pairs: float
) -> tuple[np.ndarray, float]:
    """Return what the best slopes at the kinks add to the forces, and to the bound.

    The slopes are those between U'(m+) and U'(m-) that leave the least gradient: a bounded least
    squares problem.
    """
    from scipy.optimize import lsq_linear

    found = pairs_at_kinks(utility, x, upper)
    if found is None:
        return np.zeros_like(rest), 0.0
    n = len(x)
    now = utility.slope(x[found.i, found.j])
    # A pair's slope pushes its two completions apart.
    matrix = np.zeros((n, len(found.i)))
    columns = np.arange(len(found.i))
    matrix[found.i, columns], matrix[found.j, columns] = 1.0 / pairs, -1.0 / pairs
    gradient = np.diff(np.concatenate([[0.0], rest, [0.0]]))
    low, high = found.low - now, found.high - now
    solved = lsq_linear(matrix, -gradient, (low, np.maximum(high, low + 1e-300)), tol=1e-14)
    change = np.clip(solved.x, low, high)
    gaps = x[found.i, found.j]
    loss = utility.value(found.at) + (now + change) * (gaps - found.at) - utility.value(gaps)
    return np.cumsum(matrix @ change)[:-1], float(np.maximum(loss, 0.0).sum()) / pairs
