"""The search for a case in which something is wrong, and the report where none is found."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable

from collapse_theory.errors import CollapseError, NoClosedForm
from collapse_theory.programs import Domain, as_domain
from collapse_theory.testing.strategies import FAMILIES, utilities
from collapse_theory.utilities import Loss, PlackettLuce, Utility, as_loss
from collapse_theory.values import Value

# On CI the same examples each time; at a desk, where Hypothesis isn't told otherwise, new ones.
FIXED = "CI" in os.environ
SHRUNK = 200  # cases looked at for a smaller one


@dataclass(frozen=True, eq=False)
class Report(Value):
    """What was looked at where nothing wrong was found.

    Attributes
    ----------
    subject : str
        What was checked.
    cases, skipped : int
        How many cases were checked, and in how many it gave no answer.
    error : float
        The largest error of them; what it is an error of stands in the docstring of the check.
    where : str
        The case of the largest error, as code.
    gap : float
        The largest relative gap by which its own answers are certified; NaN where none is.
    notes : tuple of str
        What was left out, and why.

    Examples
    --------
    >>> from collapse_theory.testing import check_closed_form
    >>> evenly = lambda u, n: [1 - i / (n - 1) for i in range(n)]
    >>> found = check_closed_form(evenly, "-1/x", ns=3)
    >>> found.cases, found.error < 1e-12
    (1, True)
    """

    subject: str
    cases: int
    skipped: int = 0
    error: float = 0.0
    where: str = ""
    gap: float = float("nan")
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        cases = "1 case" if self.cases == 1 else f"{self.cases} cases"
        text = f"{self.subject}: nothing wrong in {cases}"
        if self.skipped:
            text += f" ({self.skipped} more without an answer)"
        if self.where:
            text += f"; the largest error is {self.error:.1e}, of {self.where}"
        if not np.isnan(self.gap):
            text += f"; its own answers are certified to a relative gap of {self.gap:.1e}"
        return ". ".join([text, *self.notes])


@dataclass(frozen=True)
class Finding:
    """What one case shows: an error, the certificate of the answer, and the case as code."""

    error: float
    where: str
    gap: float = float("nan")


class NoAnswer(Exception):
    """The function says that it doesn't apply."""


def searched(
    subject: str, examples: int, check: Callable[..., Finding], cases: st.SearchStrategy[Any]
) -> Report:
    """Check random cases, and raise the AssertionError of the smallest that is wrong.

    Raises
    ------
    CollapseError
        Where there is no case, or none to which an answer is given.
    """
    found: list[Finding] = []
    wrong: dict[str, str] = {}
    skipped, tried = 0, 0

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=FIXED or settings().derandomize,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
        report_multiple_bugs=False,
        phases=(Phase.generate, Phase.shrink),
    )
    @given(cases)
    def run(case: Any) -> None:
        nonlocal skipped, tried
        key, tried = repr(case), tried + bool(wrong)
        try:
            if tried <= SHRUNK:
                found.append(check(case))
        except NoAnswer:
            skipped += 1
        except AssertionError as fault:
            wrong[key] = str(fault)
        if key in wrong:  # one place for all of them, so that any may shrink to any
            raise AssertionError(wrong[key])

    try:
        run()
    except AssertionError as fault:
        raise AssertionError(str(fault)) from None
    except Unsatisfiable:
        raise CollapseError(f"there is no case to check {subject} in: widen the filters") from None
    if not found:
        raise CollapseError(f"{subject} gave no answer in any of {skipped} cases")
    worst = max(found, key=lambda finding: finding.error)
    gaps = [finding.gap for finding in found if not np.isnan(finding.gap)]
    return Report(
        subject,
        len(found),
        skipped,
        worst.error,
        worst.where,
        max(gaps, default=float("nan")),
    )


def answered(name: str, where: str, function: Callable[..., Any], *given: Any) -> Any:
    """Return what a function of the user's gives; where it fails, say in which case."""
    try:
        with np.errstate(all="ignore"):
            answer = function(*given)
    except NoClosedForm:
        raise NoAnswer from None
    except Exception as fault:
        raise AssertionError(
            f"{name} raised {type(fault).__name__} for {where}: {fault}"
        ) from fault
    if answer is None:
        raise NoAnswer
    return answer


def name_of(function: Any) -> str:
    """Return the name that messages have for a function of the user's."""
    return getattr(function, "__name__", type(function).__name__)


def arguments(function: Callable[..., Any], least: int, most: int) -> tuple[int, int]:
    """Return how many arguments a function needs and how many it takes, `most` if it doesn't tell.

    Raises
    ------
    CollapseError
        Where it takes fewer than `least`, or needs more than `most`.
    """
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return most, most
    if any(p.kind == p.VAR_POSITIONAL for p in parameters):
        return most, most
    placed = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    needed = sum(p.default is p.empty for p in placed)
    if needed > most or len(placed) < least:
        raise CollapseError(
            f"{name_of(function)} takes {needed or len(placed)} arguments, where {least} to {most} "
            "are given"
        )
    return max(needed, least), min(len(placed), most)


# -- which utilities, how many completions ---------------------------------------------------


def losses_of(given: Any, **filters: Any) -> st.SearchStrategy[Loss]:
    """Return what stands for the utilities to check with, as a strategy.

    A utility, its text, a class of utilities, a strategy, or a list of such; None is any that
    meets the filters of `utilities`.
    """
    if given is None:
        return utilities(**filters)
    if isinstance(given, st.SearchStrategy):
        return given
    if isinstance(given, type):
        if given not in FAMILIES:
            known = ", ".join(sorted(kind.__name__ for kind in FAMILIES))
            raise CollapseError(f"no strategy makes a {given.__name__}; those known: {known}")
        return FAMILIES[given]
    if isinstance(given, str | Utility | PlackettLuce):
        return st.just(as_loss(given))
    if isinstance(given, Iterable):
        return st.one_of([losses_of(one) for one in given])
    raise CollapseError(f"utilities must be a utility, a class or a list of them, not {given!r}")


def numbers_of(given: Any, least: int = 2, most: int = 30) -> st.SearchStrategy[int]:
    """Return the numbers of completions to check with: a strategy, one, or a list of them."""
    if given is None:
        return st.integers(least, most)
    if isinstance(given, st.SearchStrategy):
        return given
    listed = [given] if isinstance(given, int | np.integer) else list(given)
    if not listed:
        raise CollapseError("ns is empty: there is no number of completions to check")
    return st.sampled_from([int(n) for n in listed])


def domains_of(given: Any) -> st.SearchStrategy[Domain]:
    """Return the domains to check with: a strategy, or one; None is the box [0, 1]."""
    return given if isinstance(given, st.SearchStrategy) else st.just(as_domain(given))
