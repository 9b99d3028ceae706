"""Newton's method in the logarithms of the half gaps, and which completions tie, in the box.

The rows of e are half gaps of as many rankings, under a utility each, or one under one utility:
every step is a step of all that aren't done. docs/theory.md#newtons-method.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np

from collapse_theory.finite.budget import LEAST_GAP, Budget
from collapse_theory.finite.symmetric import SymmetricRanking, equal_gaps, initial_gaps
from collapse_theory.numerics.linear import solved
from collapse_theory.utilities import Stack, Utility

Utilities: TypeAlias = Utility | Stack

# By how much one step may change the logarithm of a gap: a gap of 1e-43 is a step away, and none
# becomes more than 20 times as large.
LOG_STEP = (-100.0, 3.0)
# Added to every entry of a Hessian it changes nothing for steps of which the sum is zero, and makes
# it regular where some gaps have no curvature of their own: in units of lambda, a matrix of
# ordinary size on (e_k) is 1.
ON_SUMS_OF_ZERO = 4.0
TINY = float(np.finfo(np.float64).tiny)  # below it floats have few digits
DRIFT = 3.0  # times the size of a step: how far G_1 may still change, relative to itself
NO_CHANGE = 1e-17  # relative, a tenth of a last place: a step this small moves no float
_SIZES = 64  # of groups at most that are tried at first
BEYOND_ZERO = -1.5  # log steps of a first gap that lead beyond 0, where G_1 is linear: below -1


@dataclass
class HalfGaps:
    """Half gaps (..., h), and of each ranking (...) whether they converged, or the first gap closes
    or opens; the number of iterations.
    """

    e: np.ndarray
    converged: Any
    closes: Any
    opens: Any
    rounds: Any

    @classmethod
    def start(cls, e: np.ndarray) -> HalfGaps:
        """Return half gaps to begin with."""
        each = e.shape[:-1]
        return cls(e.copy(), *(np.zeros(each, kind) for kind in (bool, bool, bool, int)))

    def put(self, rows: Any, of: HalfGaps) -> None:
        """Set the half gaps of some rows, and what is known of them."""
        self.e[rows], self.converged[rows], self.rounds[rows] = of.e, of.converged, of.rounds
        self.closes[rows], self.opens[rows] = of.closes, of.opens


def rows_of(utility: Utilities, at: Any) -> Utilities:
    """Return the utilities of some rows; one of all rows is its own."""
    return utility.rows(at) if isinstance(utility, Stack) else utility


def log_newton(half: SymmetricRanking, e: np.ndarray, budget: Budget, at_most: int) -> HalfGaps:
    """Newton's method on log G(e) = log lambda in log e, until the steps stop shrinking.

    Of one ranking, e of shape (h,), or of many (m, h). Where U'(0) is finite, G_1 is nearly linear
    in a small e_1: a step beyond 0 there says that no first gap is the best.
    """
    found = HalfGaps.start(e)
    rows: Any = np.arange(len(e)) if e.ndim > 1 else ...
    if e.shape[-1] == 1:
        found.e[...], found.converged[...] = 0.5, True
        return found
    slope, inside = half.utility.slope_at_zero, half.tied * (half.tied - 1)
    last, near = np.inf, np.False_
    for k in budget.rounds(at_most):
        gradient, hessian = half.derivatives(e)
        level = 2.0 * np.vecdot(gradient, e)
        step = _log_step(hessian, e, gradient, level)
        size = np.abs(step).max(axis=-1)
        # Only rounding is left; or U' underflows at all gaps, with nothing to gain in float64.
        over = (near & (size >= 0.5 * last)) | (level < TINY)
        going, before = ~over & (size < np.inf), e
        e = e * np.exp(np.minimum(np.maximum(step, LOG_STEP[0]), LOG_STEP[1]))
        e *= (0.5 / e.sum(axis=-1))[..., None]
        near = size < 1e-6
        done = over | (near & settles(size, last)) | (size < 1e-15)
        last = size
        closes = (step[..., 0] < BEYOND_ZERO) & ~done & (slope < np.inf)
        # k(M-k) U'(0) + k F <= M F for all k < M says (M-1) U'(0) <= F, and G_1 = M F.
        opens = inside * slope > gradient[..., 0] * (1 + 1e-12 + np.minimum(DRIFT * size, 1e6))
        ends = done | closes | opens | ~(going & (e.min(axis=-1) >= LEAST_GAP))
        if ends.any():
            e = np.where(going[..., None], e, before)
            found.put(rows, HalfGaps(e, done, closes, opens & ~closes, k + 1))
            if ends.all():
                return found
            stay = ~ends
            half = SymmetricRanking(rows_of(half.utility, stay), half.n, half.tied)
            slope = half.utility.slope_at_zero
            rows, e, near, last = rows[stay], e[stay], near[stay], last[stay]
    found.e[rows], found.converged[rows], found.rounds[rows] = e, near, at_most
    return found


def settles(size: Any, last: Any) -> Any:
    """Whether the next step is below rounding: steps fall like c s**2, c from the last two."""
    return size**3 < NO_CHANGE * last * last


def _log_step(
    hessian: np.ndarray, e: np.ndarray, gradient: np.ndarray, level: np.ndarray
) -> np.ndarray:
    """Solve H E y = G log G - nu G for y with e.y = 0, in units of lambda; NaN where it fails."""
    unit = 1.0 / level[..., None]
    right = np.empty((*e.shape, 2))
    right[..., 1] = force = gradient * unit
    right[..., 0] = force * np.log(force)
    y = solved(hessian * unit[..., None] + ON_SUMS_OF_ZERO, right) / e[..., None]
    along = np.vecdot(e[..., None], y, axis=-2)  # pyright: ignore[reportCallIssue]
    # 0 where the curvature has left the range of float64: then the step isn't finite.
    return y[..., 0] - (along[..., :1] / along[..., 1:]) * y[..., 1]


# -- who ties ------------------------------------------------------------------------------


def first_ties(utility: Utilities, n: int) -> np.ndarray:
    """Return how many would tie at an end, for each utility, were the gaps of the others equal.

    M do where the force F of the others on one of them is (M-1) U'(0) or more.
    """
    places, counts, sizes = _with_equal_gaps(n)
    first = utility.slope(places)
    force = (first.reshape(*first.shape[:-1], len(sizes), -1) * counts).sum(axis=-1)
    tied = (sizes - 1) * _column(utility.slope_at_zero) <= force
    return sizes[np.maximum(tied.sum(axis=-1), 1) - 1]


@lru_cache(maxsize=32)
def _with_equal_gaps(n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the places of the others seen from groups of some sizes, and how many are there."""
    sizes = np.unique(np.linspace(1, n // 2, _SIZES).astype(int))
    free = n - 2 * sizes[:, None]
    k = np.arange(1, n)
    counts = np.where(k <= free, 1.0, 0.0)
    counts[:, -1] = sizes  # the other group, at distance 1
    return np.minimum(k / (free + 1), 1.0).ravel(), counts, sizes


def _ties(utility: Utilities, n: int, e: np.ndarray) -> np.ndarray:
    """Return how many would tie at an end, (...), were the others where half gaps e put them."""
    h, end = n // 2, np.ones((*e.shape[:-1], 1))
    top = np.concatenate([0 * end, e[..., :-1]], axis=-1).cumsum(axis=-1)
    first = utility.slope(np.concatenate([top[..., 1:], 1.0 - top, 0.5 * end], axis=-1))
    size = np.arange(1, h + 1)
    force = size * first[..., h - 1 : h] + (n % 2) * first[..., -1:]
    beyond = first[..., : h - 1] + first[..., h:-1]
    force[..., :-1] += beyond[..., ::-1].cumsum(axis=-1)[..., ::-1]
    tied = (size - 1) * _column(utility.slope_at_zero) <= force
    return np.maximum(tied.sum(axis=-1), 1)


def _column(each: Any) -> np.ndarray:
    return np.asarray(each)[..., None]


def half_gaps(utility: Utilities, n: int, budget: Budget) -> HalfGaps:
    """Return the optimal half gaps: of a stack of utilities, of which all have an infinite U'(0) or
    none, a row each.
    """
    even = equal_gaps(n)
    if isinstance(utility, Stack):
        even = np.repeat(even[None], len(utility), axis=0)
    if n <= 3:
        found = HalfGaps.start(even)
        found.converged[...] = True
        return found
    if np.isinf(np.ravel(utility.slope_at_zero)[0]):
        half = SymmetricRanking(utility, n)
        return log_newton(half, initial_gaps(utility, n, tiny=True), budget, 40)
    return with_tied_groups(utility, n, even, first_ties(utility, n), budget)


def with_tied_groups(
    utility: Utilities, n: int, e: np.ndarray, tied: Any, budget: Budget
) -> HalfGaps:
    """Return all half gaps, those in groups of `tied` 0: completions join or leave the groups until
    the optimality conditions hold.
    """
    h, each = e.shape[-1], e.shape[:-1]
    some = np.flatnonzero if each else lambda _: ...
    found, tied = HalfGaps.start(e), np.array(np.minimum(tied, h))
    e, seen, open_ = found.e, np.zeros((*each, h + 1), dtype=bool), np.ones(each, dtype=bool)
    while open_.any() and not budget.spent:
        size = int(tied[open_].min())
        rows: Any = some(open_ & (tied == size))
        half = SymmetricRanking(rows_of(utility, rows), n, size)
        free = e[rows, size - 1 :]
        at = log_newton(half, free * (0.5 / free.sum(axis=-1, keepdims=True)), budget, 30)
        e[rows, : size - 1], e[rows, size - 1 :] = 0.0, at.e
        found.rounds[rows] += at.rounds
        joins = at.closes & (half.size > 1) & ~seen[rows, size]
        changes = joins | (at.opens & (size > 1) & ~seen[rows, size])
        found.converged[rows], open_[rows], seen[rows, size] = (
            at.converged & ~changes,
            changes,
            True,
        )
        if changes.any():
            if each:
                rows, joins = rows[changes], joins[changes]
            tied[rows], e[rows] = _regrouped(rows_of(utility, rows), n, e[rows], size, joins)
    e *= 0.5 / e.sum(axis=-1, keepdims=True)  # also where the budget ended before
    return found


def _regrouped(
    utility: Utilities, n: int, e: np.ndarray, size: int, joins: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return how many tie next, where completions join a group of `size` or leave it; half gaps.

    Gaps of those that join are 0; those that leave share the first one.
    """
    wanted = _ties(utility, n, e)
    tied = np.where(joins, np.maximum(wanted, size + 1), np.minimum(wanted, size - 1))
    first, order = tied[..., None] - 1, np.arange(e.shape[-1])
    opened = ~joins[..., None] & (order >= first) & (order < size)
    share = e[..., size - 1 : size] / (size - first)
    return tied, np.where(opened, share, np.where(order < first, 0.0, e))
