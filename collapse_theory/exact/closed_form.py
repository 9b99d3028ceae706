"""The exact answer, where one is known: the registries, looked through in their order."""

from __future__ import annotations

from dataclasses import replace

from collapse_theory.errors import NoClosedForm
from collapse_theory.exact.finite import FINITE_FORMS
from collapse_theory.exact.limit import LIMIT_FORMS
from collapse_theory.exact.registry import ExactGaps
from collapse_theory.laws import RewardLaw
from collapse_theory.programs import Box, Solution, in_box, unit_utility
from collapse_theory.utilities import Utility

__all__ = ["exact_gaps", "exact_law", "exact_solution"]


def exact_solution(u: Utility, n: int, domain: Box) -> Solution:
    """Return the exact optimum of n completions, certified.

    Raises
    ------
    NoClosedForm
        Where none is known.
    """
    found = exact_gaps(unit_utility(u, domain), n)
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
