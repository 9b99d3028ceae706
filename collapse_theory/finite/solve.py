"""The optimum of n completions: the method is picked, the answer certified."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from collapse_theory.errors import CollapseError, NoConicForm, SolverFailed
from collapse_theory.exact import exact_gaps
from collapse_theory.finite.conic import conic
from collapse_theory.finite.held import solve_held
from collapse_theory.finite.newton import Answer, newton
from collapse_theory.programs import (
    Box,
    Centered,
    Comparisons,
    Confined,
    Domain,
    Free,
    Solution,
    count,
    in_box,
    unit_utility,
)
from collapse_theory.utilities import Loss, PlackettLuce, Utility, as_loss

__all__ = ["METHODS", "solve"]

METHODS: dict[str, Callable[[Utility, int, int | None], Answer]] = {
    "newton": newton,
    "conic": conic,
}


def solve(
    u: Loss | str,
    n: int | None = None,
    domain: Domain | None = None,
    comparisons: Comparisons | None = None,
    *,
    method: str = "auto",
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
    domain : Box, Confined, Centered or Free, optional
        Where rewards may lie, or what holds them; Box(0, 1) unless given.
    comparisons : Comparisons, optional
        Which pairs count and how much; the full ranking, best first, unless given. With them the
        rewards come back in the completions' own order.
    method : {"auto", "newton", "conic"}
        "newton" is this package's own and the most accurate (kinks are smoothed less and less);
        "conic" is the reference, through CVXPY. "auto" takes newton; for piecewise linear
        utilities, which may have several optima, the closed form or the conic program, which picks
        the limit of strictly concave optima: the least sum of squares of all pairs' gaps.
        Under comparisons they are solved by minimum cuts, reported as "cuts".
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
    u, domain = as_loss(u), Box() if domain is None else domain
    _check_options(method, tol, max_iterations)
    if isinstance(u, PlackettLuce):
        from collapse_theory.finite.listwise import refuse_comparisons, solve_listwise

        if comparisons is not None:
            refuse_comparisons(u)
        return solve_listwise(u, n, domain, method, tol, max_iterations)
    if comparisons is not None:
        return solve_comparisons(u, n, domain, comparisons, (method, tol, max_iterations))
    n = count(n)
    if isinstance(domain, Confined | Centered | Free):
        return solve_held(u, n, domain, method, tol, max_iterations)
    unit = unit_utility(u, domain)
    if method != "auto":
        return _solved(u, domain, METHODS[method](unit, n, max_iterations), method, tol)
    if not unit.strictly_concave:
        exact = exact_gaps(unit, n)
        if exact is not None and (exact[0].unique or not _kinked(unit)):
            return in_box(
                u,
                domain,
                exact[0].gaps,
                method="closed form",
                unique=exact[0].unique,
                reference=exact[1],
                tol=tol,
            )
    found, failed = [], None
    for name in _order(unit):
        try:
            answer = METHODS[name](unit, n, max_iterations)
        except (NoConicForm, SolverFailed) as fault:
            failed = fault
            continue
        found.append(_solved(u, domain, answer, name, tol))
        if found[-1].status == "optimal":
            break
    if failed is not None and not found:
        raise failed
    return min(found, key=lambda solution: solution.relative_gap)


def solve_comparisons(
    u: Utility,
    n: int | None,
    domain: Domain,
    comparisons: Comparisons,
    options: tuple[str, float | None, int | None],
) -> Solution:
    """Return the optimum under `comparisons`; a full ranking is solved as one."""
    from collapse_theory.finite.graph import solve_graph  # at first use: a lighter import

    if not isinstance(comparisons, Comparisons):
        raise CollapseError(f"comparisons must be a Comparisons, got {comparisons!r}")
    if n is not None and count(n) != comparisons.n:
        raise CollapseError(
            f"n = {n} differs from the {comparisons.n} completions of the comparisons; leave n out"
        )
    if not isinstance(domain, Domain):
        raise CollapseError(f"domain must be Box, Confined, Centered or Free, got {domain!r}")
    order = comparisons.full_order()
    if order is None or np.any(comparisons.margins):
        return solve_graph(u, comparisons, domain, *options)
    method, tol, most = options
    ranked = solve(u, comparisons.n, domain, method=method, tol=tol, max_iterations=most)
    rewards = np.empty(comparisons.n)
    rewards[order] = ranked.rewards
    return replace(ranked, rewards=rewards, comparisons=comparisons)


def _kinked(unit: Utility) -> bool:
    return any(kink < 1 for kink in unit.kinks)


def _order(unit: Utility) -> tuple[str, ...]:
    """Return the methods to try, best first."""
    if not _kinked(unit):
        return ("newton",)
    # Of several optima, the conic program picks the one that is stated.
    return ("newton", "conic") if unit.strictly_concave else ("conic", "newton")


def _solved(u: Utility, domain: Box, answer: Answer, method: str, tol: float | None) -> Solution:
    return in_box(
        u,
        domain,
        answer.gaps,
        method=method,
        iterations=answer.iterations,
        unique=answer.unique,
        tol=tol,
        stopped=not answer.converged,
    )


def _check_options(method: str, tol: float | None, max_iterations: int | None) -> None:
    if not isinstance(method, str) or method not in ("auto", *METHODS):
        known = ", ".join(repr(name) for name in ("auto", *METHODS))
        raise CollapseError(f"unknown method {method!r}; known methods: {known}")
    if tol is not None and not (isinstance(tol, int | float | np.number) and tol > 0):
        raise CollapseError(f"tol must be positive, got {tol!r}")
    if max_iterations is not None and (
        not isinstance(max_iterations, int | np.integer)
        or isinstance(max_iterations, bool)
        or max_iterations < 1
    ):
        raise CollapseError(
            f"max_iterations must be a positive whole number, got {max_iterations!r}"
        )
