"""The optimum of n completions in all of R: which penalty, which method, and the solution."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from collapse_theory.errors import NoOptimum
from collapse_theory.finite.conic import conic_held
from collapse_theory.finite.newton import Answer
from collapse_theory.finite.unbounded import unbounded
from collapse_theory.programs import (
    LOOSE,
    TOLERANCE,
    Centered,
    Comparisons,
    Confined,
    Free,
    Solution,
    centred,
    certify_held,
)
from collapse_theory.programs.listwise import certify_listwise_held
from collapse_theory.utilities import Loss, PlackettLuce, Utility, require_concave

__all__ = ["held_solution", "penalty", "solve_held"]

METHODS = {"newton": unbounded, "conic": conic_held}
LARGE = 1000  # completions whose pairs make a graph of fair size
WIDEST = 1000.0  # concavity is looked at up to gaps of this size, and of the answer's


def solve_held(
    utility: Utility,
    n: int,
    domain: Confined | Centered | Free,
    method: str,
    tol: float | None,
    max_iterations: int | None,
) -> Solution:
    """Return the certified optimum of n completions in a domain without ends."""
    kappa = penalty(domain, n)
    require_concave(utility, WIDEST)
    if kappa == 0 and not np.any(utility.d1(np.geomspace(1e-6, 1e9, 200)) < 0):
        raise NoOptimum(
            f"nothing holds the rewards under {domain}: {utility} has no maximum, so the objective "
            f"rises as the gaps grow (n = {n}). Use a penalty (Confined, Centered with n > 2), a "
            "box, or a utility with a maximum (LabelSmoothing, Squared)"
        )
    if method == "auto" and utility.kinks and n <= LARGE:
        # On the graph of all pairs kinks are exact: many times as fast, and as accurate.
        from collapse_theory.finite.graph import solve_graph  # at first use: a lighter import

        found = solve_graph(utility, Comparisons.full(n), domain, "newton", tol, max_iterations)
        if found.status == "optimal":
            return replace(found, comparisons=None)
    if method == "auto":
        method = "conic" if utility.kinks else "newton"
    answer: Answer = METHODS[method](utility, n, kappa, max_iterations)
    widest = float(answer.gaps.sum())
    if widest > WIDEST:
        require_concave(utility, widest)
    return held_solution(
        utility,
        domain,
        answer.gaps,
        method=method,
        iterations=answer.iterations,
        stopped=not answer.converged,
        tol=tol,
    )


def penalty(domain: Confined | Centered | Free, n: int) -> float:
    """Return the kappa of the penalty kappa mean r_i**2 that `domain` amounts to."""
    if isinstance(domain, Confined):
        return domain.kappa
    return domain.kappa(n) if isinstance(domain, Centered) else 0.0


def held_solution(
    utility: Loss,
    domain: Confined | Centered | Free,
    gaps: np.ndarray,
    *,
    method: str,
    iterations: int = 0,
    stopped: bool = False,
    tol: float | None = None,
    reference: str | None = None,
) -> Solution:
    """Return the solution with these gaps and mean 0, with its certificate."""
    kappa = penalty(domain, len(gaps) + 1)
    if isinstance(utility, PlackettLuce):
        certificate = certify_listwise_held(utility, gaps, kappa)
    else:
        certificate = certify_held(utility, gaps, kappa)
    allowed = tol if tol is not None else LOOSE if method == "conic" else TOLERANCE
    optimal = certificate.relative_gap <= allowed
    return Solution(
        rewards=centred(gaps),
        gaps=gaps,
        objective=certificate.objective,
        gap=certificate.gap,
        relative_gap=certificate.relative_gap,
        status="optimal" if optimal else "max_iterations" if stopped else "inaccurate",
        method=method,
        iterations=iterations,
        unique=True,
        utility=utility,
        domain=domain,
        reference=reference,
    )
