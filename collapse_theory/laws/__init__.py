"""Reward laws: atoms and densities, their quantiles, moments and distances."""

from __future__ import annotations

from collapse_theory.laws.constructors import beta_law, discrete_law, empirical_law, uniform_law
from collapse_theory.laws.densities import (
    BetaDensity,
    Density,
    ExponentialSumDensity,
    JacobiDensity,
    PiecewiseDensity,
)
from collapse_theory.laws.law import RewardLaw

__all__ = [
    "BetaDensity",
    "Density",
    "ExponentialSumDensity",
    "JacobiDensity",
    "PiecewiseDensity",
    "RewardLaw",
    "beta_law",
    "discrete_law",
    "empirical_law",
    "uniform_law",
]
