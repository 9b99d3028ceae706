"""The exact answer, where one is known: the registries, looked through in their order."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from collapse_theory.exact import finite, limit, penalty  # noqa: F401 - they fill the registries
from collapse_theory.exact.plackett_luce import LISTWISE, listwise_gaps
from collapse_theory.exact.registry import (
    FINITE_FORMS,
    HELD_FINITE_FORMS,
    HELD_LIMIT_FORMS,
    LIMIT_FORMS,
)
from collapse_theory.laws import RewardLaw
from collapse_theory.programs import Answer, ListwiseProgram, Program
from collapse_theory.utilities import Utility


def exact_answer(program: Program | ListwiseProgram) -> Answer | None:
    """Return the exact optimum of a full ranking where one is known, with its source.

    Examples
    --------
    >>> import collapse_theory as ct
    >>> from collapse_theory.exact import exact_answer
    >>> from collapse_theory.programs import Program
    >>> exact_answer(Program.of(ct.Log(), 4)).gaps.round(4)
    array([0.2764, 0.4472, 0.2764])
    """
    if not program.full:
        return None
    if isinstance(program, ListwiseProgram):
        if not program.box:
            return None
        return Answer(listwise_gaps(program.utility, program.n), unique=True, reference=LISTWISE)
    if program.box:
        found = (form(program.utility, program.n) for form in FINITE_FORMS)
    else:
        found = (form(program.loss, program.n, program.kappa) for form in HELD_FINITE_FORMS)
    return next((answer for answer in found if answer is not None), None)


def exact_law(unit: Utility, kappa: float | None = None) -> RewardLaw | None:
    """Return the limit law that a closed form gives, in [0, 1] or under `kappa`, else None.

    Examples
    --------
    >>> from collapse_theory.exact import exact_law
    >>> from collapse_theory.utilities import Log
    >>> exact_law(Log(), 2.0).support
    array([-1.,  1.])
    """
    if kappa is None:
        found = (form(unit) for form in LIMIT_FORMS)
    else:
        found = (form(unit, kappa) for form in HELD_LIMIT_FORMS)
    with np.errstate(all="ignore"):
        law = next((law for law in found if law is not None), None)
    return law and replace(law, method="exact", status="optimal")
