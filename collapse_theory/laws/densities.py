"""The kinds of continuous part that a reward law can have."""

from __future__ import annotations

from collapse_theory.laws.beta import BetaDensity
from collapse_theory.laws.exponential import ExponentialSumDensity
from collapse_theory.laws.jacobi import JacobiDensity
from collapse_theory.laws.listwise import ListwiseDensity
from collapse_theory.laws.piecewise import PiecewiseDensity

__all__ = [
    "BetaDensity",
    "ExponentialSumDensity",
    "JacobiDensity",
    "ListwiseDensity",
    "PiecewiseDensity",
]
