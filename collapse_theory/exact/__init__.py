"""Closed forms: exact answers, each with its source, found through a registry."""

from __future__ import annotations

from collapse_theory.exact.closed_form import exact_answer, exact_law
from collapse_theory.exact.course import COURSE_FORMS
from collapse_theory.exact.registry import (
    FINITE_FORMS,
    HELD_FINITE_FORMS,
    HELD_LIMIT_FORMS,
    LIMIT_FORMS,
    closed,
)

__all__ = [
    "COURSE_FORMS",
    "FINITE_FORMS",
    "HELD_FINITE_FORMS",
    "HELD_LIMIT_FORMS",
    "LIMIT_FORMS",
    "closed",
    "exact_answer",
    "exact_law",
]


def __dir__() -> list[str]:
    return __all__
