"""A closed form of one's own against the certified solvers, for n completions and for the limit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from types import SimpleNamespace
from typing import Any, NoReturn

import numpy as np
from hypothesis import reject
from hypothesis import strategies as st

from collapse_theory.errors import CollapseError, SolverFailed
from collapse_theory.laws import RewardLaw, law_of
from collapse_theory.limit import LimitLaw, limit
from collapse_theory.programs import LOOSE, Box, Domain, DomainLike, Program
from collapse_theory.testing.answers import (
    Case,
    certificate_text,
    contrast,
    difference,
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
from collapse_theory.utilities import Loss, Utility

REWARDS = ("rewards", "gaps")
LAWS = ("law", "ppf", "pdf", "atoms")
# Errors up to which an answer is right unless a tolerance is given: of rewards as a share of their
# spread; of laws W1 as a share of the support, of densities as a share of the density.
TOLERANCE, LAW_TOLERANCE = 1e-8, 1e-6
EXAMPLES = 100
# At how many points a potential is looked at; the nearest gap, where U may be -inf at 0; and at how
# many shares quantiles are compared.
POINTS, NEAREST, SHARES = 16, 1e-30, 2000


def check_closed_form(
    function: Callable[..., Any],
    utilities: Any = None,
    ns: Any = None,
    domain: DomainLike | st.SearchStrategy[Domain] | None = None,
    *,
    gives: str | None = None,
    tol: float | None = None,
    examples: int = EXAMPLES,
) -> Report:
    """Check a closed form of one's own against the solvers, in random cases.

    Parameters
    ----------
    function : callable
        From (utility, n) to the rewards (n,), best first, or to the gaps (n-1,) between them; or
        from (utility,) to the limit law: a `RewardLaw`, a frozen distribution of scipy.stats, a
        text, a function of shares (ppf) or rewards (pdf), or atoms (k, 2) of place and mass. Where
        it doesn't apply it returns None or raises `NoClosedForm`. One of (utility, n=None) is
        checked with n where `ns` is given, else as a law.
    utilities : Utility, str, class, strategy or a list of such, optional
        What it is for: ``"-1/x"``, ``ct.Power`` for all its members, ``utilities(...)``. Any that
        rises in [0, 1] unless given; for laws any without a kink.
    ns : int, list of int or strategy, optional
        Numbers of completions; 2 to 30 unless given.
    domain : Box, Confined, Centered, Free or strategy, optional
        The box [0, 1] unless given. It isn't an argument of the function.
    gives : {"rewards", "gaps", "law", "ppf", "pdf", "atoms"}, optional
        What the function gives; needed where it gives another function.
    tol : float, optional
        The error up to which an answer is right: of rewards 1e-8 of their spread, of a law a W1 of
        1e-6 of its width (of a pdf 1e-6 of it), unless given.
    examples : int
        How many cases are checked at most.

    Returns
    -------
    Report
        With the largest error, and the largest relative gap to which the function's own answers
        are certified: of a law by its potential and energy.

    Raises
    ------
    AssertionError
        For the smallest case found in which the answer is wrong: with the utility, n, what was
        expected and what was given. Where several rewards are optimal, any of them is right.
    CollapseError
        For arguments that leave nothing to check.

    Examples
    --------
    >>> import numpy as np
    >>> import collapse_theory as ct
    >>> from collapse_theory.testing import check_closed_form
    >>> def evenly(u, n):
    ...     return np.linspace(1, 0, n)
    >>> check_closed_form(evenly, [ct.Log(), ct.LogSigmoid], ns=[2, 3]).cases > 10
    True
    >>> check_closed_form(evenly, ct.Log())
    Traceback (most recent call last):
    ...
    AssertionError: evenly is wrong for Log(), n=4: expected rewards [1, 0.7236, 0.2764, 0], got \
[1, 0.6667, 0.3333, 0]: reward 2 is off by 5.7e-02; ...
    """
    if gives is not None and gives not in REWARDS + LAWS:
        raise CollapseError(f"gives must be one of {', '.join(REWARDS + LAWS)}, not {gives!r}")
    if tol is not None and not tol > 0:
        raise CollapseError(f"tol must be positive, got {tol!r}")
    name = name_of(function)
    needed, taken = arguments(function, 1, 2)
    law = gives in LAWS or (gives is None and needed == 1 and (taken == 1 or ns is None))
    # At kinks our laws are on a grid, which takes seconds and tells little.
    strategies = [losses_of(utilities, kinked=False if law else None), domains_of(domain)]
    if law and ns is not None:
        raise CollapseError(f"{name} takes no n, so that ns={ns!r} has no use: leave it out")
    check = partial(_law, name, function, gives, tol or LAW_TOLERANCE)
    if not law:
        check = partial(_rewards, name, function, gives, tol or TOLERANCE)
        strategies.insert(0, numbers_of(ns))  # of several cases that of the smallest n is shown
    return searched(name, examples, lambda case: check(*case), st.tuples(*strategies))


# -- rewards of n completions ----------------------------------------------------------------


def _rewards(
    name: str,
    function: Callable[..., Any],
    gives: str | None,
    tol: float,
    n: int,
    loss: Loss,
    domain: Domain,
) -> Finding:
    case = Case(name, function, loss, n, domain)
    ours = case.ours()
    got = read(Program.of(loss, n, domain), case.answered(loss, n), case.wrong, gives)
    found = difference(got, ours, tol)
    if not found.right:
        case.wrong(f"{contrast(ours.rewards, got.rewards, found.at)}; {certificate_text(got)}")
    gap = got.certificate.relative_gap if ours.relative_gap < LOOSE else np.nan
    return case.finding(found.error if ours.unique else 0.0, gap)


# -- limit laws ------------------------------------------------------------------------------


@lru_cache(maxsize=300)
def _limit(loss: Loss, domain: Domain) -> LimitLaw | None:
    try:
        return limit(loss, domain)
    except (CollapseError, SolverFailed):
        return None


def _law(
    name: str,
    function: Callable[..., Any],
    gives: str | None,
    tol: float,
    loss: Loss,
    domain: Domain,
) -> Finding:
    ours = _limit(loss, domain)
    if ours is None:
        reject()
    case = Case(name, function, loss, None, domain)
    given, wrong = case.answered(loss), case.wrong
    # The distance of two laws is of the order of the root of what they differ by in the objective.
    divergent = ours.objective == -np.inf
    blur = 0.0 if divergent else float(np.sqrt(max(ours.relative_gap or 0.0, 0.0)))
    kind = gives or _kind(name, given)
    if kind in ("pdf", "atoms"):
        compare = _density if kind == "pdf" else _atoms
        return case.finding(compare(given, ours, max(tol, blur), wrong))
    width = max(float(np.ptp(ours.support)), 1e-300)
    law, error = _quantiles(given, kind, ours, wrong)
    error /= width
    if error <= max(tol, blur):
        return case.finding(error)
    gap = np.nan
    if isinstance(loss, Utility) and isinstance(law, RewardLaw) and not divergent:
        gap = _own_gap(loss, domain, law)
    # A law of ours that is on a grid, or one of several, tells less than the other's potential.
    sharp = blur < 10 * tol and not (isinstance(loss, Utility) and not loss.strictly_concave)
    if sharp or not gap <= max(tol, ours.relative_gap or 0.0):
        shares = np.array([0.05, 0.25, 0.5, 0.75, 0.95])
        places = ", ".join(f"{place:.6g}" for place in law.ppf(shares))
        wrong(
            f"expected {ours.name}, got a law with the 5, 25, 50, 75 and 95 % quantiles {places}: "
            f"W1 is {error * width:.1e}; its own potential is level to a relative gap of {gap:.1e}"
        )
    return case.finding(error, gap)


def _own_gap(utility: Utility, domain: Domain, law: RewardLaw) -> float:
    """Return how far from optimal a law is, as its own potential shows at points.

    E U(gap from x), less half the penalty, is level on the support of an optimal law, and in a box
    nowhere above that (docs/theory.md#the-limit).
    """
    kappa = 0.0 if isinstance(domain, Box) else domain.penalty()
    inside = np.asarray(law.ppf((np.arange(POINTS) + 0.5) / POINTS))
    ends = [domain.low, domain.high] if isinstance(domain, Box) else []

    def potential(x: float) -> float:
        gaps = lambda r: np.maximum(np.abs(x - r), NEAREST)  # noqa: E731
        return law.expect(lambda r: utility(gaps(r))) - kappa / 2 * x * x

    found = np.array([potential(x) for x in [*inside, *ends]])
    mean = float(found[:POINTS].mean())
    energy = mean - kappa / 2 * float(law.moment(2))
    largest = np.linspace(0.0, float(np.ptp(law.support)), 101)[1:]
    spread = max(float(np.max(utility(largest))) - energy, 1e-300)
    return 2 * max(float(found.max()) - mean, 0.0) / spread


def _kind(name: str, given: Any) -> str:
    """Return what a function gave, where it is no other function."""
    if isinstance(given, RewardLaw | str | Mapping) or callable(getattr(given, "ppf", None)):
        return "law"
    if not callable(given) and np.ndim(given) == 2:
        return "atoms"
    if callable(given):
        raise CollapseError(f'{name} gives a function: say gives="ppf" or gives="pdf"')
    raise CollapseError(
        f"{name} takes a utility alone, so it must give a law: a RewardLaw, a distribution of "
        f"scipy.stats, atoms (k, 2), or with gives= a ppf or a pdf; not {given!r}"
    )


def _quantiles(
    given: Any, kind: str, ours: LimitLaw, wrong: Callable[[str], NoReturn]
) -> tuple[Any, float]:
    """Return what has the quantiles of a law in any form, and how far (W1) they are from ours."""
    if kind == "law":
        try:
            law = law_of(given)
        except CollapseError as fault:
            wrong(f"expected a law, got {given!r}: {fault}")
        return law, ours.distance(law)
    shares = (np.arange(SHARES) + 0.5) / SHARES
    try:
        found = np.asarray(given(shares), dtype=np.float64)
    except (TypeError, ValueError):
        found = np.empty(0)
    if found.shape != shares.shape:
        wrong(f"expected a ppf that takes an array of shares, got {given!r}, which doesn't")
    return SimpleNamespace(ppf=given), float(np.abs(found - ours.ppf(shares)).mean())


def _density(
    pdf: Callable[[Any], Any], ours: LimitLaw, tol: float, wrong: Callable[[str], NoReturn]
) -> float:
    """Compare the continuous part at points between the atoms."""
    low, high = ours.support
    x = low + (high - low) * (0.5 - 0.5 * np.cos(np.pi * (np.arange(21) + 0.5) / 21))
    expected, got = np.asarray(ours.pdf(x)), np.asarray(pdf(x), dtype=np.float64) + 0.0 * x
    off = np.abs(got - expected) / np.maximum(np.abs(expected), 1e-6 / (high - low))
    at = int(np.argmax(np.where(np.isnan(off), np.inf, off)))
    if not off[at] <= tol:
        wrong(
            f"expected the density {expected[at]:.8g} at the reward {x[at]:.6g}, got {got[at]:.8g}"
        )
    return float(off[at])


def _atoms(given: Any, ours: LimitLaw, tol: float, wrong: Callable[[str], NoReturn]) -> float:
    """Compare places and masses of the atoms."""
    got = np.array(given, dtype=np.float64).reshape(-1, 2)
    got = got[np.argsort(got[:, 0])]
    if got.shape != ours.atoms.shape or not np.abs(got - ours.atoms).max(initial=0.0) <= tol:
        wrong(f"expected the atoms (place, mass) {ours.atoms.tolist()}, got {got.tolist()}")
    return float(np.abs(got - ours.atoms).max(initial=0.0))
