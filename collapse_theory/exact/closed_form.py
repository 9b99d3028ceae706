"""The exact answer, where one is known."""

from __future__ import annotations

from dataclasses import replace
from typing import overload

from collapse_theory.errors import NoClosedForm
from collapse_theory.exact.finite import FINITE_FORMS
from collapse_theory.exact.limit import LIMIT_FORMS
from collapse_theory.exact.registry import ExactGaps
from collapse_theory.laws import RewardLaw
from collapse_theory.programs import Box, Solution, count, in_box, unit_utility
from collapse_theory.utilities import Utility, utility

__all__ = ["closed_form", "exact_gaps", "exact_law"]


@overload
def closed_form(u: Utility | str, n: None = None, domain: Box = ...) -> RewardLaw: ...


@overload
def closed_form(u: Utility | str, n: int, domain: Box = ...) -> Solution: ...


def closed_form(
    u: Utility | str, n: int | None = None, domain: Box | None = None
) -> RewardLaw | Solution:
    """Return the exact optimum of n completions, or the exact limit law.

    Parameters
    ----------
    u : Utility or str
        The utility of a gap.
    n : int, optional
        The number of completions; without it, the limit law as n grows.
    domain : Box, optional
        Where rewards may lie; [0, 1] unless given.

    Returns
    -------
    Solution or RewardLaw
        With `reference`, the source of the closed form.

    Raises
    ------
    NoClosedForm
        Where none is known; the message names the method that solves it.

    Examples
    --------
    >>> import collapse_theory as ct
    >>> ct.closed_form(ct.Log(), 4).rewards.round(6)
    array([1.      , 0.723607, 0.276393, 0.      ])
    >>> ct.closed_form(ct.Log())
    RewardLaw(density on [0, 1] of mass 1)
    """
    u, domain = utility(u), domain or Box()
    unit = unit_utility(u, domain)
    if n is None:
        law = exact_law(unit)
        if law is None:
            raise NoClosedForm(
                f"no closed form of the limit law is known for {u}; ct.limit(u) computes it"
            )
        if domain == Box():
            return law
        # The certificate of the unit utility is that of the box: the objectives are equal.
        names = ("objective", "gap", "relative_gap", "status")
        kept = {name: getattr(law, name) for name in names}
        return replace(law.mapped(domain.low, domain.width), **kept)
    n = count(n)
    found = exact_gaps(unit, n)
    if found is None:
        raise NoClosedForm(
            f"no closed form is known for {u} and n = {n}; ct.solve(u, n) computes the optimum"
        )
    exact, reference = found
    return in_box(
        u, domain, exact.gaps, method="closed form", unique=exact.unique, reference=reference
    )


def exact_law(unit: Utility) -> RewardLaw | None:
    """Return the limit law in [0, 1] where a closed form gives it, else None."""
    for form in LIMIT_FORMS:
        law = form.law(unit)
        if law is not None:
            return replace(law, method="exact", status="optimal", reference=form.reference)
    return None


def exact_gaps(unit: Utility, n: int) -> tuple[ExactGaps, str] | None:
    """Return the gaps in [0, 1] and their source where a closed form gives them, else None."""
    for form in FINITE_FORMS:
        found = form.gaps(unit, n)
        if found is not None:
            return found, form.reference
    return None
