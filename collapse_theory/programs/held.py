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

    `shortfall` is the spread of U over the pairs' gaps; for two completions, which have but one
    gap g, the larger of U'(g) g and -U''(g) g**2.
    """
    n = len(gaps) + 1
    pairs = n * (n - 1) / 2
    x, upper, rewards = pair_gaps(gaps), ~np.tri(n, dtype=bool), centred(gaps)
    with np.errstate(all="ignore"):
        values, slopes = utility.value(x[upper]), utility.slope(x)
        force = straddle(np.where(upper, slopes, 0.0)) / pairs
        size = straddle(np.where(upper, np.abs(slopes), 0.0)) / pairs
    objective = float(np.mean(values)) - kappa * float(np.mean(rewards**2))
    spread = float(np.ptp(values))
    if n == 2:
        bend = float(utility.curvature(x)[0, 1])
        spread = max(abs(float(force[0])) * gaps[0], -bend * gaps[0] ** 2)
    if not np.all(np.isfinite(force)):
        return Certificate(objective, math.inf, spread)
    pulls = 2 * kappa / n * np.cumsum(rewards)[:-1]
    rest = np.diff(np.concatenate([[0.0], force - pulls, [0.0]]))
    rounding = (4 + math.sqrt(n)) * EPS * np.concatenate([[0.0], size + pulls, [0.0]])
    rest = np.abs(rest) + rounding[1:] + rounding[:-1]
    if kappa > 0:
        gap = n * math.fsum(rest**2) / (4 * kappa)
    else:
        gap = _dual_gap(utility, x, upper, force, rounding)
    return Certificate(objective, gap + EPS * abs(objective), spread)


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
        first, second = utility.derivatives(best)
        step = np.clip((p - first) / second, -1.0, 1.0)
        best = best + step
        if np.abs(step).max() < 1e-14 * max(1.0, float(np.abs(best).max())):
            break
    else:
        return math.inf  # no gap has the slope p: the bound says nothing
    # U(y) - p y - (U(g) - p g); the balanced p have mean p g = 0.
    gain = utility.value(best) - utility.value(start) - p * (best - start)
    return float(np.mean(np.maximum(gain, 0.0))) + float(rounding.max())
