"""Newton's method for smooth full rankings, in the logarithms of the gaps between neighbours.

With G_k the derivative of the objective by the half gap e_k, the optimum has G_k = lambda for all
k in the box, lambda = 2 G.e as the half gaps sum to 1/2, and G_k = pi_k under a penalty, whose pull
pi_k = 2 kappa/n sum_{i <= k} r_i is a sum of positive terms like the force. Newton's method is
applied to log G = log lambda, or log pi, in the unknowns y = log e: with H minus the Hessian, E the
diagonal matrix of e, it solves

    H E y = G log(G / lambda) - nu G,   e.y = 0     in the box,
    H E y = G log(G / pi)                           without one,

where G stands for pi in the derivative of log pi: they are the same at the optimum
(`finite/penalised_gaps.py`).

For powers that system is nearly linear over any range of gaps, and four steps from the quantiles of
a Beta law are enough (x**0.95 at n = 40, gaps of 1e-46): docs/theory.md#newtons-method.

U'(0) = inf: no ties. U'(0) < inf: in the box several completions tie at each end, as many as would
were all other gaps equal; Newton's method finds the gaps that are not zero, and completions join or
leave the tied groups until the optimality conditions hold. Where that fails it begins anew from
equal gaps without ties, and where that fails interior points tell the neighbourhood, and who ties.
"""

from __future__ import annotations

import numpy as np

from collapse_theory.errors import OutOfRange
from collapse_theory.finite.budget import LEAST_GAP, Budget
from collapse_theory.finite.interior_point import path_end
from collapse_theory.finite.log_newton import (
    half_gaps,
    log_newton,
    with_tied_groups,
)
from collapse_theory.finite.penalised_gaps import penalised_gaps, require_in_range
from collapse_theory.finite.symmetric import SymmetricRanking, equal_gaps
from collapse_theory.numerics.checks import MOST_RANKED
from collapse_theory.programs import Answer, ListwiseProgram, Program
from collapse_theory.utilities import Utility

_NEAR = 1e-10  # complementarity at which a path of interior points has told the neighbourhood


class LogGaps:
    """Newton's method in log-gaps, on the upper half of a ranking."""

    name = "newton"

    def fits(self, program: Program | ListwiseProgram) -> bool:
        """Whether it is a full ranking under a utility without kinks, and its pairs fit memory."""
        smooth = isinstance(program, Program) and program.full and not program.kinked
        return smooth and program.n <= MOST_RANKED

    def __call__(self, program: Program, budget: Budget) -> Answer:
        """Return the optimal gaps.

        Raises
        ------
        OutOfRange
            Where gaps in the box would leave the range of float64.
        NoOptimum
            Where they would without a box.
        """
        utility, n = program.utility, program.n
        unique = utility.strictly_concave or not program.box or None
        with np.errstate(all="ignore"):
            if not program.box:
                gaps, converged = _without_box(utility, n, program.kappa, budget)
            elif utility.slope(np.float64(1.0 / (n - 1))) == 0:
                # U' underflows: for tails as steep as that the smallest gap is all that counts.
                gaps, converged = np.full(n - 1, 1.0 / (n - 1)), True
            else:
                gaps, converged = _in_box(program, budget)
        # Short of the optimum with iterations left is "inaccurate", not "max_iterations".
        return Answer(
            gaps, iterations=budget.used, converged=converged or not budget.spent, unique=unique
        )


# -- in the box ----------------------------------------------------------------------------


def _in_box(program: Program, budget: Budget) -> tuple[np.ndarray, bool]:
    utility, n = program.utility, program.n
    half, ties = SymmetricRanking(utility, n), np.isfinite(utility.slope_at_zero)
    found = half_gaps(utility, n, budget)
    vanished = not ties and found.e.min() < LEAST_GAP
    if not found.converged and not budget.spent:
        # U' falls by many orders among the gaps: from equal gaps, on its logarithm, without ties.
        even = log_newton(half, equal_gaps(n), budget, 60)
        found = even if even.converged else found
    if not found.converged and not budget.spent:
        # A start far off: the neighbourhood, and who ties, are told by interior points.
        e, tied = _inside(program, budget)
        if ties:
            found = with_tied_groups(utility, n, e, tied, budget)
        else:
            found = log_newton(half, e, budget, 60)
    if not (ties or found.converged) and (vanished or found.e.min() < LEAST_GAP):
        raise OutOfRange(
            f"the optimum of {utility} for n = {n} has gaps below {LEAST_GAP:g}, outside "
            "float64; use fewer completions or a less steep utility (its limit law is not affected)"
        )
    return half.gaps(found.e), bool(found.converged)


def _inside(program: Program, budget: Budget) -> tuple[np.ndarray, int]:
    """Return half gaps near the optimum, and how many tie: the end of a path on all pairs."""
    _, point, _ = path_end(program, budget, _NEAR)
    beside = np.flatnonzero(program.graph.b - program.graph.a == 1)
    gaps, h = point.s[beside], program.n // 2
    e = ((gaps + gaps[::-1]) / 2)[:h]
    e[-1] /= 1 + (program.n + 1) % 2
    loose = np.flatnonzero(~point.tight[beside[:h]])
    return e * (0.5 / e.sum()), int(loose[0]) + 1 if len(loose) else h


# -- without a box -------------------------------------------------------------------------


def _without_box(utility: Utility, n: int, kappa: float, budget: Budget) -> tuple[np.ndarray, bool]:
    if utility.slope_at_zero <= 0:
        return np.zeros(n - 1), True  # no gap is worth opening
    found = penalised_gaps(utility, n, kappa, budget)
    require_in_range(found.e)
    return SymmetricRanking(utility, n).gaps(found.e), bool(found.converged)
