"""Tests to borrow: random utilities and programs, and checks of one's own formulas against them.

It needs Hypothesis and mpmath: ``pip install "collapse-theory[testing]"``.
"""

from __future__ import annotations

from collapse_theory.testing.aspects import check_utility
from collapse_theory.testing.closed_form import check_closed_form
from collapse_theory.testing.loss import check_loss
from collapse_theory.testing.search import Report
from collapse_theory.testing.solver import check_solver
from collapse_theory.testing.strategies import (
    Saturating,
    comparisons,
    domains,
    law,
    laws,
    losses,
    numbers,
    programs,
    utilities,
)

__all__ = [
    "Report",
    "Saturating",
    "check_closed_form",
    "check_loss",
    "check_solver",
    "check_utility",
    "comparisons",
    "domains",
    "law",
    "laws",
    "losses",
    "numbers",
    "programs",
    "utilities",
]
