"""The optimum of n completions: the program, the solvers that fit it, the best certified answer."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Any, Literal, Protocol, get_args

import numpy as np

from collapse_theory.errors import CollapseError, NoClosedForm, NoConicForm, SolverFailed
from collapse_theory.exact import exact_answer
from collapse_theory.finite.budget import Budget
from collapse_theory.finite.conic import Conic
from collapse_theory.finite.interior_point import InteriorPoint
from collapse_theory.finite.log_gaps import LogGaps
from collapse_theory.finite.min_cut import MinCut
from collapse_theory.finite.patterns import ByPatterns
from collapse_theory.finite.plackett_luce import ScoreNewton
from collapse_theory.finite.spectral import FEWEST, Spectral
from collapse_theory.finite.uniqueness import is_determined
from collapse_theory.finite.unordered import Unordered
from collapse_theory.numerics.checks import positive, ranked, whole
from collapse_theory.programs import (
    TOLERANCE,
    Answer,
    Box,
    Comparisons,
    Domain,
    DomainLike,
    ListwiseProgram,
    Program,
    Solution,
    as_domain,
)
from collapse_theory.programs.program import WIDEST_CHECKED, in_gaps
from collapse_theory.utilities import Loss, as_loss, require_concave

QUICK_PAIRS = 5000  # up to which a conic program takes some seconds
REMEMBERED = 64  # completions up to which answers to comparisons are kept: prompts share patterns


class Solver(Protocol):
    """What finds the optimum of the programs that fit it."""

    @property
    def name(self) -> str:
        """What users see as `Solution.method`."""
        ...

    def fits(self, program: Any) -> bool:
        """Whether it solves programs like this one."""
        ...

    def __call__(self, program: Any, budget: Budget) -> Answer | None:
        """Return the best answer that it finds within the budget, None where it has none."""
        ...


class ClosedForm:
    """The exact answers, where the utility isn't strictly concave or a ranking is listwise."""

    name = "closed form"

    def fits(self, program: Program | ListwiseProgram) -> bool:
        """Whether rewards lie in a box, and Newton's method doesn't give the same digits."""
        strict = isinstance(program, Program) and program.utility.strictly_concave
        return program.full and program.box and not strict

    def __call__(self, program: Program | ListwiseProgram, budget: Budget) -> Answer | None:
        """Return it; None where none is known, or at kinks one optimum of several is."""
        found = exact_answer(program)
        return None if found is None or (program.kinked and not found.unique) else found


# In the order in which they are tried; the first that comes within TOLERANCE is taken.
SOLVERS: tuple[Solver, ...] = (
    ClosedForm(),
    Spectral(),
    LogGaps(),
    ScoreNewton(),
    Unordered(),
    ByPatterns(MinCut()),
    ByPatterns(InteriorPoint()),
    Conic(),
)
# Which of them a user's `method` means; "auto" means all.
Method = Literal["auto", "newton", "spectral", "conic", "exact"]
METHODS = {
    "newton": ("newton", "spectral", "cuts"),
    "spectral": ("spectral",),
    "conic": ("conic",),
}


def solve(
    u: Loss | str,
    n: int | None = None,
    domain: DomainLike | None = None,
    comparisons: Comparisons | None = None,
    *,
    method: Method = "auto",
    tol: float | None = None,
    max_iterations: int | None = None,
) -> Solution:
    """Return the optimal rewards of n completions.

    Maximises f(r) = mean over i < j of U(r_i - r_j) subject to high >= r_1 >= ... >= r_n >= low, or
    less a penalty with r in all of R: see the domains.

    Parameters
    ----------
    u : Utility, PlackettLuce or str
        The utility of a gap, concave and increasing over the gaps that the domain allows; or the
        listwise loss, whose f is the mean log-likelihood of a pick.
    n : int, optional
        The number of completions, at least 2; not needed where `comparisons` are given.
    domain : Box, Confined, Centered, Free or Anchored, optional
        Where rewards may lie, or what holds them; Box(0, 1) unless given. A pair (low, high) is a
        Box, as bounds are in SciPy.
    comparisons : Comparisons, optional
        Which pairs count and how much; the full ranking, best first, unless given. With them the
        rewards come back in the completions' own order.
    method : {"auto", "newton", "spectral", "conic", "exact"}
        "newton" is this package's own and the most accurate. It includes "spectral", where the
        gaps of a smooth full ranking of 700 completions or more, however they are held,
        are polynomials of the index, and minimum cuts for piecewise linear utilities, reported as
        "cuts": of several optima they give the limit of strictly concave ones, that with the least
        sum of squares of all pairs' gaps. "conic" is the reference, through CVXPY; "exact" takes
        closed forms alone. "auto" takes newton, and closed forms for utilities that aren't strictly
        concave and for listwise losses in a box; where that is short of the tolerance, every other
        method that fits, and the best answer.
    tol : float, optional
        The relative gap up to which the answer is called optimal; unless given 1e-9, or 1e-6 for
        "conic" and for utilities with kinks. The methods go on until rounding stops them.
    max_iterations : int, optional
        After which the method stops with what it has (status "max_iterations").

    Returns
    -------
    Solution
        The rewards, best first, with a certificate computed from the program and the answer.

    Raises
    ------
    CollapseError
        A ValueError: n < 2, an unknown method, a utility that isn't concave or falls.
    NoOptimum
        Where nothing holds the rewards: log-sigmoid under Free, say.
    NoClosedForm
        For method="exact", where none is known.
    OutOfRange
        Where gaps would leave the range of float64.

    Notes
    -----
    Song, Cai, Lee, Su, arXiv:2305.17608, theorem 1: for strictly concave U the optimum is unique,
    and the same for every prompt.

    Examples
    --------
    >>> import collapse_theory as ct
    >>> ct.solve("log(x + 0.1)", 8).rewards.round(3)
    array([1.   , 1.   , 0.854, 0.627, 0.373, 0.146, 0.   , 0.   ])
    """
    _check_options(method, tol, max_iterations)
    small = isinstance(comparisons, Comparisons) and comparisons.n <= REMEMBERED
    work = _remembered if small else _solved
    # What leaves float64 on the way shows in the certificate.
    with np.errstate(all="ignore"):
        return work(as_loss(u), n, as_domain(domain), comparisons, method, tol, max_iterations)


def _solved(
    loss: Loss,
    n: int | None,
    domain: Domain,
    comparisons: Comparisons | None,
    method: str,
    tol: float | None,
    max_iterations: int | None,
) -> Solution:
    """Certify what the solvers that fit the program find, in their order, and keep the best."""
    program = Program.of(loss, n, domain, comparisons)
    if method == "exact":
        return _exact(program, tol)
    budget, best, failed = Budget(max_iterations), None, None
    for solver in SOLVERS:
        asked = method == "auto" or solver.name in METHODS[method]
        if not (asked and solver.fits(program)):
            continue
        tried = best is not None or failed is not None
        if tried and solver.name == "conic" and not _worth_a_reference(program, best):
            continue
        try:
            answer = solver(program, budget)
        except (NoConicForm, SolverFailed) as fault:
            failed = failed or fault
            continue
        if answer is None:
            continue
        found = Solution.of(program, _finished(program, answer), method=solver.name, tol=tol)
        if best is None or found.relative_gap < best.relative_gap:
            best = found
        if best.relative_gap <= TOLERANCE or (budget.asked and budget.spent):
            break
        budget = budget if budget.asked else budget.again()
    if best is None:
        raise failed or CollapseError(
            f"method={method!r} doesn't fit this program: it takes smooth full rankings of "
            f"{FEWEST} completions or more; method='auto' takes what fits"
        )
    if isinstance(program, Program) and not program.box:
        widest = float(np.ptp(best.rewards)) + program.margins
        if widest > WIDEST_CHECKED:
            require_concave(program.loss, widest)  # as far out as the answer has gaps
    return best


def _exact(program: Program | ListwiseProgram, tol: float | None) -> Solution:
    program.domain.require_known("closed_form")
    if isinstance(program, Program):
        ranked(program.n)
    answer = exact_answer(program)
    if answer is None:
        where = "" if program.domain == Box() else f" under {program.domain}"
        raise NoClosedForm(
            f"no closed form is known for {program.loss} and n = {program.n}{where}; ct.solve(u, "
            "n, domain) computes the optimum"
        )
    if len(answer.gaps if answer.gaps is not None else ()) != program.n - 1:
        raise CollapseError(
            f"the closed form from {answer.reference!r} gives other than {program.n} rewards"
        )
    return Solution.of(program, _finished(program, answer), method="closed form", tol=tol)


_remembered = lru_cache(maxsize=256)(_solved)


def _worth_a_reference(program: Program | ListwiseProgram, best: Solution | None) -> bool:
    """Whether the conic program may do better, in a time that one waits."""
    pairs = len(program.edges.a) if isinstance(program, Program) and program.edges else 0
    short = best is None or best.status != "optimal"
    return short and max(pairs, program.n * (program.n - 1) // 2) <= QUICK_PAIRS


def _finished(program: Program | ListwiseProgram, answer: Answer) -> Answer:
    """Return the answer in gaps for a full ranking, and with whether it is the only one."""
    if isinstance(program, Program) and answer.unique is None:
        answer = replace(answer, unique=is_determined(program, answer.rewards))
    return in_gaps(program, answer) if program.full and answer.rewards is not None else answer


def _check_options(method: str, tol: float | None, max_iterations: int | None) -> None:
    if not isinstance(method, str) or method not in get_args(Method):
        known = ", ".join(map(repr, get_args(Method)))
        raise CollapseError(f"unknown method {method!r}; known methods: {known}")
    if tol is not None:
        positive(tol, "tol")
    if max_iterations is not None:
        whole(max_iterations, "max_iterations")
