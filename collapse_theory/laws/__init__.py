"""Reward laws: atoms and densities, their quantiles, moments and distances."""

from __future__ import annotations

from collapse_theory.laws.best_of import BestOfDensity, BestOfLaw
from collapse_theory.laws.constructors import beta_law, discrete_law, empirical_law, uniform_law
from collapse_theory.laws.densities import (
    BetaDensity,
    ExponentialSumDensity,
    JacobiDensity,
    ListwiseDensity,
    PiecewiseDensity,
)
from collapse_theory.laws.density import Density
from collapse_theory.laws.law import RewardLaw
from collapse_theory.laws.panels import Panels
from collapse_theory.laws.part import Part
from collapse_theory.laws.policy import PolicyLaw
from collapse_theory.laws.tilted import TiltedDensity, TiltedLaw

__all__ = [
    "BestOfDensity",
    "BestOfLaw",
    "BetaDensity",
    "Density",
    "ExponentialSumDensity",
    "JacobiDensity",
    "ListwiseDensity",
    "Panels",
    "Part",
    "PiecewiseDensity",
    "PolicyLaw",
    "RewardLaw",
    "TiltedDensity",
    "TiltedLaw",
    "beta_law",
    "discrete_law",
    "empirical_law",
    "uniform_law",
]
