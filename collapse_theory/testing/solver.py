"""A solver of one's own against the package's: its answers, and whether its gaps are honest."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from hypothesis import strategies as st

from collapse_theory.errors import CollapseError
from collapse_theory.programs import Domain, DomainLike, ListwiseProgram, Program
from collapse_theory.testing.answers import (
    Case,
    certificate_text,
    contrast,
    difference,
    few,
    read,
)
from collapse_theory.testing.search import (
    Finding,
    Report,
    arguments,
    domains_of,
    losses_of,
    name_of,
    numbers_of,
    searched,
)
from collapse_theory.testing.strategies import comparisons, domains, programs

# The loss that a solver may have, as a share of the spread of U, unless a tolerance is given.
TOLERANCE = 1e-6
EXAMPLES = 100


def check_solver(
    function: Callable[..., Any],
    utilities: Any = None,
    ns: Any = None,
    domain: DomainLike | st.SearchStrategy[Domain] | None = None,
    pairs: st.SearchStrategy[Any] | None = None,
    *,
    tol: float = TOLERANCE,
    examples: int = EXAMPLES,
) -> Report:
    """Check a solver of one's own against the certified ones, in random programs.

    Parameters
    ----------
    function : callable
        From (utility, n), or (utility, n, domain), or (utility, n, domain, comparisons), as many
        as it takes, to the rewards, or (rewards, gap), or an object with `rewards` and maybe `gap`
        and `gaps`; best first, with comparisons in the completions' order. Where it doesn't apply
        it returns None or raises `NoClosedForm`.
    utilities, ns, domain, examples
        As in `check_closed_form`; 2 to 12 completions, and of a function that takes a domain any,
        unless given.
    pairs : strategy, optional
        Of `Comparisons`, for a function that takes them; random ones unless given.
    tol : float
        How far below the optimum the objective may be, over the spread of U: 1e-6 unless given.
        More lets approximate solvers pass; the gaps that they claim must be honest all the same.

    Returns
    -------
    Report
        With the largest loss, over the spread of U, and the largest relative gap to which the
        answers are certified.

    Raises
    ------
    AssertionError
        For the smallest program found in which the rewards aren't feasible or not optimal, or the
        gap that it claims is below the loss that it has.

    Examples
    --------
    >>> import collapse_theory as ct
    >>> from collapse_theory.testing import check_solver
    >>> check_solver(lambda u, n: ct.solve(u, n, method="newton"), ct.Log(), examples=10).cases
    10
    >>> def hopeful(u, n):
    ...     found = ct.solve(u, n, method="newton", max_iterations=1)
    ...     return found.rewards, 0.01 * found.gap
    >>> check_solver(hopeful, ct.LogSigmoid, tol=1)
    Traceback (most recent call last):
    ...
    AssertionError: hopeful is wrong for LogSigmoid(beta=...), ...: its gap is ..., but ...
    """
    if not tol > 0:
        raise CollapseError(f"tol must be positive, got {tol!r}")
    name, (taken, _) = name_of(function), arguments(function, 2, 4)
    places = domains() if domain is None and taken > 2 else domains_of(domain)
    graphs = None
    if taken == 4:
        graphs = st.one_of(st.none(), comparisons() if pairs is None else pairs)
    cases = programs(losses_of(utilities), places, numbers_of(ns, 2, 12), graphs)
    check = partial(_solved, name, function, taken, tol)
    return searched(name, examples, check, cases)


def _solved(
    name: str,
    function: Callable[..., Any],
    taken: int,
    tol: float,
    program: Program | ListwiseProgram,
) -> Finding:
    given = program.loss, program.n, program.domain, program.comparisons
    case = Case(name, function, *given)
    ours, wrong = case.ours(), case.wrong
    answer, claimed = _parted(case.answered(*given[:taken]), program.full)
    got = read(program, answer, wrong)
    best = read(program, ours.gaps if program.full else ours.rewards, wrong).certificate
    spread = max(best.shortfall, ours.gap, 1e-300)
    # The optimum is above our objective, but for its rounding, which our gap covers.
    short = ours.objective - got.certificate.objective
    if claimed is not None and not claimed >= short - ours.gap:
        wrong(
            f"its gap is {claimed:.3g}, but its objective {got.certificate.objective:.10g} is "
            f"{short:.3g} below {ours.objective:.10g}, that of the rewards {few(ours.rewards, 6)}"
        )
    if not short - ours.gap <= tol * spread:
        at = difference(got, ours, tol).at
        wrong(
            f"{contrast(ours.rewards, got.rewards, at)}; its objective is {short:.3g} below the "
            f"optimum; {certificate_text(got)}"
        )
    return case.finding(max(short, 0.0) / spread, got.certificate.relative_gap)


def _parted(given: Any, ranked: bool) -> tuple[Any, float | None]:
    """Return the rewards of an answer, or the gaps, which have more digits; and its gap."""
    if hasattr(given, "rewards"):
        gap, gaps = getattr(given, "gap", None), getattr(given, "gaps", None)
        answer = given.rewards if gaps is None or not ranked else gaps
        return answer, None if gap is None else float(gap)
    if isinstance(given, tuple) and len(given) == 2 and np.ndim(given[0]) == 1:
        return given[0], float(given[1])
    return given, None
