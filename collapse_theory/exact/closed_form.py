"""The exact answer, where one is known: the registries, looked through in their order."""

from __future__ import annotations

from dataclasses import replace

from collapse_theory.exact.finite import FINITE_FORMS
from collapse_theory.exact.limit import LIMIT_FORMS
from collapse_theory.exact.penalty import confined_gaps
from collapse_theory.exact.plackett_luce import LISTWISE, listwise_gaps
from collapse_theory.laws import RewardLaw
from collapse_theory.programs import Answer, ListwiseProgram, Program
from collapse_theory.utilities import Utility


def exact_answer(program: Program | ListwiseProgram) -> Answer | None:
    """Return the exact optimum of a full ranking where one is known, with its source."""
    if not program.full:
        return None
    if isinstance(program, ListwiseProgram):
        if not program.box:
            return None
        return Answer(listwise_gaps(program.utility, program.n), unique=True, reference=LISTWISE)
    if not program.box:
        return confined_gaps(program.loss, program.n, program.kappa)
    found = (form(program.utility, program.n) for form in FINITE_FORMS)
    return next((answer for answer in found if answer is not None), None)


def exact_law(unit: Utility) -> RewardLaw | None:
    """Return the limit law in [0, 1] where a closed form gives it, else None."""
    found = (form(unit) for form in LIMIT_FORMS)
    law = next((law for law in found if law is not None), None)
    return law and replace(law, method="exact", status="optimal")
