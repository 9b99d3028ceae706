"""The concave program of one prompt: its domain, its pairs, its certificate, its answer."""

from __future__ import annotations

from collapse_theory.programs.certificate import Certificate, certify, certify_rows
from collapse_theory.programs.comparisons import Comparisons
from collapse_theory.programs.domain import (
    Anchored,
    Box,
    Centered,
    Confined,
    Domain,
    DomainLike,
    Free,
    as_box,
    as_domain,
)
from collapse_theory.programs.plackett_luce import ListwiseProgram
from collapse_theory.programs.program import Answer, Program, unit_utility
from collapse_theory.programs.solution import LOOSE, TOLERANCE, Solution, as_rewards

__all__ = [
    "LOOSE",
    "TOLERANCE",
    "Anchored",
    "Answer",
    "Box",
    "Centered",
    "Certificate",
    "Comparisons",
    "Confined",
    "Domain",
    "DomainLike",
    "Free",
    "ListwiseProgram",
    "Program",
    "Solution",
    "as_box",
    "as_domain",
    "as_rewards",
    "certify",
    "certify_rows",
    "unit_utility",
]


def __dir__() -> list[str]:
    return __all__
