"""Reward laws: atoms and densities, their quantiles, moments and distances."""

from __future__ import annotations

from collapse_theory.laws.beta import BetaDensity
from collapse_theory.laws.constructors import (
    LAW_TEXT,
    beta_law,
    discrete_law,
    empirical_law,
    law_of_text,
    uniform_law,
)
from collapse_theory.laws.density import Density
from collapse_theory.laws.frozen import FrozenLaw
from collapse_theory.laws.law import RewardLaw
from collapse_theory.laws.panels import Panels
from collapse_theory.laws.part import Part
from collapse_theory.laws.policy import BestOfLaw, PolicyLaw, TiltedLaw
from collapse_theory.laws.reading import law_of, spread_law

__all__ = [
    "LAW_TEXT",
    "BestOfLaw",
    "BetaDensity",
    "Density",
    "FrozenLaw",
    "Panels",
    "Part",
    "PolicyLaw",
    "RewardLaw",
    "TiltedLaw",
    "beta_law",
    "discrete_law",
    "empirical_law",
    "law_of",
    "law_of_text",
    "spread_law",
    "uniform_law",
]


def __dir__() -> list[str]:
    return __all__
