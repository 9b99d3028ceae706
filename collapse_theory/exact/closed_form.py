"""The exact answer, where one is known: the registries, looked through in their order."""

from __future__ import annotations

from dataclasses import replace

from collapse_theory.exact.finite import FINITE_FORMS
from collapse_theory.exact.limit import LIMIT_FORMS
from collapse_theory.exact.penalty import confined_gaps
from collapse_theory.exact.plackett_luce import LISTWISE, listwise_gaps
from collapse_theory.exact.registry import ExactGaps
from collapse_theory.laws import RewardLaw
from collapse_theory.programs import Answer, ListwiseProgram, Program
from collapse_theory.utilities import Utility

__all__ = ["exact_answer", "exact_gaps", "exact_law"]


def exact_answer(program: Program | ListwiseProgram) -> Answer | None:
    """Return the exact optimum of a full ranking where one is known, with its source."""
    if not program.full:
        return None
    if isinstance(program, ListwiseProgram):
        if not program.box:
            return None
        return Answer(listwise_gaps(program.utility, program.n), unique=True, reference=LISTWISE)
    if not program.box:
        found = confined_gaps(program.loss, program.n, program.kappa)
        return None if found is None else Answer(found[0], unique=True, reference=found[1])
    found = exact_gaps(program.utility, program.n)
    return found and Answer(found[0].gaps, unique=found[0].unique, reference=found[1])


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
