"""Tests to borrow: random utilities and programs, and checks of one's own formulas against them.

It needs Hypothesis and mpmath: ``pip install "collapse-theory[testing]"``.
"""

from __future__ import annotations

from collapse_theory.testing.strategies import (
    FAMILIES,
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
    "FAMILIES",
    "Saturating",
    "comparisons",
    "domains",
    "law",
    "laws",
    "losses",
    "numbers",
    "programs",
    "utilities",
]
