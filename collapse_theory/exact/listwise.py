"""Closed forms of Plackett-Luce rewards in a box: n completions, and the limit law.

Inside the box the derivative by each reward is zero: with S_k = sum_{j >= k} exp(r_j) and
A_i = sum_{k <= i} 1/S_k, exp(-r_i) = A_i. Then A_i S_{i+1} = A_{i-1} S_i = C is one constant, so
exp(r_i) = S_i / (C + 1) and the inner rewards are equally spaced, by log((C + 1)/C). Of p tied at
the top and q at the bottom, x = exp(-w) S_{p+1} in a box of width w:

    sum_{j=1}^{p} x / (x + j) = C,    x = q exp(-w) ((C+1)/C)**(n-p-q),

q is the least whole number from C on that leaves no ranked completion out, and p the number at
which C <= x <= C + 1; the gaps at the ends are log((C+1)/x) and log(q/C).
"""

from __future__ import annotations

import math

import numpy as np

from collapse_theory.laws import BetaDensity, RewardLaw, discrete_law
from collapse_theory.lazy import special
from collapse_theory.utilities import PlackettLuce

__all__ = ["LISTWISE", "listwise_gaps", "listwise_law"]

LISTWISE = "the optimality conditions of the stages: docs/listwise.md"
RTOL = 4 * float(np.finfo(np.float64).eps)
FAR = 40.0  # exp(-FAR) is nothing beside 1
SUMMED = 64  # up to so many terms are summed; more are a difference of digamma functions


def listwise_gaps(unit: PlackettLuce, n: int) -> np.ndarray:
    """Return the gaps (n-1,) of the optimal rewards in the box [0, 1].

    Parameters
    ----------
    unit : PlackettLuce
        The loss; its beta is the width of the box that the scores have.
    n : int
        The number of completions.

    Examples
    --------
    >>> from collapse_theory.exact.listwise import listwise_gaps
    >>> from collapse_theory.utilities import PlackettLuce
    >>> listwise_gaps(PlackettLuce(), 8).round(4)
    array([0.    , 0.    , 0.0079, 0.4425, 0.4425, 0.1072, 0.    ])
    """
    width, free = unit.beta, n - unit.stages(n)
    # C below exp(-40): the scores are equally spaced down to the bottom group, to rounding.
    steepest = (math.log(free) - width) / (n - free)
    if steepest < -FAR:
        gaps = np.zeros(n - 1)
        gaps[: n - free] = -steepest
        gaps[n - free - 1] += math.log(free)
        return gaps / gaps.sum()
    low, high = 1, n - free
    while True:
        p = (low + high) // 2
        t, log_x = _constant(n, free, width, p)
        if log_x > np.logaddexp(0.0, t) and low < high and p < high:
            low = p + 1  # the next reward would be above the box
        elif log_x < t and low < high and p > low:
            high = p - 1  # the last of the tied would be below its top
        else:
            break
    q = _tied_below(t, free, n - p)
    inner = n - p - q
    gaps = np.zeros(n - 1)
    if inner == 0:
        gaps[p - 1] = 1.0
        return gaps
    gaps[p : p + inner - 1] = np.logaddexp(0.0, -t)
    gaps[p - 1] = max(np.logaddexp(0.0, t) - log_x, 0.0)
    gaps[n - q - 1] = max(math.log(q) - t, 0.0)
    return gaps / gaps.sum()


def _tied_below(t: float, free: int, most: int) -> int:
    """Return q, the number tied at the bottom, from t = log C."""
    return min(max(math.ceil(math.exp(t)), free, 1), most)


def _constant(n: int, free: int, width: float, p: int) -> tuple[float, float]:
    """Return log C and log x with `p` tied at the top, whether or not they should be."""
    from scipy.optimize import brentq

    def log_x(t: float) -> float:
        q = _tied_below(t, free, n - p)
        return math.log(q) - width + (n - p - q) * float(np.logaddexp(0.0, -t))

    def excess(t: float) -> float:
        return _log_sum(log_x(t), p) - t

    high = math.log(n - p)
    over = excess(high)
    if over >= 0:
        return high + over, log_x(high)  # none is inside
    step = 1.0
    while excess(high - step) < 0:
        step *= 2
    t = float(brentq(excess, high - step, high, xtol=1e-300, rtol=RTOL))  # pyright: ignore[reportArgumentType]
    return t, log_x(t)


def _log_sum(log_x: float, p: int) -> float:
    """Return the logarithm of sum_{j=1}^{p} x / (x + j)."""
    if log_x > 30 + math.log(p):
        return math.log(p)  # far above any root, where x is at most C + 1 <= n
    x = math.exp(log_x)
    if p <= SUMMED or x < 1:
        return log_x + math.log(float((1.0 / (x + np.arange(1.0, p + 1))).sum()))
    return log_x + math.log(special.digamma(x + p + 1) - special.digamma(x + 1))


def listwise_law(unit: PlackettLuce) -> RewardLaw:
    """Return the limit law in the box [0, 1]: uniform inside, and atoms of different mass.

    With w the width that the scores have, the density of the scores is 1/(e + w) on [0, w], the
    atom at the bottom 1/(e + w) and that at the top (e - 1)/(e + w). With a fixed number of
    picks, all but those few end at the bottom.

    Examples
    --------
    >>> from collapse_theory.exact.listwise import listwise_law
    >>> from collapse_theory.utilities import PlackettLuce
    >>> listwise_law(PlackettLuce()).atoms.round(4).tolist()
    [[0.0, 0.2689], [1.0, 0.4621]]
    """
    if unit.top is not None:
        return discrete_law([0.0], [1.0], reference=LISTWISE)
    whole = math.e + unit.beta
    atoms = [[0.0, 1.0 / whole], [1.0, (math.e - 1.0) / whole]]
    return RewardLaw(atoms, (BetaDensity(1, 1, mass=unit.beta / whole),), reference=LISTWISE)
