"""The concave program of one prompt: its domain, its pairs, its certificate, its answer."""

from __future__ import annotations

from collapse_theory.programs.certificates import Certificate, certify
from collapse_theory.programs.comparisons import Comparisons
from collapse_theory.programs.domains import Box, Centered, Confined, Domain, Free
from collapse_theory.programs.held import centred, certify_held
from collapse_theory.programs.kinks import is_unique
from collapse_theory.programs.ranking import as_rewards, pair_gaps, straddle
from collapse_theory.programs.solution import Solution
from collapse_theory.programs.unit import LOOSE, TOLERANCE, count, in_box, unit_utility

__all__ = [
    "LOOSE",
    "TOLERANCE",
    "Box",
    "Centered",
    "Certificate",
    "Comparisons",
    "Confined",
    "Domain",
    "Free",
    "Solution",
    "as_rewards",
    "centred",
    "certify",
    "certify_held",
    "count",
    "in_box",
    "is_unique",
    "pair_gaps",
    "straddle",
    "unit_utility",
]
