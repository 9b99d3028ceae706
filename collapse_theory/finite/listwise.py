"""The optimum of n completions under a listwise loss: closed form, Newton's method, or CVXPY."""

from __future__ import annotations

from typing import NoReturn

from collapse_theory.errors import CollapseError, NoOptimum
from collapse_theory.exact.listwise import LISTWISE, listwise_gaps
from collapse_theory.finite.held import held_solution, penalty
from collapse_theory.finite.listwise_conic import conic_listwise
from collapse_theory.finite.listwise_newton import newton_box, newton_held
from collapse_theory.finite.newton import Answer
from collapse_theory.programs import (
    Box,
    Centered,
    Confined,
    Domain,
    Free,
    Solution,
    count,
    in_box,
)
from collapse_theory.utilities import PlackettLuce

__all__ = ["exact_listwise", "refuse_comparisons", "solve_listwise"]


def solve_listwise(
    loss: PlackettLuce,
    n: int | None,
    domain: Domain,
    method: str,
    tol: float | None,
    max_iterations: int | None,
) -> Solution:
    """Return the certified optimum of n completions ranked as a whole.

    Raises
    ------
    NoOptimum
        Under Free, and under Centered for two completions.
    """
    n = count(n)
    if isinstance(domain, Box):
        if method == "auto":
            return exact_listwise(loss, n, domain)
        unit = loss.scaled(domain.width)
        if method == "newton":
            answer = newton_box(unit, n, max_iterations)
        else:
            answer = conic_listwise(unit, n, None, max_iterations)
        return in_box(
            loss,
            domain,
            answer.gaps,
            method=method,
            iterations=answer.iterations,
            tol=tol,
            stopped=not answer.converged,
        )
    if not isinstance(domain, Confined | Centered | Free):
        raise CollapseError(f"domain must be Box, Confined, Centered or Free, got {domain!r}")
    kappa = penalty(domain, n)
    require_held(loss, domain, kappa)
    method = "newton" if method == "auto" else method
    find = newton_held if method == "newton" else conic_listwise
    answer: Answer = find(loss, n, kappa, max_iterations)
    return held_solution(
        loss,
        domain,
        answer.gaps,
        method=method,
        iterations=answer.iterations,
        stopped=not answer.converged,
        tol=tol,
    )


def exact_listwise(loss: PlackettLuce, n: int, domain: Box) -> Solution:
    """Return the closed form of the optimum in a box, certified."""
    gaps = listwise_gaps(loss.scaled(domain.width), n)
    return in_box(loss, domain, gaps, method="closed form", reference=LISTWISE)


def require_held(loss: PlackettLuce, domain: Domain, kappa: float) -> None:
    """Raise NoOptimum where nothing holds the rewards."""
    if kappa > 0:
        return
    which = "two completions leave no penalty" if isinstance(domain, Centered) else "no penalty"
    raise NoOptimum(
        f"nothing holds the rewards under {domain} ({which}): the likelihood of {loss} rises "
        "towards 1 as the gaps grow. Use a penalty (Confined, or Centered with n > 2) or a box"
    )


def refuse_comparisons(loss: PlackettLuce) -> NoReturn:
    """Say that a listwise loss ranks all completions."""
    raise CollapseError(
        f"{loss} is the likelihood of a whole ranking, best first, so it takes no comparisons: "
        "give n (and top=k in PlackettLuce where only the best k are ranked), or solve the "
        "comparisons with a utility of a gap, such as logsigmoid(x)"
    )
