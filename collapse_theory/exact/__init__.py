"""Closed forms: exact answers, each with its source, found through a registry."""

from __future__ import annotations

from collapse_theory.exact.closed_form import exact_answer, exact_law
from collapse_theory.exact.finite import FINITE_FORMS
from collapse_theory.exact.limit import LIMIT_FORMS
from collapse_theory.exact.penalty import confined_gaps, confined_limit_form

__all__ = [
    "FINITE_FORMS",
    "LIMIT_FORMS",
    "confined_gaps",
    "confined_limit_form",
    "exact_answer",
    "exact_law",
]
