"""Newton's method for the optimum of n completions, in the gaps between neighbours.

U'(0) = inf: no ties. With G_k the derivative of the objective by the gap e_k, the optimum has
G_k = lambda for all k. Newton's method is applied to log G_k = log lambda in the unknowns log e_k:
for powers that system is nearly linear over any range of gaps, and four steps from the quantiles of
a Beta law are enough (x**0.95 at n = 40, gaps of 1e-46).

U'(0) < inf: several completions tie at each end. A primal-dual interior-point method (Mehrotra's
predictor and corrector) finds how many; then the same Newton method polishes the gaps that are not
zero, and completions join or leave the tied groups until the optimality conditions hold.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from collapse_theory.errors import OutOfRange
from collapse_theory.finite.half import Half
from collapse_theory.finite.interior import follow_path, interior
from collapse_theory.finite.smoothing import WIDTHS, Smoothed
from collapse_theory.finite.start import start
from collapse_theory.finite.steps import Budget, constrained
from collapse_theory.programs import is_unique
from collapse_theory.utilities import Utility

__all__ = ["Answer", "newton"]

MAX_ITERATIONS = 2000
RATIO = WIDTHS[0] / WIDTHS[1]
LONGEST = 100.0  # the most by which one step divides a gap, as a logarithm
TINY = 1e-290  # gaps below it have squares of their reciprocals outside float64


@dataclass(frozen=True)
class Answer:
    """The gaps that a method found in the box [0, 1]; not `converged` if it had to stop early."""

    gaps: np.ndarray
    iterations: int
    converged: bool
    unique: bool = True


def newton(utility: Utility, n: int, max_iterations: int | None = None) -> Answer:
    """Return the optimal gaps of n completions in the box [0, 1].

    Raises
    ------
    OutOfRange
        Where gaps would leave the range of float64.
    """
    budget = Budget(MAX_ITERATIONS if max_iterations is None else max_iterations)
    equal = np.full(n - 1, 1.0 / (n - 1))
    with np.errstate(all="ignore"):
        if n <= 3 or not np.any(utility.slope(equal)):
            # U' underflows: for tails as steep as that the smallest gap is all that counts.
            gaps, converged = equal, True
        elif any(kink < 1 for kink in utility.kinks):
            gaps, converged = _through_kinks(utility, n, budget)
        else:
            gaps, converged = _smooth(utility, n, budget)
        unique = utility.strictly_concave or is_unique(utility, gaps)
    # Short of the optimum with iterations left is "inaccurate", not "max_iterations".
    return Answer(gaps, budget.used, converged or not budget.spent, unique)


def _smooth(utility: Utility, n: int, budget: Budget) -> tuple[np.ndarray, bool]:
    find = _without_ties if np.isinf(utility.slope_at_zero) else _with_ties
    return find(utility, n, budget)


def _through_kinks(utility: Utility, n: int, budget: Budget) -> tuple[np.ndarray, bool]:
    """Follow the optimum as the kinks sharpen, each time from where the last two point to."""
    gaps, converged = _smooth(Smoothed(utility, WIDTHS[0]), n, budget)
    before, last = gaps, WIDTHS[0]
    for width in WIDTHS[1:]:
        if not converged:
            break
        ahead = gaps + (before - gaps) * (last - width) / (last * (1 - RATIO))
        guess = np.where((gaps > 0) & (ahead > 0), ahead, gaps)[: n // 2]
        if n % 2 == 0:
            guess[-1] /= 2
        z = np.where(guess > 0, 0.0, 1.0)
        sharper, settled = _polish(Smoothed(utility, width), n, guess, z, budget)
        if not settled:
            sharper, settled = _smooth(Smoothed(utility, width), n, budget)
        if not settled:
            break
        before, gaps, last = gaps, sharper, width
    return gaps, converged


def _without_ties(utility: Utility, n: int, budget: Budget) -> tuple[np.ndarray, bool]:
    half = Half(utility, n)
    e, converged = _log_newton(half, start(utility, n, tiny=True), budget, 40)
    vanished = e.min() < TINY
    # Where the local exponent misled the start, the neighbourhood is found by a barrier.
    for find in (
        lambda: interior(half, start(utility, n), budget),
        lambda: follow_path(half, budget),
    ):
        if converged or budget.spent:
            break
        e, converged = _log_newton(half, find()[0], budget, 60)
    if not converged and (vanished or e.min() < TINY):
        raise OutOfRange(
            f"the optimum of {utility} for n = {n} has gaps below {TINY:g}, outside float64; use "
            "fewer completions or a less steep utility (its limit law is not affected)"
        )
    return half.gaps(e), converged


def _with_ties(utility: Utility, n: int, budget: Budget) -> tuple[np.ndarray, bool]:
    half = Half(utility, n)
    e, z = interior(half, start(utility, n), budget)
    gaps, converged = _polish(utility, n, e, z, budget)
    if not converged and not budget.spent:
        # Slopes that change by orders within a gap, as a sigmoid of steep margin has them.
        e, z = follow_path(half, budget)
        gaps, converged = _polish(utility, n, e, z, budget)
    if not converged and not budget.spent:
        # U' falls by many orders among the gaps: from equal gaps, on its logarithm, without ties.
        e, converged = _log_newton(half, np.full(n // 2, 0.5 / (n // 2)), budget, 60)
        gaps = half.gaps(e) if converged else gaps
    return gaps, converged


def _polish(
    utility: Utility, n: int, e: np.ndarray, z: np.ndarray, budget: Budget
) -> tuple[np.ndarray, bool]:
    """Fix the ties that e < z tells, and let completions join or leave them as they must."""
    loose = np.flatnonzero(e >= z)
    tied = (int(loose[0]) if len(loose) else len(e) - 1) + 1
    e = e[tied - 1 :]
    half, converged = Half(utility, n, tied), False
    seen: set[int] = set()
    while not budget.spent:
        e, converged = _log_newton(half, e * (0.5 / e.sum()), budget, 30)
        # k(M-k) U'(0) + k F <= M F for all k < M says (M-1) U'(0) <= F.
        force, slope = half.force_on_tied(e), utility.slope_at_zero
        if not converged and half.size > 1 and e[0] < 1e-9 / n and tied not in seen:
            seen.add(tied)  # the last reward runs into the group: it joins
            tied, e = tied + 1, e[1:]
        elif tied > 1 and (tied - 1) * slope > force * (1 + 1e-12) and tied not in seen:
            seen.add(tied)  # the group is too large: one completion leaves
            tied, e = tied - 1, np.concatenate([[e[0] / 2], [e[0] / 2], e[1:]])
        else:
            break
        half, converged = Half(utility, n, tied), False
    return half.gaps(e), converged


def _log_newton(half: Half, e: np.ndarray, budget: Budget, at_most: int) -> tuple[np.ndarray, bool]:
    """Newton's method on log G(e) = log lambda in log e, until the steps stop shrinking."""
    if len(e) == 1:
        return np.full(1, 0.5), True
    last, converged = np.inf, False
    for _ in budget.rounds(at_most):
        gradient, hessian = half.derivatives(e)
        level = 2.0 * float(gradient @ e)
        if level == 0.0:
            return e, True  # U' underflows at all gaps: nothing left to gain in float64
        gradient, hessian = gradient / level, hessian / level
        step = constrained(hessian, e, gradient * np.log(gradient), gradient)
        if step is None:
            return e, False
        size = float(np.abs(step).max())
        if converged and size >= 0.5 * last:
            return e, True  # stagnation: only rounding is left
        e = e * np.exp(np.clip(step, -LONGEST, 3.0))
        e *= 0.5 / e.sum()
        converged = size < 1e-6
        if size < 1e-15:
            return e, True
        stuck = np.isfinite(half.utility.slope_at_zero) and size > 1e6  # a gap that should be zero
        if stuck or not np.all(np.isfinite(e)) or e.min() < TINY:
            return e, False
        last = size
    return e, converged
