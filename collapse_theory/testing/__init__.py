"""Tests to borrow: random utilities and programs, and checks of one's own formulas against them.

It needs Hypothesis and mpmath: ``pip install ".[testing]"``. Names come at first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from collapse_theory.lazy import names_at_use

if TYPE_CHECKING:
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

names_at_use(
    __name__,
    {
        f"{__name__}.aspects": "check_utility",
        f"{__name__}.closed_form": "check_closed_form",
        f"{__name__}.loss": "check_loss",
        f"{__name__}.search": "Report",
        f"{__name__}.solver": "check_solver",
        f"{__name__}.strategies": """
            Saturating comparisons domains law laws losses numbers programs utilities
        """,
    },
)
